"""Bounds on the mean of soft outputs: moments that merge exactly, and the empirical Bernstein inequality."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from kdzoo.robust.certify.binomial import _check_alpha


@dataclass
class Moments:
    """Count, mean and sum of squared deviations of columns, in float64 on the values' device.

    Merged by Chan, Golub and LeVeque's formula (1979), so that batches of any size give the moments of
    the whole sample.

    Args:
        count: rows seen.
        mean: [C] float64.
        scatter: [C] float64, sum over rows of (value - mean)^2.

    Example:
        >>> moments = Moments.of(first).merge(Moments.of(second))
    """

    count: int
    mean: Tensor
    scatter: Tensor

    @classmethod
    def of(cls, values: Tensor) -> "Moments":
        """Of the rows of ``values`` [N, C]; there must be one at least."""
        values = values.to(torch.float64)
        mean = values.mean(dim=0)
        return cls(len(values), mean, (values - mean).square().sum(dim=0))

    def merge(self, other: "Moments") -> "Moments":
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        scatter = self.scatter + other.scatter + shift.square() * (self.count * other.count / count)
        return Moments(count, mean, scatter)

    def variance(self) -> Tensor:
        """[C], unbiased (n - 1 below)."""
        return self.scatter / (self.count - 1)


def empirical_bernstein(
    mean: ArrayLike, variance: ArrayLike, n: int, alpha: float
) -> tuple[float | np.ndarray, float | np.ndarray]:
    """Confidence bounds on the expectation of values in [0, 1] (Maurer and Pontil, COLT 2009, Theorem 4).

    Either bound alone fails with probability at most ``alpha``; both together with at most twice that.

    Args:
        mean: of the n independent values.
        variance: their unbiased sample variance (n - 1 below).
        n: at least 2.
        alpha: error probability of one bound.

    Returns:
        ``(lower, upper)``: mean -+ (sqrt(2 V ln(2 / alpha) / n) + 7 ln(2 / alpha) / (3 (n - 1))), not clipped.

    Raises:
        ValueError: n below 2, alpha outside (0, 1), or moments that values in [0, 1] cannot have.

    Example:
        >>> empirical_bernstein(0.9, 0.0025, 100_000, 1e-4)[0]
        0.89906...
    """
    _check_alpha(alpha)
    if n < 2:
        raise ValueError(f"n must be at least 2 for a sample variance, got {n}")
    mean, variance = np.asarray(mean, dtype=np.float64), np.asarray(variance, dtype=np.float64)
    slack = 1e-9
    possible = mean * (1 - mean) * n / (n - 1)  # the largest variance of n values in [0, 1] with that mean
    if not ((mean >= -slack) & (mean <= 1 + slack) & (variance >= 0) & (variance <= possible + slack)).all():
        raise ValueError(f"no {n} values in [0, 1] have mean {mean} and variance {variance}; scale them to [0, 1]")
    log = math.log(2 / alpha)
    shift = np.sqrt(2 * variance * log / n) + 7 * log / (3 * (n - 1))
    shift = shift * (1 + 8 * np.finfo(float).eps)
    lower, upper = mean - shift, mean + shift
    return (float(lower), float(upper)) if lower.ndim == 0 else (lower, upper)
