"""Pure loss functions on logits.

All take student logits [B, C] and (where they distil) teacher logits [B, C], detach the
teacher, compute in float32 or wider and return a scalar, or [B] with ``reduction="none"``.

    >>> from kdzoo.losses import functional as KF
    >>> loss = KF.kd(student_logits, teacher_logits, temperature=4.0)
"""

from kdzoo.losses.functional.anchored_kd import anchored_kd
from kdzoo.losses.functional.binary_kl import binary_kl
from kdzoo.losses.functional.binary_kl_norm import binary_kl_norm
from kdzoo.losses.functional.ce_kd import ce_kd
from kdzoo.losses.functional.comp_sum import comp_sum, smooth_adversarial_comp_sum
from kdzoo.losses.functional.cross_entropy import cross_entropy
from kdzoo.losses.functional.dist import dist
from kdzoo.losses.functional.dkd import dkd
from kdzoo.losses.functional.fuse_teachers import fuse_teachers, kl_constrained_weights
from kdzoo.losses.functional.kd import kd
from kdzoo.losses.functional.linear_kd import linear_kd
from kdzoo.losses.functional.mlkd import mlkd_batch, mlkd_class
from kdzoo.losses.functional.nkd import nkd
from kdzoo.losses.functional.pld import pld
from kdzoo.losses.functional.pld_topk import pld_topk
from kdzoo.losses.functional.soft_info_nce import in_batch_scores, soft_info_nce
from kdzoo.losses.functional.stablemax import stablemax_cross_entropy
from kdzoo.losses.functional.standardize import standardize
from kdzoo.losses.functional.tempnet import personal_kd, personal_temperature, tempered_cross_entropy
from kdzoo.losses.functional.uskd import uskd
from kdzoo.losses.functional.wsld import wsld
from kdzoo.losses.functional.z_loss import z_loss

__all__ = [
    "anchored_kd",
    "binary_kl",
    "binary_kl_norm",
    "ce_kd",
    "comp_sum",
    "cross_entropy",
    "dist",
    "dkd",
    "fuse_teachers",
    "in_batch_scores",
    "kd",
    "kl_constrained_weights",
    "linear_kd",
    "mlkd_batch",
    "mlkd_class",
    "nkd",
    "personal_kd",
    "personal_temperature",
    "pld",
    "pld_topk",
    "smooth_adversarial_comp_sum",
    "soft_info_nce",
    "stablemax_cross_entropy",
    "standardize",
    "tempered_cross_entropy",
    "uskd",
    "wsld",
    "z_loss",
]
