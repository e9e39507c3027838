"""Exact bounds on the probability of a class from its count, and the radius they certify.

Clopper and Pearson, Biometrika 1934; Cohen, Rosenfeld and Kolter, "Certified adversarial robustness via
randomized smoothing", ICML 2019. Every rounding here goes the safe way.
"""

import math

import numpy as np
from numpy.typing import ArrayLike

ULPS = 4  # the bounds step this far to their safe side, and MORE times 1 - p further: SciPy's inverse beta
MORE = 1000  # is good to the last digits, but for p far from 1 at extreme alphas


def clopper_pearson_lower(successes: ArrayLike, trials: ArrayLike, alpha: float) -> float | np.ndarray:
    """One-sided lower confidence bound on p, exact: it exceeds p with probability at most ``alpha``.

    Args:
        successes: how often the event happened; a number or an array.
        trials: independent samples, at least 1.
        alpha: error probability in (0, 1).

    Returns:
        float64 of the broadcast shape (a float for numbers); 0 for no success.

    Raises:
        ValueError: counts that no experiment gives, or an alpha outside (0, 1).

    Example:
        >>> round(clopper_pearson_lower(70, 100, 0.001), 6)
        0.543444
    """
    from scipy.special import betaincinv

    k, n = _counts(successes, trials, alpha)
    inner = betaincinv(np.maximum(k, 1.0), n - k + 1.0, alpha)
    edge = np.where(k == n, np.exp(np.log(alpha) / n), inner)
    lower = np.where(k == 0, 0.0, edge * (1 - _step(edge)))
    return _plain(lower)


def clopper_pearson_upper(successes: ArrayLike, trials: ArrayLike, alpha: float) -> float | np.ndarray:
    """One-sided upper confidence bound on p; as :func:`clopper_pearson_lower`, and 1 where all succeed."""
    from scipy.special import betainccinv

    k, n = _counts(successes, trials, alpha)
    # 1 - lower(n - k) would lose digits where p is small, and 1 - alpha where alpha is.
    inner = betainccinv(k + 1.0, np.maximum(n - k, 1.0), alpha)
    upper = np.where(k == n, 1.0, np.minimum(inner * (1 + _step(inner)), 1.0))
    return _plain(upper)


def cohen_radius(p_lower: ArrayLike, sigma: float) -> float | np.ndarray:
    """L2 radius ``sigma * PhiInv(p_lower)`` within which the smoothed class cannot change; 0 where p <= 1/2.

    Args:
        p_lower: lower bound on the top class's probability, in [0, 1).
        sigma: of the noise, in units of the space it is added in (pixels in [0, 1]).

    Returns:
        float64; 0 means that nothing is certified.

    Raises:
        ValueError: sigma is not positive and finite, or a p outside [0, 1): no finite sample proves p = 1.

    Example:
        >>> round(cohen_radius(0.99, 0.25), 6)
        0.581587
    """
    from scipy.special import ndtri

    check_sigma(sigma)
    p = np.asarray(p_lower, dtype=np.float64)
    if not ((p >= 0) & (p < 1)).all():
        raise ValueError(f"p_lower must lie in [0, 1), got {p_lower}; use a confidence bound, not a frequency")
    return _plain(np.where(p > 0.5, sigma * ndtri(np.maximum(p, 0.5)), 0.0))


def smallest_n(alpha: float) -> int:
    """The fewest samples that could certify any radius: the least n with ``alpha^(1/n) > 1/2``.

    Example:
        >>> smallest_n(0.001)
        10
    """
    _check_alpha(alpha)
    n = max(1, math.floor(math.log(alpha) / math.log(0.5)))
    while alpha <= 0.5**n:
        n += 1
    return n


def check_samples(n: int, alpha: float, shares: int = 1) -> None:
    """Refuse a sample size with which every image would abstain, whatever the model says.

    Args:
        n: samples.
        alpha: error probability, of which a bound has a ``shares``-th part.

    Raises:
        ValueError: it says the smallest size that could certify anything.
    """
    _check_alpha(alpha)
    least = smallest_n(alpha / shares)
    if n < least:
        raise ValueError(
            f"n={n} is too small for alpha={alpha:g}: even {n} equal votes prove no probability above 1/2; "
            f"use n={least} or more"
        )


def check_sigma(sigma: float) -> None:
    """Refuse a sigma that is not a positive, finite number."""
    if not (math.isfinite(sigma) and sigma > 0):
        raise ValueError(f"sigma must be positive and finite, got {sigma}; it is the noise's standard deviation")


def round_down(radius: float, digits: int = 3) -> str:
    """A radius with ``digits`` significant digits, never above the radius itself.

    Example:
        >>> round_down(0.95286), round_down(0.0734567), round_down(0.0)
        ('0.952', '0.0734', '0.0')
    """
    from decimal import ROUND_FLOOR, Decimal

    if not (math.isfinite(radius) and radius >= 0):
        raise ValueError(f"a radius must be finite and at least 0, got {radius}")
    if radius == 0:
        return "0.0"
    exact = Decimal(repr(float(radius)))  # the shortest text of the float: rounding again changes nothing
    step = Decimal(1).scaleb(exact.adjusted() - digits + 1)
    rounded = (exact / step).to_integral_value(ROUND_FLOOR) * step
    text = f"{rounded.normalize():f}"
    return text if "." in text else f"{text}.0"


def binomial_p_value(top: int, second: int) -> float:
    """Two-sided exact p-value of ``top`` against ``second`` votes under equal chances (PREDICT's test)."""
    from scipy.stats import binomtest

    return float(binomtest(int(top), int(top + second), 0.5).pvalue) if top + second else 1.0


def _step(p: np.ndarray) -> np.ndarray:
    return np.finfo(float).eps * (ULPS + MORE * (1 - p))


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie in (0, 1), got {alpha}; the literature uses 0.001")


def _counts(successes: ArrayLike, trials: ArrayLike, alpha: float) -> tuple[np.ndarray, np.ndarray]:
    _check_alpha(alpha)
    k, n = (np.asarray(values, dtype=np.float64) for values in (successes, trials))
    if not ((n >= 1) & (k >= 0) & (k <= n) & (k == np.floor(k)) & (n == np.floor(n))).all():
        raise ValueError(f"expected whole numbers with 0 <= successes <= trials, got {successes} of {trials}")
    return k, n


def _plain(values: np.ndarray) -> float | np.ndarray:
    values = np.asarray(values)
    return float(values) if values.ndim == 0 else values
