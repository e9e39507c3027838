"""The smoothed classifier: PREDICT and CERTIFY of Cohen et al. with noise that depends on its key alone."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.data.counter_noise import counter_normal
from kdzoo.data.pixels import upload
from kdzoo.robust.certify.binomial import (
    binomial_p_value,
    check_samples,
    check_sigma,
    clopper_pearson_lower,
    cohen_radius,
)

ABSTAIN = -1


@dataclass(frozen=True)
class Request:
    """Samples of one image: noise positions ``start`` to ``start + count - 1`` of stream ``index``."""

    image: Tensor  # [C, H, W] on the model's device
    index: int
    start: int
    count: int


@dataclass(frozen=True)
class Certificate:
    """The outcome for one image.

    Args:
        predicted: the class, or -1 where it abstains.
        radius: L2 radius in the space the noise is added in; 0 where it abstains.
        selection: [C + 1] votes of the n0 samples that chose the class; the last entry counts samples
            whose logits were not finite.
        votes: [C + 1] votes of the n fresh samples, likewise.
    """

    predicted: int
    radius: float
    selection: list[int]
    votes: list[int]


class SmoothedClassifier:
    """``g(x) = argmax_c P(f(x + N(0, sigma^2 I)) = c)`` with exact confidence (Cohen et al., ICML 2019).

    The noise of sample j of image i is a function of (seed, i, j): batch size, order, the number of
    devices and resumed runs do not change it. It is drawn and added in float32 to pixels in [0, 1], before
    the model's own normalisation, and not clipped. A sample with non-finite logits votes for no class.

    Args:
        model: images [B, C, H, W] to logits [B, num_classes]; in evaluation mode, without batch statistics.
        num_classes: columns of the logits.
        sigma: of the noise, in units of pixels in [0, 1]; the radius is in the same units (L2).
        seed: of the noise, 0 to 2^32 - 1.
        batch_size: samples a forward pass takes (default 400, as the paper's).
        precision: of the forward pass; the certificate holds for the model as it is run.

    Raises:
        ValueError: sigma <= 0, a model in training mode or with batch statistics.

    Example:
        >>> smoothed = SmoothedClassifier(model, num_classes=10, sigma=0.25)
        >>> smoothed.certify(image, n0=100, n=100_000, alpha=0.001)      # (class or -1, radius)
    """

    def __init__(
        self,
        model: nn.Module,
        num_classes: int,
        sigma: float,
        seed: int = 0,
        batch_size: int = 400,
        precision: Literal["fp32", "bf16"] = "fp32",
    ):
        check_sigma(sigma)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        check_model(model)
        self.model, self.num_classes, self.sigma, self.seed = model, num_classes, float(sigma), seed
        self.batch_size, self.precision = batch_size, precision
        weight = next(model.parameters(), torch.empty(0))
        self.device = weight.device

    def predict(self, x: Tensor, n: int, alpha: float, index: int = 0) -> int:
        """The smoothed class, or -1: wrong with probability at most ``alpha``.

        Args:
            x: [C, H, W], floats in [0, 1].
            n: samples.
            alpha: error probability; it abstains where the two-sided binomial test's p-value is above it.
            index: the image's noise stream, say its place in the test set.

        Raises:
            ValueError: an image that is none, a model in training mode, an n that can't decide anything.
        """
        check_samples(n, alpha, shares=2)  # two-sided: n equal votes have the p-value 2^(1 - n)
        votes = self.votes(self.prepare(x), index, 0, n).tolist()
        first, second = sorted(range(self.num_classes), key=lambda c: -votes[c])[:2] if self.num_classes > 1 else (0, 0)
        # The abstaining samples could all have been the runner-up's.
        runner_up = (votes[second] if second != first else 0) + votes[-1]
        decided = votes[first] > runner_up and binomial_p_value(votes[first], runner_up) <= alpha
        return first if decided else ABSTAIN

    def certify(self, x: Tensor, n0: int, n: int, alpha: float, index: int = 0) -> tuple[int, float]:
        """The smoothed class and a radius within which it is constant, or ``(-1, 0.0)``.

        Args:
            x: [C, H, W], floats in [0, 1].
            n0: samples that choose the class (the paper: 100).
            n: fresh samples that bound its probability (the paper: 100,000).
            alpha: probability that the radius is too large (the paper: 0.001).
            index: the image's noise stream, say its place in the test set.

        Raises:
            ValueError: as for :meth:`predict`.
        """
        certificate = self.certificate(x, n0, n, alpha, index)
        return certificate.predicted, certificate.radius

    def certificate(self, x: Tensor, n0: int, n: int, alpha: float, index: int = 0) -> Certificate:
        """As :meth:`certify`, with the votes; the host waits for the device once."""
        check_samples(n, alpha)
        if n0 < 1:
            raise ValueError(f"n0 must be at least 1 to choose a class, got {n0}")
        image = self.prepare(x)
        counts = torch.stack([self.votes(image, index, 0, n0), self.votes(image, index, n0, n)])
        selection, votes = counts.tolist()
        return certify_votes(selection, votes, self.sigma, alpha)

    def votes(self, image: Tensor, index: int, start: int, count: int) -> Tensor:
        """[C + 1] int64 on the device: votes of the samples from ``start`` on, the last entry for non-finite logits."""
        total = torch.zeros(self.num_classes + 1, dtype=torch.int64, device=self.device)
        for first in range(start, start + count, self.batch_size):
            size = min(self.batch_size, start + count - first)
            total += self.vote([Request(image, index, first, size)])[0]
        return total

    def vote(self, requests: Sequence[Request], pad_to: int = 0) -> Tensor:
        """One forward pass over all requests: [R, C + 1] int64 votes on the device, without a host sync.

        Args:
            requests: samples of any images.
            pad_to: fill the batch up to so many rows, so that every pass has one shape.
        """
        logits = self.logits(requests, pad_to)
        winner = logits.argmax(dim=1).masked_fill(~logits.isfinite().all(dim=1), self.num_classes)
        bins = self.num_classes + 1
        owner = np.repeat(np.arange(len(requests)), [request.count for request in requests])
        place = upload(owner, self.device) * bins + winner
        # On a GPU torch.bincount reads the smallest and the largest number on the host.
        counts = torch.zeros(len(requests) * bins, dtype=torch.int64, device=self.device)
        return counts.scatter_add_(0, place, torch.ones_like(place)).view(len(requests), bins)

    @torch.inference_mode()
    def logits(self, requests: Sequence[Request], pad_to: int = 0) -> Tensor:
        """[N, C] logits, of each request's noisy samples in turn."""
        counts = [request.count for request in requests]
        streams = np.repeat([request.index for request in requests], counts)
        positions = np.concatenate([np.arange(r.start, r.start + r.count) for r in requests])
        noise = counter_normal(self.seed, streams, positions, requests[0].image.shape, self.device)
        batch = noise.mul_(self.sigma)
        for request, rows in zip(requests, batch.split(counts), strict=True):
            rows.add_(request.image)
        if pad_to > len(batch):
            batch = torch.cat([batch, batch[:1].expand(pad_to - len(batch), *batch.shape[1:])])
        batch = batch.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits = self.model(batch)
        if logits.shape != (len(batch), self.num_classes):
            raise ValueError(
                f"the model gave logits {list(logits.shape)} where [{len(batch)}, {self.num_classes}] was expected; "
                "set num_classes to the model's classes"
            )
        return logits[: sum(counts)]

    def blocks(self, image: Tensor, index: int, start: int, count: int) -> Iterator[Tensor]:
        """Logits [b, C] of the samples from ``start`` on, in batches."""
        for first in range(start, start + count, self.batch_size):
            yield self.logits([Request(image, index, first, min(self.batch_size, start + count - first))])

    def prepare(self, x: Tensor) -> Tensor:
        """Check one image and the model, and bring the image to the device: [C, H, W] float32; nothing waits for it."""
        check_model(self.model)
        if x.ndim != 3 or not x.is_floating_point():
            raise ValueError(f"expected one image [C, H, W] of floats in [0, 1], got {x.dtype} {list(x.shape)}")
        if not bool(((x >= 0) & (x <= 1)).all()):  # NaN is outside too
            raise ValueError(
                f"the image's pixels lie in [{x.min():.3g}, {x.max():.3g}], expected [0, 1]; leave the normalisation "
                "to the model: noise and radius are in pixels"
            )
        return upload(x.float(), self.device)


def certify_votes(selection: Sequence[int], votes: Sequence[int], sigma: float, alpha: float) -> Certificate:
    """CERTIFY from counts alone: for other alphas, or another sigma's check, without the model.

    Args:
        selection: [C + 1] votes that choose the class.
        votes: [C + 1] votes of fresh samples; the last entry are samples without a class.
    """
    top = int(np.argmax(selection[:-1]))  # the first of equal ones
    lower = clopper_pearson_lower(votes[top], sum(votes), alpha)
    radius = cohen_radius(lower, sigma) if lower > 0.5 else 0.0
    return Certificate(top if lower > 0.5 else ABSTAIN, radius, list(selection), list(votes))


def check_model(model: nn.Module) -> None:
    """Refuse a model that is no fixed function of its image.

    Raises:
        ValueError: a module is in training mode, or normalises with the batch's statistics.
    """
    for name, module in model.named_modules():
        if module.training:
            raise ValueError(f"the model is in training mode (module {name or 'itself'!r}); call model.eval()")
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.running_mean is None:
            raise ValueError(
                f"{name!r} normalises with the batch's statistics, so an image's class depends on its neighbours; "
                "use track_running_stats=True"
            )
