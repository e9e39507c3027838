"""What is known of every image so far, one file a chunk of images: a killed run goes on where it stopped.

Every file is replaced atomically after each attack on its chunk, and no two processes write the same one.
"""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from kdzoo.errors import UserError
from kdzoo.files import atomic_path, write_text
from kdzoo.models.settings import module_settings

ROBUST, CLEAN_WRONG = -1, 0  # in ``broken_by``; attack k of the list is k + 1
KEY = "key.json"


@dataclass
class ChunkState:
    """One chunk of n images.

    Args:
        broken_by: [n] int64: ``ROBUST`` so far, ``CLEAN_WRONG``, or 1 + the place of the attack that broke it.
        predicted: [n] int64: the class the model sees in the adversarial image, or in the image itself.
        seconds: of the clean pass and of every attack that is done.
        adversarial: row -> [C, H, W] float32, of the broken images.
    """

    broken_by: Tensor
    predicted: Tensor
    seconds: list[float]
    adversarial: dict[int, Tensor] = field(default_factory=dict)

    @property
    def done(self) -> int:
        """How many attacks are done."""
        return len(self.seconds) - 1

    @property
    def left(self) -> Tensor:
        """Rows that are still robust."""
        return (self.broken_by == ROBUST).nonzero().flatten()


class StateFolder:
    """The chunks of a run, on disk or in memory only.

    Args:
        folder: made where it is missing; ``None`` keeps nothing.
        key: everything the result depends on.

    Raises:
        UserError: the folder holds another run, or a file of it is damaged; nothing there is changed.

    Example:
        >>> state = StateFolder("out/state", key)
        >>> state.save(0, chunk)
    """

    def __init__(self, folder: str | Path | None, key: dict[str, Any]):
        self.folder = None if folder is None else Path(folder)
        self.key: dict[str, Any] = json.loads(json.dumps(key))
        self._digest = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        self._memory: dict[int, ChunkState] = {}
        if self.folder is not None:
            self._check_key()

    def _check_key(self) -> None:
        path = self.folder / KEY
        if not path.is_file():
            if any(self.folder.glob("chunk*.safetensors")):
                raise UserError(f"{self.folder} holds chunks but no {KEY} that says of which run; choose another --out")
            write_text(path, json.dumps(self.key, indent=2) + "\n")
            return
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            names = sorted(before.keys() | self.key.keys())
        except (ValueError, AttributeError):
            raise UserError(f"{path} is damaged; choose another --out, or delete the folder to begin anew") from None
        for name in names:
            if before.get(name) != self.key.get(name):
                raise UserError(
                    f"{self.folder} holds a run with {name} = {_short(before.get(name))}, now it is "
                    f"{_short(self.key.get(name))}; go on with what it began with, or choose another --out"
                )

    def path(self, number: int) -> Path:
        """``chunk00003.safetensors``."""
        return self.folder / f"chunk{number:05d}.safetensors"

    def get(self, number: int) -> ChunkState | None:
        """A chunk as it stands; ``None`` where nothing is known of it."""
        if number not in self._memory and self.folder is not None and self.path(number).is_file():
            self._memory[number] = self._read(self.path(number))
        return self._memory.get(number)

    def fresh(self, number: int) -> ChunkState | None:
        """A chunk that another process may have written since."""
        if self.folder is not None:
            self._memory.pop(number, None)
        return self.get(number)

    def save(self, number: int, chunk: ChunkState) -> None:
        """Keep a chunk, whole or not at all."""
        self._memory[number] = chunk
        if self.folder is None:
            return
        tensors = dict(
            broken_by=chunk.broken_by,
            predicted=chunk.predicted,
            seconds=torch.tensor(chunk.seconds, dtype=torch.float64),
            rows=torch.tensor(sorted(chunk.adversarial), dtype=torch.int64),
        )
        if chunk.adversarial:
            tensors["adversarial"] = torch.stack([chunk.adversarial[row] for row in sorted(chunk.adversarial)])
        with atomic_path(self.path(number)) as temporary:
            temporary.write_bytes(save(tensors, {"run": self._digest}))

    def _read(self, path: Path) -> ChunkState:
        try:
            with safe_open(path, "pt") as file:
                run = (file.metadata() or {}).get("run")
                tensors = {name: file.get_tensor(name) for name in file.keys()}
            rows = tensors["rows"].tolist()
            adversarial = dict(zip(rows, tensors["adversarial"], strict=True)) if rows else {}
            chunk = ChunkState(tensors["broken_by"], tensors["predicted"], tensors["seconds"].tolist(), adversarial)
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise UserError(f"{path} is damaged ({error}); delete it and its images are attacked again") from None
        if run != self._digest:
            raise UserError(f"{path} belongs to another run than {KEY} beside it; choose another --out")
        return chunk


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def model_fingerprint(model: nn.Module) -> str:
    """SHA-256 of the network's modules with their settings and of all their tensors; mean and std included.

    The settings, because weights alone do not tell ReLU from softplus, or one stride from another; the tensors that no
    state dict has, because a normalisation is often kept so.
    """
    entries = dict(model.state_dict()) | _beside_the_state(model)
    entries |= {name: getattr(model, name) for name in ("mean", "std") if hasattr(model, name)}
    digest = hashlib.sha256()
    digest.update(module_settings(model).encode())
    for name, value in sorted(entries.items()):
        if isinstance(value, Tensor):
            value = value.detach().cpu().contiguous()
            digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
            digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
        else:
            digest.update(f"{name} {value!r}\n".encode())
    return digest.hexdigest()


def _beside_the_state(model: nn.Module) -> dict[str, Tensor]:
    """Buffers that are not persistent, and tensors and arrays of numbers that are plain attributes."""
    found: dict[str, Any] = {}
    for place, module in model.named_modules():
        own = {name: module._buffers[name] for name in module._non_persistent_buffers_set}
        if not module._forward_pre_hooks:  # weight_norm's keep a weight there that is made anew in every pass
            own |= {name: value for name, value in vars(module).items() if isinstance(value, (Tensor, np.ndarray))}
        found |= {f"{place}.{name}" if place else name: value for name, value in own.items()}
    arrays = {name: array for name, array in found.items() if isinstance(array, np.ndarray)}
    numbers = {name: torch.from_numpy(array.copy()) for name, array in arrays.items() if array.dtype.kind in "biuf"}
    return {name: v for name, v in (found | numbers).items() if isinstance(v, Tensor) and v.layout == torch.strided}


def images_fingerprint(images: Tensor, target: Tensor) -> str:
    """SHA-256 of images float32 [N, C, H, W] and labels [N]."""
    digest = hashlib.sha256(str(list(images.shape)).encode())
    for start in range(0, len(images), 1000):
        digest.update(images[start : start + 1000].detach().float().cpu().contiguous().numpy().data)
    digest.update(target.detach().cpu().to(torch.int64).contiguous().numpy().data)
    return digest.hexdigest()
