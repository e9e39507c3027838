"""The closed forms of cpu_*.py by the name of their loss.

Each is called as ``CPU[name](student, teacher or None, target or None, *, <parameters>, reduction_scale,
need_grad)`` and returns the loss of each row, [B] in float32 or wider and unscaled, and ``reduction_scale`` times the
gradient of each row's loss to its student logits, [B, C] in their type (``None`` without ``need_grad``).
"""

from kdzoo.kernels.cpu_binary import binary_kl, binary_kl_norm
from kdzoo.kernels.cpu_decoupled import dkd, nkd
from kdzoo.kernels.cpu_dist import dist_inter
from kdzoo.kernels.cpu_kd import ce_kd, kd
from kdzoo.kernels.cpu_label import cross_entropy, l2_svm, margin_softmax, stablemax_cross_entropy
from kdzoo.kernels.cpu_pld import pld
from kdzoo.kernels.cpu_pld_topk import pld_topk

CPU = {
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
