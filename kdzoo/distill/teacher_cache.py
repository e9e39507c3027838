"""Teacher logits of every augmented view, kept on disk and filled as views are drawn.

Pad-4 crop and flip have 9 * 9 * 2 = 162 views of an image, so a teacher can be asked once per
view and never again: for later epochs, later seeds and later losses with the same teacher. This is
exact, unlike logits computed once per image from another view (Beyer et al., Knowledge
distillation: A good teacher is patient and consistent, CVPR 2022), which kdzoo does not offer.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from kdzoo.errors import UserError
from kdzoo.files import told, write_text

GIB = 2**30


@dataclass(frozen=True)
class CacheCard:
    """All that a cached logit depends on.

    Args:
        teacher: sha256 of the teacher: its network with options and head, its weights and its normalisation.
        data: sha256 of the training images and labels.
        augment: the augmentation with its parameters.
        images, views, classes: the shape of the store.
        precision: what the teacher computes in (``"fp32"``, ``"bf16"``, ``"fp16"``).
        output: the type of its logits, which a head may give in another one; ``None`` for ``precision``.
    """

    teacher: str
    data: str
    augment: str
    images: int
    views: int
    classes: int
    precision: str
    output: str | None = None

    def key(self) -> str:
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:16]


class TeacherCache:
    """A memory-mapped store of teacher logits, one row a view, in the teacher's own output type.

    Args:
        root: folder of all caches; this one lies in a subfolder named by the card.
        card: what the logits depend on.
        device: where the logits are wanted.

    Raises:
        UserError: the folder holds another card, or the disk can't hold the full store.

    Example:
        >>> cache = TeacherCache(root, card, torch.device("cpu"))
        >>> logits = cache.logits(batch.index, batch.view, batch.images, teach)  # [B, C]
    """

    DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}

    def __init__(self, root: str | Path, card: CacheCard, device: torch.device):
        self.card, self.device = card, device
        self.folder = Path(root) / card.key()
        self.computed = self.served = 0  # rows, for the run's record
        rows, dtype = card.images * card.views, self.DTYPES[card.output or card.precision]
        self._open_folder(rows * (card.classes * dtype.itemsize + 1))
        shared = dict(shared=True)
        size = rows * card.classes
        self._store = torch.from_file(str(self.folder / "logits.bin"), size=size, dtype=dtype, **shared)
        self._store = self._store.view(rows, card.classes)
        self._filled = torch.from_file(str(self.folder / "filled.bin"), size=rows, dtype=torch.uint8, **shared)
        self._pending: list[tuple[Tensor, Tensor]] = []

    def logits(self, index: Tensor, view: Tensor, images: Tensor, teach: Callable[[Tensor], Tensor]) -> Tensor:
        """Logits [B, C] on the device; the teacher runs only for views not seen before.

        Args:
            index, view: [B] int64 on the CPU, so that looking up needs no device sync.
            images: [B, ...] on the device.
            teach: images -> logits [b, C].
        """
        rows = index * self.card.views + view
        missing = (self._filled[rows] == 0).nonzero().flatten()  # [m], on the CPU
        self.served += len(rows) - len(missing)
        self.computed += len(missing)
        if len(missing) == len(rows):
            fresh = teach(images)
            self._remember(rows, fresh)
            return fresh
        known = self._store[rows]
        if self.device.type == "cuda":
            known = known.pin_memory()
        known = known.to(self.device, non_blocking=True)
        if len(missing):
            where = missing.to(self.device, non_blocking=True)
            fresh = teach(images[where])
            self._remember(rows[missing], fresh)
            known[where] = fresh.to(known.dtype)
        return known

    def flush(self) -> None:
        """Write pending rows; on a GPU this waits for them, so it is called between steps, where one waits anyway."""
        for rows, logits in self._pending:
            self._store[rows] = logits.to(device="cpu", dtype=self._store.dtype)
            self._filled[rows] = 1  # after its row, so that a killed run leaves no row half true
        self._pending.clear()

    def _remember(self, rows: Tensor, logits: Tensor) -> None:
        self._pending.append((rows, logits))
        if self.device.type == "cpu":
            self.flush()

    def _open_folder(self, size: int) -> None:
        card = self.folder / "card.json"
        wanted = asdict(self.card)
        if card.is_file():
            try:
                held = json.loads(card.read_text())
            except ValueError:
                held = None
            if held != wanted:
                raise UserError(f"the teacher cache {self.folder} holds logits of something else; delete that folder")
        with told(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        # Writing to a mapped file on a full disk kills the process, so the room must be there beforehand.
        held = sum(path.stat().st_blocks * 512 for path in self.folder.glob("*.bin"))
        free = shutil.disk_usage(self.folder).free
        if size - held > free:
            raise UserError(
                f"the teacher cache needs {size / GIB:.1f} GiB in {self.folder}, {free / GIB:.1f} are free; "
                "free space, or set runtime.teacher_cache=False"
            )
        write_text(card, json.dumps(wanted, indent=2))
