"""Running means of a training epoch, kept on the device until somebody reads them."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from kdzoo.distill import StepLosses
from kdzoo.errors import UserError

CURE = "lower optimizer.lr, set clip_grad, or use runtime.precision='fp32'"


class NonFiniteLoss(UserError):
    """A loss became NaN or infinite."""


@dataclass
class Means:
    """What the meters say since the epoch began."""

    loss: float
    terms: dict[str, float]
    top1: float  # percent, on the training images as augmented


class Meters:
    """Sums over an epoch. ``update`` never waits for the device; ``read`` does.

    Args:
        names: the loss terms, in the Distiller's order.
    """

    def __init__(self, names: list[str], device: torch.device):
        self.names = names
        self.sums = torch.zeros(
            len(names), dtype=torch.float64 if device.type != "mps" else torch.float32, device=device
        )
        self.correct = torch.zeros((), dtype=torch.int64, device=device)
        self.first_bad = torch.full((len(names),), -1, dtype=torch.int64, device=device)
        self.images = 0

    def update(self, losses: StepLosses, images: int, step: int) -> None:
        """Add one forward over ``images`` images; ``step`` is remembered for the first non-finite term."""
        self.sums += losses.terms * images
        self.correct += losses.correct
        bad = ~torch.isfinite(losses.terms) & (self.first_bad < 0)
        self.first_bad.masked_fill_(bad, step)
        self.images += images

    def check(self) -> None:
        """Raise NonFiniteLoss naming the step and the term, if there was one."""
        steps = {step: name for name, step in zip(self.names, self.first_bad.tolist(), strict=True) if step >= 0}
        if steps:
            step = min(steps)
            raise NonFiniteLoss(f"the loss {steps[step]} became NaN or infinite at step {step}; {CURE}")

    def read(self, reduce: Callable[[Tensor, str], Tensor] | None = None) -> Means:
        """The means so far: of this process, or with ``reduce`` (accelerate's) of all."""
        self.check()
        *sums, correct, images = self.state(reduce).tolist()
        count = max(1.0, images)
        terms = {name: value / count for name, value in zip(self.names, sums, strict=True)}
        return Means(sum(terms.values()), terms, 100.0 * correct / count)

    def state(self, reduce: Callable[[Tensor, str], Tensor] | None = None) -> Tensor:
        """[terms + 2] sums of the terms, right answers and images: for a checkpoint in the middle of an epoch."""
        numbers = torch.cat([self.sums, self.correct[None].to(self.sums), self.sums.new_tensor([self.images])])
        return numbers if reduce is None else reduce(numbers, "sum")

    def load(self, state: Tensor) -> None:
        """Take up ``state()``, on one process of all."""
        self.sums.copy_(state[:-2])
        self.correct.copy_(state[-2])
        self.images = int(state[-1])
