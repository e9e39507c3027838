"""The LVM authors' own procedure, for reproducing their numbers. OPTIMISTIC: its radii are not certificates.

It maximises over 1 + 2 * 102 maps and temperatures on the very samples that bound the result, chooses them per input,
takes the top class from those samples, spends alpha on the lower and once more on the upper bounds, and
averages the variances within batches. :mod:`kdzoo.robust.certify.lvm` is the sound version.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kdzoo.robust.certify.binomial import clopper_pearson_lower, clopper_pearson_upper
from kdzoo.robust.certify.radii import mono_radius, multi_radius
from kdzoo.robust.certify.simplex import SimplexMap
from kdzoo.robust.certify.smoothed import ABSTAIN

OPTIMISTIC = "optimistic: the authors' published procedure, not a certificate"
MULTIPLIERS = (1.0, *np.linspace(0.1, 50, 100).tolist(), 1e7)


def published_radius(batches: Sequence[Tensor], sigma: float, alpha: float) -> tuple[int, float]:
    """Class and (optimistic) radius as the LVM-RS repository computes them (Delattre et al., ICLR 2024).

    Args:
        batches: logits [b, C] of all samples, batch by batch: the result depends on where they are cut.
        sigma: of the noise.
        alpha: as given to the authors' code.

    Returns:
        ``(class or -1, radius)``. The radius is not a certificate: see the module's text.

    Example:
        >>> published_radius(logits.split(400), 0.25, 0.001)
    """
    logits = [batch.double() for batch in batches]
    total, classes = sum(map(len, logits)), logits[0].shape[1]
    votes = torch.bincount(torch.cat(logits).argmax(dim=1), minlength=classes).tolist()
    first, second = np.argsort(-np.array(votes), kind="stable")[:2]
    share = alpha / classes
    best = multi_radius(
        clopper_pearson_lower(votes[first], total, share), clopper_pearson_upper(votes[second], total, share), sigma
    )
    for kind in ("sparsemax", "softmax"):
        for multiplier in MULTIPLIERS:
            best = max(best, _map_radius(SimplexMap(kind, multiplier), logits, int(first), total, sigma, share))
    return (int(first), best) if best >= 0 else (ABSTAIN, 0.0)


def _map_radius(
    chosen: SimplexMap, batches: Sequence[Tensor], top: int, total: int, sigma: float, share: float
) -> float:
    """The larger of both radii of one map, with the mean of the batches' variances."""
    outputs = [chosen(batch) for batch in batches]
    mean = torch.cat(outputs).mean(dim=0).numpy()
    variance = torch.stack([part.var(dim=0) for part in outputs]).mean(dim=0).numpy()
    log = math.log(2 / share)
    # The averaged variance can exceed what values in [0, 1] allow, which empirical_bernstein would refuse.
    shift = np.sqrt(2 * variance * log / total) + 7 * log / (3 * (total - 1))
    low, following = float((mean - shift)[top]), float(np.delete(mean + shift, top).max())
    return max(multi_radius(low, following, sigma), mono_radius(low, sigma))
