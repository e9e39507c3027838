"""Attacks: small changes of images that a network falls for."""

from kdzoo.robust.attacks.bim import BIM, bim
from kdzoo.robust.attacks.cw import CW, cw
from kdzoo.robust.attacks.deepfool import DeepFool, deepfool
from kdzoo.robust.attacks.fgsm import FGSM, fgsm

__all__ = ["BIM", "CW", "FGSM", "DeepFool", "bim", "cw", "deepfool", "fgsm"]
