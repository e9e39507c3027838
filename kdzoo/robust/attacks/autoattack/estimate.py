"""How long an evaluation takes: passes through the network that each attack needs, times their measured time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdzoo.robust.attacks.autoattack.versions import Part


@dataclass(frozen=True)
class Speed:
    """Seconds an image takes: a forward pass, and one with the gradient of the image."""

    forward: float
    gradient: float

    @classmethod
    def of(cls, network: nn.Module, images: Tensor) -> "Speed":
        """Measured on one batch, after a pass to warm up."""
        with torch.no_grad():
            network(images)
            forward = _timed(lambda: network(images), images)
        with torch.inference_mode(False), torch.enable_grad():
            x = images.detach().clone().requires_grad_()
            gradient = _timed(lambda: torch.autograd.grad(network(x).sum(), x, allow_unused=True), images)
        return cls(forward, gradient)


def _timed(call, images: Tensor) -> float:
    def wait() -> None:
        if images.device.type == "cuda":
            torch.cuda.synchronize()

    wait()
    before = time.perf_counter()
    call()
    wait()
    return (time.perf_counter() - before) / len(images)


def seconds(part: Part, speed: Speed, images: float, num_classes: int) -> float:
    """Of one attack on images that all withstand it: an upper bound, as broken ones are dropped.

    Args:
        part: the attack.
        speed: of the network.
        images: how many.
        num_classes: the untargeted FAB takes a gradient for each.
    """
    runs = part.restarts * (part.targets if part.name.endswith("-t") else 1)
    step = {
        "apgd-ce": part.eot * speed.gradient,
        "apgd-dlr": part.eot * speed.gradient,
        "apgd-t": part.eot * speed.gradient,
        "fab-t": speed.gradient + speed.forward,
        "fab": num_classes * (speed.gradient - speed.forward) + 2 * speed.forward,
        "square": speed.forward,
    }[part.name]
    return images * runs * step * (part.queries if part.name == "square" else part.steps)


@dataclass
class Outlook:
    """The time left, corrected by how long finished attacks took against their estimate.

    Args:
        parts: of the evaluation.
        speed: measured.
        num_classes: of the network.
    """

    parts: Sequence[Part]
    speed: Speed
    num_classes: int

    def __post_init__(self):
        self._expected = [0.0] * len(self.parts)
        self._took = [0.0] * len(self.parts)

    def learn(self, place: int, images: int, took: float) -> None:
        """Attack ``place`` took that many seconds for that many images."""
        self._expected[place] += self._estimate(place, images)
        self._took[place] += took

    def left(self, place: int, images: int) -> float:
        """Seconds that attack ``place`` takes for that many images."""
        known = self._expected[place]
        return self._estimate(place, images) * (self._took[place] / known if known else 1.0)

    def _estimate(self, place: int, images: int) -> float:
        return seconds(self.parts[place], self.speed, images, self.num_classes)
