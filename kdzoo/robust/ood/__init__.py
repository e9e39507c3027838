"""Out-of-distribution and adversarial detection; every score is higher for in-distribution.

>>> from kdzoo.robust.ood import Mahalanobis, ood_metrics
>>> detector = Mahalanobis(model).fit(loader)
>>> ood_metrics(detector.score(images_id), detector.score(images_ood), positive="id")["auroc"]
"""

from kdzoo.robust.ood.adapter import PytorchOOD
from kdzoo.robust.ood.adversarial import AdversarialResult, Triples, adversarial_detection, make_triples
from kdzoo.robust.ood.ash import ASHB, ASHP, ASHS
from kdzoo.robust.ood.detector import Detector
from kdzoo.robust.ood.energy import Energy
from kdzoo.robust.ood.ensemble import MahalanobisEnsemble, Regression, tune
from kdzoo.robust.ood.entropy import Entropy
from kdzoo.robust.ood.gaussian import TiedGaussian
from kdzoo.robust.ood.gen import GEN
from kdzoo.robust.ood.grad_norm import GradNorm
from kdzoo.robust.ood.knn import KNN
from kdzoo.robust.ood.mahalanobis import Mahalanobis, RelativeMahalanobis
from kdzoo.robust.ood.max_logit import MaxLogit
from kdzoo.robust.ood.metrics import ood_metrics, roc_curve
from kdzoo.robust.ood.moments import ClassMoments
from kdzoo.robust.ood.msp import MSP
from kdzoo.robust.ood.odin import ODIN
from kdzoo.robust.ood.react import ReAct
from kdzoo.robust.ood.scale import SCALE
from kdzoo.robust.ood.she import SHE
from kdzoo.robust.ood.vim import ViM

__all__ = [
    "ASHB", "ASHP", "ASHS", "AdversarialResult", "ClassMoments", "Detector", "Energy", "Entropy", "GEN", "GradNorm",
    "KNN", "MSP", "Mahalanobis", "MahalanobisEnsemble", "MaxLogit", "ODIN", "PytorchOOD", "ReAct", "Regression",
    "RelativeMahalanobis", "SCALE", "SHE", "TiedGaussian", "Triples", "ViM", "adversarial_detection", "make_triples",
    "ood_metrics", "roc_curve", "tune",
]  # fmt: skip
