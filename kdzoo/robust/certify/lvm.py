"""Lipschitz-Variance-Margin smoothing with a valid certificate: soft outputs, empirical Bernstein, one fixed map.

Averaging a simplex map of the logits instead of votes lowers the variance (Delattre et al., ICLR 2024). For the
certificate to hold at x + d, x's own samples must not choose the smoothed classifier: map and temperature
are fixed beforehand on validation images, the n0 samples choose the top class and the partition of the others,
and every bound pays its share of alpha.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdzoo.robust.certify.bernstein import Moments, empirical_bernstein
from kdzoo.robust.certify.binomial import check_samples, clopper_pearson_lower, cohen_radius
from kdzoo.robust.certify.cpm import bucket_radius, partition
from kdzoo.robust.certify.radii import mono_radius, multi_radius
from kdzoo.robust.certify.simplex import SimplexMap
from kdzoo.robust.certify.smoothed import ABSTAIN, SmoothedClassifier

# Few, spread over the useful range: a finer grid only fits the validation images better.
SCALES = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
CANDIDATES = tuple([SimplexMap("hardmax"), *(SimplexMap(kind, s) for kind in ("softmax", "sparsemax") for s in SCALES)])


@dataclass(frozen=True)
class SoftCertificate:
    """The outcome for one image under a fixed map.

    Args:
        predicted: the class, or -1.
        radius: L2, 0 where it abstains.
        selection: [C + 1] sums of the map over the n0 samples; the last entry counts non-finite logits.
        buckets: the partition of the classes, the first is the predicted one alone.
        mean: of each bucket's output over the n fresh samples.
        variance: unbiased, likewise.
        non_finite: how many of the n samples had logits that were not finite; they count as outputs of 0.
    """

    predicted: int
    radius: float
    selection: list[float]
    buckets: list[list[int]]
    mean: list[float]
    variance: list[float]
    non_finite: int = 0


def certify_soft(
    smoothed: SmoothedClassifier, chosen: SimplexMap, x: Tensor, n0: int, n: int, alpha: float, index: int = 0
) -> SoftCertificate:
    """Certify the smoothed classifier ``argmax_c E map(logits(x + noise))_c``.

    Args:
        smoothed: model, sigma and noise.
        chosen: the map, the same for every image of the data set: see :func:`choose_map`.
        x: [C, H, W], floats in [0, 1].
        n0: samples that choose the class.
        n: fresh samples.
        alpha: probability that the radius is too large.
        index: the image's noise stream.

    Returns:
        The larger of the mono and the multi radius; both follow from bounds that hold together.

    Raises:
        ValueError: as for ``SmoothedClassifier.certify``.

    Example:
        >>> certify_soft(smoothed, SimplexMap("softmax", 4.0), image, 100, 100_000, 0.001).radius
    """
    check_soft_samples(chosen, n, alpha, smoothed.num_classes)
    if n0 < 1 or n < 2:
        raise ValueError(f"n0 must be at least 1 and n at least 2, got {n0} and {n}")
    image = smoothed.prepare(x)
    total = torch.zeros(smoothed.num_classes + 1, dtype=torch.float64, device=smoothed.device)
    for logits in smoothed.blocks(image, index, 0, n0):
        total += _outputs(chosen, logits).sum(dim=0)
    selection = _selection(total)
    buckets = partition(selection[:-1])
    columns = [*buckets, [smoothed.num_classes]]  # the last: non-finite logits
    gather = torch.zeros(smoothed.num_classes + 1, len(columns), dtype=torch.float64, device=smoothed.device)
    for column, bucket in enumerate(columns):
        gather[bucket, column] = 1
    moments = None
    for logits in smoothed.blocks(image, index, n0, n):
        part = Moments.of(_outputs(chosen, logits) @ gather)
        moments = part if moments is None else moments.merge(part)
    (*mean, broken), (*variance, _) = torch.stack([moments.mean, moments.variance().clamp_min(0)]).tolist()
    predicted, radius = soft_radius(chosen, buckets, mean, variance, n, smoothed.sigma, alpha)
    return SoftCertificate(predicted, radius, selection, buckets, mean, variance, round(broken * n))


def check_soft_samples(chosen: SimplexMap, n: int, alpha: float, num_classes: int) -> None:
    """Refuse an n with which every image would abstain; soft bounds need more samples than votes do.

    Raises:
        ValueError: it says the smallest n that could certify anything.
    """
    check_samples(n, alpha, shares=2)
    if chosen.kind == "hardmax":
        return
    # Without any variance the lower bound is 1 - 7 ln(2 buckets / alpha) / (3 (n - 1)), and has to pass 1/2.
    least = 2 + math.floor(14 / 3 * math.log(2 * min(num_classes, 3) / alpha))
    if n < least:
        raise ValueError(
            f"n={n} is too small for alpha={alpha:g} and the map {chosen.kind}: even outputs without variance prove no "
            f"mean above 1/2; use n={least} or more"
        )


def soft_radius(
    chosen: SimplexMap,
    buckets: Sequence[Sequence[int]],
    mean: Sequence[float],
    variance: Sequence[float],
    n: int,
    sigma: float,
    alpha: float,
) -> tuple[int, float]:
    """Class and radius from the moments of the buckets; hardmax takes the exact binomial bounds instead."""
    top = buckets[0][0]
    if chosen.kind == "hardmax":
        votes = [round(value * n) for value in mean]
        share = alpha / 2  # mono and multi are two statements, and the larger is taken
        mono = cohen_radius(clopper_pearson_lower(votes[0], n, share), sigma)
        radius = max(mono, bucket_radius(votes, n, sigma, share))
    else:
        # Rounding of float64 sums must not lift a bound.
        share, slack = alpha / len(buckets), 1e-9
        mean, variance = np.asarray(mean), np.asarray(variance)
        lower, upper = empirical_bernstein(mean, variance, n, share)
        low, high = float(lower[0]) - slack, min(1.0, float(upper[1:].max()) + slack)
        radius = max(0.0, multi_radius(low, high, sigma), mono_radius(low, sigma))
    return (top, radius) if radius > 0 else (ABSTAIN, 0.0)


def _selection(total: Tensor) -> list[float]:
    """Sums over the selection samples; rounded, or the order of addition could decide between equal classes."""
    return [round(value, 6) for value in total.tolist()]


def _outputs(chosen: SimplexMap, logits: Tensor) -> Tensor:
    """[B, C + 1] float64: the map's outputs; a sample with non-finite logits gives all to the last column."""
    finite = logits.isfinite().all(dim=1, keepdim=True)
    # In float64: a row of 1,000 float32 outputs may sum to 1 + 1e-6, and the bounds take sums of 1.
    outputs = torch.where(finite, chosen(torch.where(finite, logits, 0.0).to(torch.float64)), 0.0)
    return torch.cat([outputs, (~finite).to(torch.float64)], dim=1)


def choose_map(
    smoothed: SmoothedClassifier,
    images: Iterable[tuple[int, Tensor, int]],
    n0: int,
    n: int,
    alpha: float,
    candidates: Sequence[SimplexMap] = CANDIDATES,
    planned_n: int | None = None,
) -> tuple[SimplexMap, list[float]]:
    """Choose the map once for a model and a sigma, on validation images that are not certified later.

    Args:
        smoothed: model, sigma and noise.
        images: (index, image, label) of validation images.
        n0, n: samples per validation image; all candidates see the same ones.
        alpha: as in the certification.
        candidates: maps to choose from.
        planned_n: the certification's n: the moments measured with ``n`` samples are bounded as if there were so many.

    Returns:
        The map with the largest average certified radius, and those averages.

    Raises:
        ValueError: there is no image.

    Example:
        >>> chosen, averages = choose_map(smoothed, validation, n0=100, n=1000, alpha=0.001, planned_n=100_000)
    """
    totals, count = np.zeros(len(candidates)), 0
    for index, x, label in images:
        image, count = smoothed.prepare(x), count + 1
        logits = torch.cat(list(smoothed.blocks(image, index, 0, n0 + n)))
        for place, chosen in enumerate(candidates):
            outputs = _outputs(chosen, logits)
            buckets = partition(_selection(outputs[:n0].sum(0))[:-1])
            sums = torch.stack([outputs[n0:, bucket].sum(1) for bucket in buckets], dim=1)
            moments = Moments.of(sums)
            mean, variance = torch.stack([moments.mean, moments.variance().clamp_min(0)]).tolist()
            # n - 1 below: the largest variance of n values exceeds that of planned_n values by a hair.
            variance = [min(v, max(m * (1 - m), 0.0)) for m, v in zip(mean, variance, strict=True)]
            predicted, radius = soft_radius(chosen, buckets, mean, variance, planned_n or n, smoothed.sigma, alpha)
            totals[place] += radius if predicted == label else 0.0
    if not count:
        raise ValueError("choosing a map needs at least one validation image")
    return candidates[int(np.argmax(totals))], (totals / count).tolist()
