"""Deciding radii with as few samples as they need: a confidence sequence that is valid at every look.

A bettor's wealth against "the probability is p" after k of n votes is the mixture likelihood ratio

    E_n(p) = sum_i w_i B(a_i + k, b_i + n - k) / (B(a_i, b_i) p^k (1 - p)^(n - k)),

a martingale of mean 1 under p. By Ville's inequality it ever reaches 1/alpha with probability at most alpha
(Ville, 1939; Robbins, 1970), so the p at which it has not form a confidence sequence: one statement about all n,
one sequence for all radii. ln E_n is convex in p with its minimum near k/n: the set is an interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.robust.certify.binomial import _check_alpha, check_sigma

# (weight, a, b): half Jeffreys' prior, half a bet on a class that is hardly ever missed, which is where
# the radii of 2 to 3 sigma are decided.
PRIOR = ((0.5, 0.5, 0.5), (0.5, 1.0, 0.05))
SLACK = 1e-9  # in ln E: more than its rounding, on the safe side


def log_wealth(votes: ArrayLike, samples: ArrayLike, p: ArrayLike) -> np.ndarray:
    """ln E_n(p) of ``votes`` among ``samples`` against each p in (0, 1); broadcast, float64."""
    from scipy.special import betaln

    k, n, p = (np.asarray(values, dtype=np.float64) for values in (votes, samples, p))
    mixture = [math.log(w) + betaln(a + k, b + n - k) - betaln(a, b) for w, a, b in PRIOR]
    return np.logaddexp.reduce(mixture, axis=0) - k * np.log(p) - (n - k) * np.log1p(-p)


def confidence_sequence(votes: int, samples: int, alpha: float) -> tuple[float, float]:
    """Bounds on a probability that hold at all sample sizes at once, with probability 1 - alpha.

    Args:
        votes: successes so far.
        samples: drawn so far.
        alpha: probability that the true value ever leaves the bounds, whenever one looks.

    Returns:
        ``(lower, upper)``; wider than Clopper-Pearson's at one n, and safe to stop by.

    Example:
        >>> lower, upper = confidence_sequence(990, 1000, 0.001)
    """
    _check_alpha(alpha)
    if not 0 <= votes <= samples:
        raise ValueError(f"expected 0 <= votes <= samples, got {votes} of {samples}")
    if samples == 0:
        return 0.0, 1.0
    middle = votes / samples

    def edge(outer: float) -> float:
        """Bisection between a refuted end and the frequency; returns the refuted side."""
        inner = middle
        for _ in range(60):
            half = (outer + inner) / 2
            if half in (outer, inner):
                break
            outer, inner = (half, inner) if log_wealth(votes, samples, half) >= bar else (outer, half)
        return outer

    bar = math.log(1 / alpha) + SLACK
    return (edge(0.0) if votes else 0.0), (edge(1.0) if votes < samples else 1.0)


@dataclass
class RadiusTest:
    """One image's sequence of bounds, asked about any list of radii.

    A radius is certified once p = Phi(radius / sigma) is refuted from below, out of reach once it is refuted from
    above or the samples that remain could not certify it. All certificates of an image are wrong
    together with probability at most alpha, whatever the number of looks.

    Args:
        radii: the radii to decide, in ascending order; 0 asks for the class alone.
        sigma: of the noise.
        alpha: error probability of the image.
        limit: samples that may be used.

    Example:
        >>> test = RadiusTest((0.25, 0.5, 0.75), sigma=0.25, alpha=0.001, limit=100_000)
        >>> test.look(votes=50, samples=50)
        >>> test.decided
        False
    """

    radii: tuple[float, ...]
    sigma: float
    alpha: float
    limit: int
    samples: int = 0
    votes: int = 0
    certified: np.ndarray = field(init=False)  # [R + 1] bool, the first for the class itself (p > 1/2)
    hopeless: np.ndarray = field(init=False)  # [R + 1] bool

    def __post_init__(self):
        from scipy.special import ndtr

        check_sigma(self.sigma)
        _check_alpha(self.alpha)
        check_radii(self.radii)
        # Each threshold is rounded up, past the error of the normal distribution function.
        self.thresholds = np.minimum(ndtr(np.array([0.0, *self.radii]) / self.sigma) * (1 + 1e-14), 1 - 2.0**-53)
        self.certified = np.zeros(len(self.thresholds), dtype=bool)
        self.hopeless = np.zeros(len(self.thresholds), dtype=bool)

    def look(self, votes: int, samples: int) -> None:
        """Take in ``votes`` of ``samples`` further samples for the class."""
        self.votes, self.samples = self.votes + votes, self.samples + samples
        bar = math.log(1 / self.alpha) + SLACK
        refuted = log_wealth(self.votes, self.samples, self.thresholds) >= bar
        above = self.votes > self.thresholds * self.samples
        self.certified |= refuted & above
        left = self.limit - self.samples
        best = log_wealth(self.votes + left, self.limit, self.thresholds) >= bar
        reachable = best & (self.votes + left > self.thresholds * self.limit)
        self.hopeless |= ~self.certified & ((refuted & ~above) | ~reachable)

    @property
    def decided(self) -> bool:
        """Whether every radius asked for is certified or out of reach, or the samples are spent."""
        return bool((self.certified | self.hopeless)[1:].all()) or self.samples >= self.limit

    @property
    def radius(self) -> float:
        """The largest certified radius of the list; 0 where there is none."""
        return max((r for r, yes in zip(self.radii, self.certified[1:], strict=True) if yes), default=0.0)


def check_radii(radii: Sequence[float]) -> None:
    """Refuse a list that is empty, not ascending, negative or not finite."""
    radii = list(radii)
    if not radii or radii != sorted(set(radii)) or radii[0] < 0 or not math.isfinite(radii[-1]):
        raise ValueError(f"radii must be finite, at least 0 and ascending, got {radii}; for example 0.25 0.5 0.75")


def smallest_limit(alpha: float, radii: Sequence[float], sigma: float) -> int:
    """The fewest samples with which the smallest of the radii could be certified."""
    low, high = 1, 2

    def enough(n: int) -> bool:
        test = RadiusTest(tuple(radii), sigma, alpha, n)
        test.look(n, n)
        return bool(test.certified[1])

    while not enough(high):
        low, high = high, 2 * high
        if high > 2**40:
            raise ValueError(f"no sample certifies a radius of {radii[0]} at sigma {sigma}; ask for smaller radii")
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle + 1, high)
    return high
