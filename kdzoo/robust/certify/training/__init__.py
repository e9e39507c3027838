"""Losses that train the base classifier of a smoothed one. All see several noisy copies of each image.

Gaussian augmentation is ``dict(type="GaussianNoise", sigma=0.25)`` in a config's ``augment``; with it any
distillation loss has teacher and student under the same noise.
"""

from kdzoo.robust.certify.training.consistency import consistency_loss
from kdzoo.robust.certify.training.macer import macer_loss
from kdzoo.robust.certify.training.noisy import noisy_logits
from kdzoo.robust.certify.training.smooth_adv import smooth_adv_attack, smooth_adv_loss
from kdzoo.robust.certify.training.smooth_teacher import smooth_teacher_loss

__all__ = [
    "consistency_loss",
    "macer_loss",
    "noisy_logits",
    "smooth_adv_attack",
    "smooth_adv_loss",
    "smooth_teacher_loss",
]
