"""BinaryKLNorm as a module, with its auxiliary head."""

from kdzoo.losses import functional as KF
from kdzoo.losses.binary_kl import BinaryKL
from kdzoo.registry import LOSSES


@LOSSES.register()
class BinaryKLNorm(BinaryKL):
    """The logits' difference, class by class, on an auxiliary head; see :func:`kdzoo.losses.functional.binary_kl_norm`.

    The loss of the authors' training scripts. Arguments, auxiliary head and recipe are those of
    :class:`kdzoo.losses.binary_kl.BinaryKL`.

    Source: Yang et al., Dual-Head Knowledge Distillation, KDD 2025 (arXiv 2411.08937).

    Example:
        >>> loss = BinaryKLNorm(head="nonlinear", student_example=student_output)
        >>> value = loss(student_output, teacher_output, target)
    """

    functional = staticmethod(KF.binary_kl_norm)
