"""Distilling a smoothed teacher: the student matches the teacher's average over the noise."""

from torch import Tensor


def smooth_teacher_loss(student: Tensor, teacher: Tensor, temperature: float = 4.0) -> Tensor:
    """KD under the same noise, against the teacher's softened prediction averaged over the noisy copies.

    ``T^2 mean_i KL(mean_j softmax(t_j / T) || softmax(s_i / T))``: every copy of the student is pulled towards what
    the *smoothed* teacher says, hence towards agreement. With one copy it is plain KD (Hinton et al., 2015).

    Args:
        student: logits [M, B, K] of M noisy copies.
        teacher: logits [M, B, K] of the same copies; detached.
        temperature: T.

    Returns:
        A scalar, the mean over copies and batch.

    Example:
        >>> smooth_teacher_loss(noisy_logits(student, images, noise), noisy_logits(teacher, images, noise)).backward()
    """
    if student.ndim != 3 or student.shape != teacher.shape:
        raise ValueError(f"expected logits [M, B, K] of both, got {list(student.shape)} and {list(teacher.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    wide = [logits if logits.dtype.itemsize >= 4 else logits.float() for logits in (student, teacher.detach())]
    smoothed = (wide[1] / temperature).softmax(dim=-1).mean(dim=0)  # [B, K]
    log_student = (wide[0] / temperature).log_softmax(dim=-1)
    entropy = -(smoothed * smoothed.clamp_min(1e-38).log()).sum(dim=-1).mean()
    cross = -(smoothed * log_student).sum(dim=-1).mean()
    return temperature**2 * (cross - entropy)
