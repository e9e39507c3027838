"""Distance to the K-th nearest training feature (Sun, Ming, Zhu and Li, ICML 2022)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Batches, Detector

_BANK_ROWS, _ROWS = 8192, 1024  # distances are computed in blocks of this size


@DETECTORS.register()
class KNN(Detector):
    """Minus the squared distance to the K-th nearest of the training features, all on the unit sphere.

    The bank is gone through in blocks, and ``bank_size`` bounds it: beyond that many features a uniform sample is
    kept, drawn while they pass by (reservoir sampling, Vitter 1985).

    Args:
        model: as for every detector.
        k: K, default 50 as in the paper.
        bank_size: most features to keep; ``None``: all. K is lowered with the share that is kept (never below 1).
        seed: of the sample.

    Raises:
        ValueError: at fit: fewer features than K.

    Example:
        >>> KNN(k=5).fit_features(torch.randn(100, 8)).score_features(torch.randn(2, 8)).shape
        torch.Size([2])
    """

    needs_fit = True

    def __init__(self, model=None, k: int = 50, bank_size: int | None = 50_000, seed: int = 0):
        super().__init__(model)
        if k < 1 or (bank_size is not None and bank_size < 1):
            raise ValueError(f"k and bank_size are expected to be 1 or more but got {k} and {bank_size}")
        self.k, self.bank_size, self.seed = k, bank_size, seed

    def _fit(self, batches: Batches) -> None:
        generator, seen, blocks, bank = torch.Generator().manual_seed(self.seed), 0, [], None
        for features, _ in batches():
            rows = F.normalize(features.float(), dim=1)
            room = len(rows) if self.bank_size is None else max(0, min(len(rows), self.bank_size - seen))
            if room:
                blocks.append(rows[:room])
            seen += room
            if room < len(rows):
                bank = blocks[0] if len(blocks) == 1 else torch.cat(blocks)
                blocks = [bank]
                seen = self._replace(bank, rows[room:], seen, generator)
        if seen < self.k:
            raise ValueError(f"there are {seen} features for the {self.k}-th nearest; lower k or give more")
        self.bank = torch.cat(blocks)
        self.nearest = max(1, round(self.k * len(self.bank) / seen))

    def _replace(self, bank: Tensor, rows: Tensor, seen: int, generator: torch.Generator) -> int:
        """Each of the rows takes a random place of the bank with probability size / (rows seen with it)."""
        upto = torch.arange(seen + 1, seen + len(rows) + 1)
        place = (torch.rand(len(rows), generator=generator, dtype=torch.float64) * upto).long()
        kept = place < len(bank)
        # In order, so that of two rows for one place the later stays.
        for row, where in zip(rows[kept.to(rows.device)], place[kept].tolist(), strict=True):
            bank[where] = row
        return seen + len(rows)

    def _score(self, x: Tensor) -> Tensor:
        x = F.normalize(x.float(), dim=1)
        self.bank = self.bank.to(x.device)  # fitted on stored features, which lie in the host's memory
        return torch.cat([self._block(x[k : k + _ROWS]) for k in range(0, len(x), _ROWS)])

    def _block(self, x: Tensor) -> Tensor:
        best = None
        for start in range(0, len(self.bank), _BANK_ROWS):
            near = (x @ self.bank[start : start + _BANK_ROWS].T).topk(
                min(self.nearest, len(self.bank) - start, _BANK_ROWS), dim=1
            )
            found = near.values if best is None else torch.cat([best, near.values], dim=1)
            best = found.topk(min(self.nearest, found.shape[1]), dim=1).values
        # On the unit sphere the squared distance is 2 - 2 cos.
        return -(2 - 2 * best[:, -1].double()).clamp_min(0)

    def _state(self) -> dict[str, Tensor]:
        return dict(bank=self.bank, nearest=torch.tensor(self.nearest))

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.bank, self.nearest = state["bank"], int(state["nearest"])
