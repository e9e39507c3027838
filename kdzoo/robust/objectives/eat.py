"""E-AT: each batch is attacked in one norm, more often in the one that holds less."""

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.objectives.adversarial import AdversarialObjective, cross_entropy, several_processes, shared_draw


@OBJECTIVES.register("E-AT")
class EAT(AdversarialObjective):
    """Extreme-norm adversarial training: cross entropy under Linf or L1, one of them a batch.

    A norm is drawn with a weight of 1 - its robust accuracy on this epoch's training batches so far; evenly until
    every norm has been seen. The running accuracies are in the state dict, so a resumed run goes on as it would have;
    all processes draw the same norm. The draw is made on the host, which waits for the step before.

    Args:
        norms: to draw from; the two extreme ones by default.
        eps, steps: budgets and attack steps, see :class:`AdversarialObjective`.

    Source: Croce and Hein, Adversarial Robustness against Multiple and Single lp-Threat Models via Quick Fine-Tuning of
    Robust Classifiers, ICML 2022.

    Example:
        >>> losses = [dict(type="E-AT")]
    """

    held: Tensor
    seen: Tensor
    epoch: Tensor

    def __init__(self, norms: tuple | list = ("Linf", "L1"), eps: float | dict | None = None, steps: int | dict = 10):
        super().__init__(norms, eps, steps)
        self.register_buffer("held", torch.zeros(len(self.norms), dtype=torch.int64))  # images that stayed right
        self.register_buffer("seen", torch.zeros(len(self.norms), dtype=torch.int64))
        self.register_buffer("epoch", torch.zeros((), dtype=torch.int64))

    def set_epoch(self, epoch: int) -> None:
        """Forget the accuracies of the epoch before; in the middle of one (a resumed run) they are kept."""
        if epoch != self.epoch.item():
            self.held.zero_()
            self.seen.zero_()
            self.epoch.fill_(epoch)

    def probabilities(self) -> list[float]:
        """With which each norm is drawn for the next batch."""
        held, seen = torch.stack([self.held, self.seen]).tolist()
        weights = [1 - h / s if s else 0.0 for h, s in zip(held, seen, strict=True)]
        if not all(seen) or sum(weights) == 0:
            return [1 / len(seen)] * len(seen)
        return [weight / sum(weights) for weight in weights]

    def draw(self) -> int:
        """The norm of the next batch."""
        left = shared_draw()
        for place, probability in enumerate(self.probabilities()):
            left -= probability
            if left < 0:
                return place
        return len(self.norms) - 1

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """(loss, logits [B, K] on the attacked images)."""
        place = self.draw()
        worst = self.attack(student, images, target, self.norms[place])
        logits = student(worst.best)
        self._count(place, logits.detach().argmax(dim=1) == target)
        return cross_entropy(logits, target), logits

    @torch.no_grad()
    def _count(self, place: int, right: Tensor) -> None:
        counts = torch.stack([right.sum(), torch.full_like(right.sum(), len(right))])
        if several_processes():
            dist.all_reduce(counts)
        self.held[place] += counts[0]
        self.seen[place] += counts[1]
