"""What a certification log says: certified accuracy at radii, its confidence, the average radius."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kdzoo.robust.certify.binomial import clopper_pearson_lower, clopper_pearson_upper
from kdzoo.robust.certify.log import Row

RADII = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0)


@dataclass(frozen=True)
class Summary:
    """Of one log.

    Args:
        images: its rows.
        accuracy: certified accuracy at each of ``radii``, in [0, 1]; abstentions count as wrong.
        radii: the radii.
        abstained: share of abstentions.
        acr: average certified radius, mean of radius where correct and 0 elsewhere.
        acr_error: standard error of it over the images; NaN for one image.
        mean_radius: over all images, right or wrong.
        mean_seconds: per image.
    """

    images: int
    accuracy: list[float]
    radii: list[float]
    abstained: float
    acr: float
    acr_error: float
    mean_radius: float
    mean_seconds: float


def summarise(rows: Sequence[Row], radii: Sequence[float] = RADII) -> Summary:
    """The figures of the literature's tables.

    Raises:
        ValueError: there is no row.

    Example:
        >>> summarise(read_log("certify_cohen.tsv")).acr
    """
    if not rows:
        raise ValueError("the log has no image yet; certify one at least")
    gained = np.array([row.radius * row.correct for row in rows])
    return Summary(
        images=len(rows),
        accuracy=certified_accuracy(rows, radii),
        radii=list(radii),
        abstained=float(np.mean([row.predict == -1 for row in rows])),
        acr=float(gained.mean()),
        acr_error=float(gained.std(ddof=1) / math.sqrt(len(rows))) if len(rows) > 1 else math.nan,
        mean_radius=float(np.mean([row.radius for row in rows])),
        mean_seconds=float(np.mean([row.seconds for row in rows])),
    )


def certified_accuracy(rows: Sequence[Row], radii: Sequence[float]) -> list[float]:
    """Share of images that are right with at least each radius."""
    right = np.sort([row.radius for row in rows if row.correct])
    return [(len(right) - int(np.searchsorted(right, radius))) / len(rows) for radius in radii]


def high_probability_lower(
    accuracy: float, images: int, alpha: float = 0.001, rho: float = 0.001, published: bool = False
) -> float:
    """Lower bound on the true certified accuracy of these images, allowing for certificates that fail.

    Of ``images`` certificates no more than the binomial quantile fail, but with probability ``rho``: exact, where
    Cohen et al. (Appendix C) take Bernstein's inequality.

    Args:
        accuracy: certified accuracy of the log.
        images: of the log.
        alpha: error probability of each certificate.
        rho: probability that the bound fails.
        published: the formula of the authors' code instead, which lacks Bernstein's factor 2 under the root.
    """
    if published:
        log = math.log(1 / rho)
        return accuracy - alpha - math.sqrt(alpha * (1 - alpha) * log / images) - log / (3 * images)
    from scipy.stats import binom

    return accuracy - float(binom.ppf(1 - rho, images, alpha)) / images


def accuracy_band(accuracy: float, images: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson interval of a share of images, as of a random sample of the test distribution."""
    right, tail = round(accuracy * images), (1 - confidence) / 2
    return clopper_pearson_lower(right, images, tail), clopper_pearson_upper(right, images, tail)
