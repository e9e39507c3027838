"""Weights on disk: safetensors of our own, and the files of RepDistiller, mdistiller, timm and torchvision."""

import argparse
import hashlib
import json
import pickle
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from kdzoo.errors import UserError, did_you_mean
from kdzoo.files import atomic_path
from kdzoo.models.classifier import Classifier
from kdzoo.models.settings import module_settings
from kdzoo.registry import CHECKPOINTS

# Written by save_weights beside the caller's own entries, each as JSON.
OWN_KEYS = ("name", "num_classes", "in_chans", "mean", "std", "head")
# Wrappers that put their name before the network's: DataParallel and DDP, torch.compile.
PREFIXES = ("module.", "_orig_mod.")
# RepDistiller keeps its options (a bag of attributes) and its best accuracy (a NumPy number, under the name
# its module had then) beside the weights: plain values, harmless to rebuild.
PLAIN_VALUES = [
    argparse.Namespace,
    *((np.float64(0).__reduce__()[0], f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("float64", "float32", "int64")),
]


def load_weights(model: Classifier, path: str | Path) -> None:
    """Load a file of weights into the model's network, all of them or none.

    Reads ``.safetensors`` and torch files; the latter as a plain state dict or under the key "model"
    or "state_dict", with or without "module." prefixes, and only tensors and plain containers
    (``weights_only=True``). Where the file records a mean and std, they replace the model's.

    Args:
        model: takes the weights; untouched if anything does not fit.
        path: the file; or a text ``"SOURCE:NAME"`` of a registered source: ``"zoo:digits/resnet20"``,
            ``"hf:OWNER/REPO/FILE"``, ``"pip:PACKAGE"``.

    Raises:
        UserError: no such file, a damaged one, one that holds more than tensors, or names and shapes
            that do not fit the network, or what its head says does not fit.

    Example:
        >>> model = create_model("resnet32x4", num_classes=100)
        >>> load_weights(model, "resnet32x4_vanilla/ckpt_epoch_240.pth")
    """
    path = local_path(path)
    state = read_state(path)
    metadata = read_metadata(path)
    check_fit(model, state, path)
    check_head(model, metadata, path)
    if "mean" in metadata and "std" in metadata:
        try:
            model.set_normalisation(json.loads(metadata["mean"]), json.loads(metadata["std"]))
        except (ValueError, TypeError) as error:
            raise UserError(f"the normalisation in {path} does not fit {model.name}: {error}") from error
    # A compiled network keeps the plain one inside.
    getattr(model.network, "_orig_mod", model.network).load_state_dict(state)


def local_path(checkpoint: str | Path) -> Path:
    """The file a checkpoint names: its path, or what a registered source (``zoo:``, ``hf:``, ...) has under its name.

    Raises:
        UserError: an unknown source, or one that has no such weights.
    """
    source, colon, name = str(checkpoint).partition(":")
    if isinstance(checkpoint, Path) or not colon or len(source) == 1 or Path(checkpoint).exists():
        return Path(checkpoint)
    if source not in CHECKPOINTS.names():
        told = did_you_mean(source, CHECKPOINTS.names())
        raise UserError(f"{checkpoint!r} is no file, and there is no checkpoint source {source!r}{told}")
    return CHECKPOINTS.get(source)(name)


def save_weights(model: Classifier, path: str | Path, metadata: Mapping[str, str] | None = None) -> None:
    """Write the network's state dict as safetensors, whole or not at all.

    Args:
        model: its network's tensors are written under their plain names; its name, class count,
            channels, mean and std go into the file's metadata, and what its head computes with beside weights.
        path: the file; replaced if it is there.
        metadata: more entries, text to text.

    Raises:
        ValueError: ``metadata`` uses a key of our own.
        UserError: the file cannot be written (no right to, disk full).
    """
    path, metadata = Path(path), dict(metadata or {})
    taken = sorted(metadata.keys() & {*OWN_KEYS, "format"})
    if taken:
        raise ValueError(f"metadata may not hold {', '.join(taken)}; save_weights writes them")
    own = dict(
        name=model.name, num_classes=model.num_classes, in_chans=model.in_chans,
        mean=model.mean.tolist(), std=model.std.tolist(),
    )
    if (settings := head_settings(model)) is not None:
        own["head"] = settings
    metadata |= {key: json.dumps(value) for key, value in own.items()} | {"format": "pt"}
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in state_of(model)}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, metadata))


def read_metadata(path: str | Path) -> dict[str, str]:
    """The metadata of a safetensors file; empty for a torch file.

    Raises:
        UserError: no such file, or a damaged one.
    """
    path = Path(path)
    require_file(path)
    if path.suffix != ".safetensors":
        return {}
    try:
        with safe_open(path, framework="pt") as file:
            return dict(file.metadata() or {})
    except SafetensorError as error:
        raise UserError(damaged(path, error)) from error


def weights_hash(model: Classifier) -> str:
    """SHA-256 of what the model computes with: its modules' settings; names, types, shapes and bytes of its tensors.

    Equal on every device and memory format. Example: the key under which a teacher's logits are cached.
    """
    network = getattr(model.network, "_orig_mod", model.network)  # a compiled network keeps the plain one inside
    digest = hashlib.sha256(module_settings(network).encode())
    for name, tensor in [*sorted(state_of(model)), ("mean", model.mean), ("std", model.std)]:
        tensor = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def state_of(model: Classifier) -> list[tuple[str, Tensor]]:
    """Names and tensors of the network, without the wrapper's prefix or torch.compile's."""
    return list(strip_prefixes(model.network.state_dict()).items())


def strip_prefixes(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    state = dict(state)
    for prefix in PREFIXES:
        if state and all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return state


def read_state(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a file, on the CPU."""
    require_file(path)
    try:
        content = load_file(path) if path.suffix == ".safetensors" else load_torch_file(path)
    except SafetensorError as error:
        raise UserError(damaged(path, error)) from error
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not content or not all(isinstance(t, Tensor) for t in content.values()):
        raise UserError(f"{path} holds no state dict; expected names and tensors, at the top or under 'model'")
    return strip_prefixes(content)


def load_torch_file(path: Path) -> object:
    try:
        with torch.serialization.safe_globals(PLAIN_VALUES):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} is damaged, or holds more than tensors, and kdzoo runs no pickled code; "
            "save its state dict again with torch.save(network.state_dict(), ...) where you trust it"
        ) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise UserError(damaged(path, error)) from error


def check_fit(model: Classifier, state: Mapping[str, Tensor], path: Path) -> None:
    """Raise a UserError that names what is missing, left over or of another shape."""
    own = dict(state_of(model))
    missing = [n for n in own if n not in state]
    unknown = [n for n in state if n not in own]
    shapes = [(n, list(state[n].shape), list(own[n].shape)) for n in own if n in state]
    shapes = [(n, theirs, ours) for n, theirs, ours in shapes if theirs != ours]
    only_classes_differ = all(t[1:] == o[1:] and o[:1] == [model.num_classes] for _, t, o in shapes)
    if shapes and only_classes_differ and not missing and not unknown:
        raise UserError(
            f"{path} does not fit {model.name}: the checkpoint has {shapes[0][1][0]} classes, "
            f"the model {model.num_classes} ({some_of([n for n, _, _ in shapes])}); "
            "create the model with as many classes as the checkpoint"
        )
    faults = {
        "missing": missing,
        "unknown to the model": unknown,
        "of another shape": [f"{n} {theirs} for {ours}" for n, theirs, ours in shapes],
    }
    told = [f"{fault}: {some_of(names)}" for fault, names in faults.items() if names]
    if told:
        raise UserError(f"{path} does not fit {model.name}; {'; '.join(told)}")
    for place, module in getattr(model.network, "_orig_mod", model.network).named_modules():
        if hasattr(module, "unfit"):  # a head's word on values
            own = {n.removeprefix(f"{place}."): tensor for n, tensor in state.items() if n.startswith(f"{place}.")}
            fault = module.unfit(own)
            if fault is not None:
                raise UserError(f"{path} does not fit {model.name}: {fault}")


def head_settings(model: Classifier) -> dict[str, float] | None:
    """The numbers a head's function depends on beside its weights; ``None`` for one without."""
    return model.head.settings() if hasattr(model.head, "settings") else None


def check_head(model: Classifier, metadata: Mapping[str, str], path: Path) -> None:
    """Raise a UserError where the file was written by a head of other settings; older files do not tell."""
    own = head_settings(model)
    if own is None or "head" not in metadata:
        return
    try:
        stored = dict(json.loads(metadata["head"]))
    except (ValueError, TypeError) as error:
        raise UserError(damaged(path, error)) from error
    for name, value in own.items():
        if stored.get(name, value) != value:
            raise UserError(
                f"{path} does not fit {model.name}: its head was trained with {name} {stored[name]}, "
                f"the model's has {value}; set {name}={stored[name]}"
            )


def some_of(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def require_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"there is no file {path}; give the path of a .safetensors or torch checkpoint")


def damaged(path: Path, error: Exception) -> str:
    first_line = str(error).strip().split("\n")[0] or type(error).__name__
    return f"{path} is damaged or no checkpoint ({first_line}); fetch or save it again"
