"""Attacks: small changes of images that a network falls for."""

from kdzoo.robust.attacks.apgd_train import Attacked, apgd_train
from kdzoo.robust.attacks.bim import BIM, bim
from kdzoo.robust.attacks.cw import CW, cw
from kdzoo.robust.attacks.deepfool import DeepFool, deepfool
from kdzoo.robust.attacks.fgsm import FGSM, fgsm
from kdzoo.robust.attacks.gradient_projection import project_gradients
from kdzoo.robust.attacks.logit_pairing import ramp_logit_pairing

__all__ = [
    "BIM",
    "CW",
    "FGSM",
    "Attacked",
    "DeepFool",
    "apgd_train",
    "bim",
    "cw",
    "deepfool",
    "fgsm",
    "project_gradients",
    "ramp_logit_pairing",
]
