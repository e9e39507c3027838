"""Robust against several norms at once: images that withstand the attacks in every one of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from kdzoo.robust.attacks.autoattack.result import AutoAttackResult


@dataclass
class Union:
    """Results of one model on the same images under several budgets.

    Raises:
        ValueError: other images, other labels, another model, or a result that is not complete.

    Example:
        >>> Union([linf, l2, l1]).robust_accuracy
        0.40
    """

    results: Sequence[AutoAttackResult]

    def __post_init__(self):
        if not self.results:
            raise ValueError("a union needs the result of one norm or more")
        first = self.results[0]
        for result in self.results:
            if not result.complete:
                raise ValueError(f"{result.norm} is not complete; let all processes finish first")
            if not torch.equal(result.target, first.target) or any(
                result.settings.get(name) != first.settings.get(name) for name in ("images", "model")
            ):
                raise ValueError(f"{result.norm} was measured on other images or another model than {first.norm}")

    @property
    def robust(self) -> Tensor:
        """[N] bool: robust in every norm."""
        return torch.stack([result.robust for result in self.results]).all(dim=0)

    @property
    def robust_accuracy(self) -> float:
        return float(self.robust.double().mean())

    @property
    def clean_accuracy(self) -> float:
        return self.results[0].clean_accuracy

    def record(self) -> dict[str, Any]:
        """For a JSON file."""
        norms = [
            dict(norm=result.norm, eps=result.eps, robust_accuracy=result.robust_accuracy, after=result.after,
                 seconds=sum(result.seconds.values()))
            for result in self.results
        ]  # fmt: skip
        return dict(
            images=len(self.robust), clean_accuracy=self.clean_accuracy, union_accuracy=self.robust_accuracy,
            norms=norms, robust=self.robust.tolist(),
            warnings=[dict(norm=result.norm, kind=each.kind, message=each.message)
                      for result in self.results for each in result.warnings],
        )  # fmt: skip

    def table(self) -> str:
        """Clean, each norm and the union, as text."""
        lines = ["            eps  accuracy %", "-" * 27, f"clean         - {100 * self.clean_accuracy:11.2f}"]
        lines += [f"{r.norm:6} {r.eps:8.4g} {100 * r.robust_accuracy:11.2f}" for r in self.results]
        lines.append(f"union         - {100 * self.robust_accuracy:11.2f}")
        told = dict.fromkeys(f"warning ({c.kind}): {c.message}" for r in self.results for c in r.warnings)
        return "\n".join([*lines, *told])
