"""Certificates: randomized smoothing with exact or anytime-valid statistics, and Lipschitz bounds.

>>> from kdzoo.robust.certify import SmoothedClassifier
>>> SmoothedClassifier(model, num_classes=10, sigma=0.25).certify(image, n0=100, n=100_000, alpha=0.001)
"""

from kdzoo.robust.certify.bernstein import Moments, empirical_bernstein
from kdzoo.robust.certify.binomial import (
    clopper_pearson_lower,
    clopper_pearson_upper,
    cohen_radius,
    round_down,
    smallest_n,
)
from kdzoo.robust.certify.cpm import cpm_radius
from kdzoo.robust.certify.lipschitz import gram_bound
from kdzoo.robust.certify.radii import mono_radius, multi_radius, smoothed_lipschitz
from kdzoo.robust.certify.schedule import SequentialCertificate, certify_at, certify_sequential
from kdzoo.robust.certify.sequential import RadiusTest, lower_sequence
from kdzoo.robust.certify.simplex import SimplexMap, sparsemax
from kdzoo.robust.certify.smoothed import ABSTAIN, Certificate, SmoothedClassifier, certify_votes

__all__ = [
    "ABSTAIN",
    "Certificate",
    "Moments",
    "RadiusTest",
    "SequentialCertificate",
    "SimplexMap",
    "SmoothedClassifier",
    "certify_at",
    "certify_sequential",
    "certify_votes",
    "clopper_pearson_lower",
    "clopper_pearson_upper",
    "cohen_radius",
    "cpm_radius",
    "empirical_bernstein",
    "gram_bound",
    "lower_sequence",
    "mono_radius",
    "multi_radius",
    "round_down",
    "smallest_n",
    "smoothed_lipschitz",
    "sparsemax",
]
