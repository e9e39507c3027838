"""ONNX and torch.export files of a model, each read back and held to the model's own answers."""

import importlib.util
import io
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kdzoo.errors import UserError
from kdzoo.files import atomic_path

FORMATS = {"onnx": ("onnx", "onnxscript", "onnxruntime"), "pt2": ()}
MOST = 2**31 - 1  # images in a batch; torch 2.6 traces no recurrent network without a bound
RTOL, ATOL = 1e-3, 1e-4  # of float32 sums in another order


@dataclass(frozen=True)
class Exported:
    """A written file, its largest difference from the model's logits, and on how many images."""

    path: Path
    difference: float
    images: int


def export_model(model: nn.Module, images: Tensor, path: Path, kind: str) -> Exported:
    """Write one file and compare it with the model.

    Args:
        model: images in [0, 1] to logits; its normalisation goes into the file.
        images: [B, C, H, W], at least 3, what the comparison is made on; C, H and W are the file's, the
            batch size stays free.
        path: the file; it appears only after its answers were the model's.
        kind: ``"onnx"`` (read back with onnxruntime) or ``"pt2"`` (``torch.export``).

    Raises:
        UserError: packages are missing, the network can't be traced, or the file answers differently.

    Example:
        >>> export_model(model, images, Path("net.onnx"), "onnx").difference
    """
    lacking = [name for name in FORMATS[kind] if importlib.util.find_spec(name) is None]
    if lacking:
        raise UserError(f"{kind} needs {', '.join(lacking)}; run pip install kdzoo[export]")
    model = model.cpu().eval()
    images = images.detach().cpu().contiguous()
    with torch.no_grad():
        expected = model(images)
        try:
            batch = torch.export.Dim("batch", max=MOST)
            program = torch.export.export(model, (images[:2],), dynamic_shapes=({0: batch},))
            body = _onnx(program, images) if kind == "onnx" else _pt2(program)
        except Exception as error:  # tracing has dozens of its own
            line = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UserError(f"{getattr(model, 'name', 'the model')} can't be exported to {kind}: {line}") from error
        got = _answer_onnx(body, images) if kind == "onnx" else torch.export.load(io.BytesIO(body)).module()(images)
    difference = (got - expected).abs().max().item()
    if got.shape != expected.shape or not torch.allclose(got, expected, RTOL, ATOL):
        raise UserError(f"the {kind} file answers differently, by up to {difference:.2g}; it was not written")
    with atomic_path(path) as temporary:
        temporary.write_bytes(body)
    return Exported(path, difference, len(images))


def _pt2(program: torch.export.ExportedProgram) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def _onnx(program: torch.export.ExportedProgram, images: Tensor) -> bytes:
    made = torch.onnx.export(
        program, (images[:2],), dynamo=True, input_names=["images"], output_names=["logits"], verbose=False,
    )
    return made.model_proto.SerializeToString()


def _answer_onnx(body: bytes, images: Tensor) -> Tensor:
    import onnxruntime

    session = onnxruntime.InferenceSession(body, providers=["CPUExecutionProvider"])
    return torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])
