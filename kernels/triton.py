"""The Triton kernels by the name of their loss. Importing this needs Triton; importing ``kdzoo.kernels`` does not.

Each is called as ``TRITON[name](student, teacher or None, target or None, *, <parameters>, reduction_scale,
need_grad)`` and returns the loss of each row, [B] float32 and unscaled, and ``reduction_scale`` times the gradient of
each row's loss to its student logits, [B, C] in their type (``None`` without ``need_grad``). Inputs are float32,
float16 or bfloat16 [B, C] with C >= 2, any stride; targets are int64 class indices [B].
"""

from kdzoo.kernels.binary_kl import binary_kl, binary_kl_norm
from kdzoo.kernels.cross_entropy import cross_entropy
from kdzoo.kernels.dist import dist_inter
from kdzoo.kernels.dkd import dkd
from kdzoo.kernels.kd import ce_kd, kd
from kdzoo.kernels.l2_svm import l2_svm
from kdzoo.kernels.margin_softmax import margin_softmax
from kdzoo.kernels.nkd import nkd
from kdzoo.kernels.philox import normal_rows
from kdzoo.kernels.pld import pld
from kdzoo.kernels.pld_topk import pld_topk
from kdzoo.kernels.scale_rows import scale_rows
from kdzoo.kernels.stablemax import stablemax_cross_entropy

TRITON = {
    "kd": kd,
    "ce_kd": ce_kd,
    "dkd": dkd,
    "nkd": nkd,
    "binary_kl": binary_kl,
    "binary_kl_norm": binary_kl_norm,
    "pld": pld,
    "pld_topk": pld_topk,
    "dist_inter": dist_inter,
    "l2_svm": l2_svm,
    "margin_softmax": margin_softmax,
    "cross_entropy": cross_entropy,
    "stablemax_cross_entropy": stablemax_cross_entropy,
}

__all__ = ["TRITON", "normal_rows", "scale_rows"]
