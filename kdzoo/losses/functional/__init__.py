"""Pure loss functions on logits.

All take student logits [B, C] and (where they distil) teacher logits [B, C], detach the
teacher, compute in float32 or wider and return a scalar, or [B] with ``reduction="none"``.

    >>> from kdzoo.losses import functional as KF
    >>> loss = KF.kd(student_logits, teacher_logits, temperature=4.0)
"""

from kdzoo.losses.functional.cross_entropy import cross_entropy
from kdzoo.losses.functional.kd import kd
from kdzoo.losses.functional.standardize import standardize

__all__ = ["cross_entropy", "kd", "standardize"]
