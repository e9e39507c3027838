"""Radii from bounds on the smoothed classifier's outputs, and how smooth smoothing makes a function."""

import math

from kdzoo.robust.certify.binomial import check_sigma


def mono_radius(p_top: float, sigma: float) -> float:
    """``sigma PhiInv(p_top)``: needs the top class's lower bound alone; not positive unless it is above 1/2.

    Outputs in [0, 1] that sum to 1 leave the others at most 1 - p_top (Levine et al., 2019; Salman et al., 2019).
    """
    return sigma * _quantile(p_top, sigma)


def multi_radius(p_top: float, p_next: float, sigma: float) -> float:
    """``sigma / 2 (PhiInv(p_top) - PhiInv(p_next))`` from a lower bound and the largest of the others' upper bounds.

    Args:
        p_top: lower bound on the top class's expectation, in [0, 1).
        p_next: upper bound on every other class's expectation, in (0, 1].
        sigma: of the noise.

    Returns:
        The radius (Cohen et al., ICML 2019); where it is not positive nothing is certified.

    Example:
        >>> round(multi_radius(0.9, 0.05, 0.25), 6)
        0.365801
    """
    return sigma / 2 * (_quantile(p_top, sigma) - _quantile(p_next, sigma))


def lipschitz_radius(p_top: float, p_next: float, sigma: float) -> float:
    """``(p_top - p_next) sigma sqrt(pi / 2)``: never above :func:`multi_radius` where p_top > p_next."""
    check_sigma(sigma)
    return (p_top - p_next) * sigma * math.sqrt(math.pi / 2)


def smoothed_lipschitz(lipschitz: float, sigma: float, height: float = 1.0) -> float:
    """Lipschitz constant of E f(x + N(0, sigma^2 I)) for an L-Lipschitz f with values in [0, height]; tight.

    ``L erf(height / (2 sqrt(2) L sigma))``, reached by the clipped ramp; ``height / (sigma sqrt(2 pi))`` for L = inf
    (Delattre et al., "The Lipschitz-Variance-Margin Tradeoff for Enhanced Randomized Smoothing", ICLR 2024).

    Args:
        lipschitz: L of f, positive; ``inf`` for any function.
        sigma: of the noise.
        height: of f's range (default 1).
    """
    check_sigma(sigma)
    if not (lipschitz > 0 and height > 0):
        raise ValueError(f"lipschitz and height must be positive, got {lipschitz} and {height}")
    if math.isinf(lipschitz):
        return height / (sigma * math.sqrt(2 * math.pi))
    return lipschitz * math.erf(height / (2 * math.sqrt(2) * lipschitz * sigma))


def _quantile(p: float, sigma: float) -> float:
    """PhiInv with its infinite ends."""
    from scipy.special import ndtri

    check_sigma(sigma)
    return float(ndtri(min(max(p, 0.0), 1.0)))
