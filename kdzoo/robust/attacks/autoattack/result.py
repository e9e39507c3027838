"""What AutoAttack found."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdzoo.files import atomic_path
from kdzoo.robust.attacks.autoattack.state import CLEAN_WRONG, ROBUST
from kdzoo.robust.attacks.autoattack.warnings import Caution


@dataclass
class AutoAttackResult:
    """Accuracies are in [0, 1].

    Args:
        norm, eps: the budget.
        version: of AutoAttack.
        attacks: names in their order; a name that stands twice has its place behind it.
        broken_by: [N] int64: -1 robust, 0 wrong without attack, k > 0 broken by attack k - 1.
        predicted: [N] int64: the class of the adversarial image, or of the image itself.
        target: [N] int64.
        seconds: of every attack, all images together.
        warnings: signs that the result can't be taken at face value.
        settings: what the result depends on.
        adversarial: row -> [C, H, W] float32 in [0, 1], of the broken images.
        complete: false while other processes are not done; then the arrays hold this process's share.
    """

    norm: str
    eps: float
    version: str
    attacks: list[str]
    broken_by: Tensor
    predicted: Tensor
    target: Tensor
    seconds: dict[str, float]
    warnings: list[Caution] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    adversarial: dict[int, Tensor] = field(default_factory=dict)
    complete: bool = True

    @property
    def robust(self) -> Tensor:
        """[N] bool: right on the image and on everything the attacks made of it."""
        return self.broken_by == ROBUST

    @property
    def clean_accuracy(self) -> float:
        return float((self.broken_by != CLEAN_WRONG).double().mean())

    @property
    def robust_accuracy(self) -> float:
        return float(self.robust.double().mean())

    @property
    def after(self) -> dict[str, float]:
        """Robust accuracy after each attack, ``"clean"`` first."""
        wrong = (self.broken_by == CLEAN_WRONG).clone()
        shares = {"clean": float((~wrong).double().mean())}
        for place, name in enumerate(self.attacks):
            wrong |= self.broken_by == place + 1
            shares[name] = float((~wrong).double().mean())
        return shares

    def outcomes(self) -> list[str]:
        """A word an image: ``"robust"``, ``"clean"`` (wrong without attack) or the attack that broke it."""
        words = ["robust", "clean", *self.attacks]
        return [words[code + 1] for code in self.broken_by.tolist()]

    def record(self) -> dict[str, Any]:
        """For a JSON file, without the images."""
        return dict(
            norm=self.norm, eps=self.eps, version=self.version, images=len(self.target),
            clean_accuracy=self.clean_accuracy, robust_accuracy=self.robust_accuracy, after=self.after,
            seconds=self.seconds, warnings=[asdict(caution) for caution in self.warnings], complete=self.complete,
            settings=self.settings, outcome=self.outcomes(), predicted=self.predicted.tolist(),
            target=self.target.tolist(),
        )  # fmt: skip

    def images(self, clean: Tensor) -> Tensor:
        """[N, C, H, W]: the adversarial image where there is one, else the image itself."""
        found = clean.detach().float().cpu().clone()
        for row, image in self.adversarial.items():
            found[row] = image
        return found

    def save_images(self, path: str | Path, clean: Tensor) -> None:
        """Write ``images``, ``target``, ``predicted`` and ``broken_by`` as safetensors."""
        from safetensors.torch import save

        tensors = dict(
            images=self.images(clean), target=self.target, predicted=self.predicted, broken_by=self.broken_by
        )
        about = dict(norm=self.norm, eps=repr(self.eps), version=self.version, attacks=" ".join(self.attacks))
        with atomic_path(path) as temporary:
            temporary.write_bytes(save({name: tensor.contiguous() for name, tensor in tensors.items()}, about))

    def table(self) -> str:
        """Robust accuracy after each attack, as text."""
        lines = ["after        robust %   broken   seconds", "-" * 39]
        for place, (name, share) in enumerate(self.after.items()):
            broken = int((self.broken_by == place).sum())
            lines.append(f"{name:12} {100 * share:8.2f} {broken:8d} {self.seconds.get(name, 0):9.1f}")
        return "\n".join(lines + [f"warning ({caution.kind}): {caution.message}" for caution in self.warnings])


def gathered(images: int, chunk: int, states: dict[int, Any], target: Tensor) -> dict[str, Any]:
    """Arrays over all images from the chunks there are; rows of missing chunks are left out.

    Args:
        images: N.
        chunk: images a chunk.
        states: number -> ``ChunkState``.
        target: [N].
    """
    numbers = sorted(states)
    rows = [torch.arange(number * chunk, min((number + 1) * chunk, images)) for number in numbers]
    adversarial, start = {}, 0
    for number, part in zip(numbers, rows, strict=True):
        adversarial |= {start + row: image for row, image in states[number].adversarial.items()}
        start += len(part)
    return dict(
        broken_by=torch.cat([states[number].broken_by for number in numbers]),
        predicted=torch.cat([states[number].predicted for number in numbers]),
        target=target.cpu()[torch.cat(rows)],
        adversarial=adversarial,
    )
