"""Class-partition (CPM) allocation of alpha: which classes are bounded together."""

from collections.abc import Sequence

import numpy as np

from kdzoo.robust.certify.binomial import clopper_pearson_lower, clopper_pearson_upper
from kdzoo.robust.certify.radii import multi_radius


def partition(selection_counts: Sequence[float]) -> list[list[int]]:
    """Classes in buckets: the top class, the runner-up, others that are large, and all that remain together.

    The rest stays one bucket as long as it has no more votes than the runner-up; its largest class is taken
    out until then. Fewer buckets leave each a larger share of alpha.

    Args:
        selection_counts: [C] votes of the selection samples (n0), which the estimation does not use; or, of soft
            outputs, their sums, which may differ by less than 1.

    Returns:
        Disjoint lists of all C classes; the first is [top].

    Example:
        >>> partition([90, 6, 2, 1, 1])
        [[0], [1], [2, 3, 4]]
    """
    counts = np.asarray(selection_counts, dtype=np.float64)
    order = np.argsort(-counts, kind="stable").tolist()
    buckets, rest = [[c] for c in order[:2]], order[2:]
    while rest and counts[rest].sum() > counts[order[1]]:
        buckets.append([rest.pop(0)])
    return [*buckets, rest] if rest else buckets


def cpm_radius(
    selection_counts: Sequence[int], estimation_counts: Sequence[int], n: int, sigma: float, alpha: float
) -> tuple[int, float]:
    """Class and multi-class radius of hard votes with the partitioned alpha ("Bridging the gap", AISTATS 2025).

    Valid because the partition and the class come from the selection samples alone; one lower and the
    other buckets' upper bounds share alpha equally.

    Args:
        selection_counts: [C] votes of the n0 selection samples.
        estimation_counts: [C] votes of the n fresh samples; they may sum to less than n (samples without a vote).
        n: the fresh samples.
        sigma: of the noise.
        alpha: error probability of the radius.

    Returns:
        ``(class, radius)``; a radius of 0 where nothing is certified.

    Example:
        >>> cpm_radius([90, 10], [9000, 1000], 10_000, 0.25, 0.001)
        (0, 0.309...)
    """
    buckets = partition(selection_counts)
    counts = np.asarray(estimation_counts, dtype=np.int64)
    return buckets[0][0], bucket_radius([int(counts[bucket].sum()) for bucket in buckets], n, sigma, alpha)


def bucket_radius(votes: Sequence[int], n: int, sigma: float, alpha: float) -> float:
    """The multi-class radius from votes counted by bucket, the top class's first; 0 where nothing is certified."""
    share = alpha / len(votes)
    upper = max(clopper_pearson_upper(count, n, share) for count in votes[1:])
    return max(0.0, multi_radius(clopper_pearson_lower(votes[0], n, share), upper, sigma))
