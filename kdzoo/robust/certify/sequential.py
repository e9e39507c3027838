"""Deciding radii with as few samples as they need: a confidence sequence that is valid at every look.

A bettor's wealth against "the probability is at most p" after k of n votes is the likelihood ratio averaged over
the alternatives above p, all alike,

    E_n(p) = 1 / (1 - p) * integral_p^1 (q / p)^k ((1 - q) / (1 - p))^(n - k) dq,

a martingale of mean 1 under p, and one that falls on average under less. By Ville's inequality it ever reaches
1 / alpha with probability at most alpha (Ville, 1939; Robbins, 1970). The p refuted so far, from 0 up without a gap,
are those below a lower bound: it passes the true value only if that value itself was refuted. So one statement
holds for all n, and one sequence of bounds for any list of radii.

Giving up takes no proof, for it certifies nothing: it costs power and never soundness.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from kdzoo.robust.certify.binomial import _check_alpha, check_sigma

SLACK = 1e-9, 1e-14  # in ln E, and again per sample: more than its rounding (3e-8 at 10^7), on the safe side


def log_wealth(votes: ArrayLike, samples: ArrayLike, p: ArrayLike) -> np.ndarray:
    """ln E_n(p) of ``votes`` among ``samples`` against each p in (0, 1); broadcast, float64."""
    from scipy.special import betaincc, betaln

    k, n, p = (np.asarray(values, dtype=np.float64) for values in (votes, samples, p))
    with np.errstate(divide="ignore"):  # a share of 0 above p: no wealth at all
        above = betaln(k + 1, n - k + 1) + np.log(betaincc(k + 1, n - k + 1, p)) - np.log1p(-p)
    return above - k * np.log(p) - (n - k) * np.log1p(-p)


def lower_sequence(votes: int, samples: int, alpha: float) -> float:
    """Lower bound on a probability; all that one ever looks at hold together with probability 1 - alpha.

    Args:
        votes: successes so far.
        samples: drawn so far.
        alpha: probability that the bound ever passes the true value, whenever one looks; below 0.36, which keeps
            the refuted probabilities an interval.

    Returns:
        A bound below Clopper-Pearson's at one n, and safe to stop by.

    Example:
        >>> lower = lower_sequence(990, 1000, 0.001)
    """
    _check_alpha(alpha)
    if not 0 <= votes <= samples or alpha >= 0.36:
        raise ValueError(f"expected 0 <= votes <= samples and alpha < 0.36, got {votes} of {samples} and {alpha}")
    if votes == 0:
        return 0.0
    low, high = 0.0, votes / samples  # low is refuted, or 0
    for _ in range(60):
        half = (low + high) / 2
        if half in (low, high):
            break
        low, high = (half, high) if log_wealth(votes, samples, half) >= _bar(alpha, samples) else (low, half)
    return low


def chance(votes: ArrayLike, samples: ArrayLike, limit: int, need: ArrayLike) -> np.ndarray:
    """Predicted probability of ``need`` votes at ``limit`` samples after ``votes`` of ``samples``; broadcast.

    The votes to come are beta-binomial; their share is taken as a beta distribution of the same mean and, but for
    terms of 1 / n^2, the same variance. Nothing is certified by it.
    """
    from scipy.special import betaincc

    k, n, need = (np.asarray(values, dtype=np.float64) for values in (votes, samples, need))
    left = limit - n
    share = (need - 0.5 - k) / np.maximum(left, 1)  # half a vote, for votes are whole
    weight = 1 / (1 / np.maximum(left, 1) + 1 / (n + 1))
    mean = (k + 0.5) / (n + 1)
    predicted = betaincc(weight * mean, weight * (1 - mean), np.clip(share, 0, 1))
    return np.where(need <= k, 1.0, np.where(need - k > left, 0.0, np.where(need - k == left, mean**left, predicted)))


@lru_cache(maxsize=64)
def votes_needed(p: float, samples: int, alpha: float) -> int:
    """The fewest of ``samples`` votes that refute p; one more than there are where none do."""
    low, high = math.floor(p * samples), samples + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if log_wealth(middle, samples, p) >= _bar(alpha, samples) else (middle + 1, high)
    return high


def _bar(alpha: float, samples: int) -> float:
    return math.log(1 / alpha) + SLACK[0] + SLACK[1] * samples


@dataclass
class RadiusTest:
    """One image's sequence of bounds, asked about any list of radii.

    A radius is certified once p = Phi(radius / sigma) and those of all smaller radii, the class's 1/2 among them, are
    refuted; testing in this order, each at alpha, all certificates of an image are wrong together with probability at
    most alpha, whatever the number of looks. A radius is out of reach once the samples that remain would certify it
    with a predicted probability below ``give_up``.

    Args:
        radii: the radii to decide, in ascending order; 0 asks for the class alone.
        sigma: of the noise.
        alpha: error probability of the image.
        limit: samples that may be used.
        give_up: of power, not of soundness (default 0.01); 0 goes on while the remaining samples could do it.

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
    give_up: float = 0.01
    samples: int = 0
    votes: int = 0
    certified: np.ndarray = field(init=False)  # [R + 1] bool, the first for the class itself (p > 1/2)
    hopeless: np.ndarray = field(init=False)  # [R + 1] bool

    def __post_init__(self):
        from scipy.special import ndtr

        check_sigma(self.sigma)
        _check_alpha(self.alpha)
        check_radii(self.radii)
        if not 0 <= self.give_up < 1:
            raise ValueError(f"give_up must lie in [0, 1), got {self.give_up}; 0.01 is the default")
        # Each threshold is rounded up, past the error of the normal distribution function.
        self.thresholds = np.minimum(ndtr(np.array([0.0, *self.radii]) / self.sigma) * (1 + 1e-14), 1 - 2.0**-53)
        self.need = np.array([votes_needed(p, self.limit, self.alpha) for p in self.thresholds.tolist()])
        self.refuted = np.zeros(len(self.thresholds), dtype=bool)
        self.certified, self.hopeless = self.refuted.copy(), self.refuted.copy()

    def look(self, votes: int, samples: int) -> None:
        """Take in ``votes`` of ``samples`` further samples for the class."""
        self.votes, self.samples = self.votes + votes, self.samples + samples
        self.refuted |= log_wealth(self.votes, self.samples, self.thresholds) >= _bar(self.alpha, self.samples)
        self.certified = np.logical_and.accumulate(self.refuted)
        predicted = chance(self.votes, self.samples, self.limit, self.need)
        lost = np.logical_or.accumulate((predicted < self.give_up) | (predicted == 0))
        self.hopeless = (self.hopeless | lost) & ~self.certified

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
    if not radii or radii != sorted(set(radii)) or not all(math.isfinite(r) and r >= 0 for r in radii):
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
