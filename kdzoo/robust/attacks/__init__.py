"""Attacks: small changes of images that a network falls for."""

from kdzoo.robust.attacks.apgd import APGD, apgd
from kdzoo.robust.attacks.apgd_run import RunResult
from kdzoo.robust.attacks.apgd_train import APGDTrain, apgd_train
from kdzoo.robust.attacks.bim import BIM, bim
from kdzoo.robust.attacks.budget import within_budget
from kdzoo.robust.attacks.cw import CW, cw
from kdzoo.robust.attacks.deepfool import DeepFool, deepfool
from kdzoo.robust.attacks.fgsm import FGSM, fgsm
from kdzoo.robust.attacks.gradient_projection import project_gradients
from kdzoo.robust.attacks.logit_pairing import ramp_logit_pairing
from kdzoo.robust.attacks.pgd import PGD, pgd
from kdzoo.robust.attacks.projections import project_l1_box

__all__ = [
    "APGD", "BIM", "CW", "FGSM", "PGD", "APGDTrain", "DeepFool", "RunResult", "apgd", "apgd_train", "bim", "cw",
    "deepfool", "fgsm", "pgd", "project_gradients", "project_l1_box", "ramp_logit_pairing", "within_budget",
]  # fmt: skip
