"""Norms of changes, and the nearest change that is within a budget and keeps pixels in [0, 1]."""

import torch
from torch import Tensor

NORMS = ("Linf", "L2", "L1")
_ORDER = {"Linf": float("inf"), "L2": 2, "L1": 1}


def check_norm(norm: str) -> None:
    """ValueError for a norm that is none of Linf, L2 and L1."""
    if norm not in NORMS:
        raise ValueError(f"norm is expected to be one of {', '.join(NORMS)} but got {norm!r}")


def change_norm(change: Tensor, norm: str) -> Tensor:
    """The norm of every row: [B, ...] -> [B], in the dtype given."""
    check_norm(norm)
    return torch.linalg.vector_norm(change.flatten(1), ord=_ORDER[norm], dim=1)


def per_image(values: Tensor, like: Tensor) -> Tensor:
    """[B] -> [B, 1, ...], to be multiplied with ``like`` [B, ...]."""
    return values.view(-1, *[1] * (like.ndim - 1))


def project_l1_box(x: Tensor, delta: Tensor, eps: float) -> Tensor:
    """The nearest change d (in L2) with ``||d||_1 <= eps`` and ``0 <= x + d <= 1``, both at once.

    That is ``d_i = sign(delta_i) min(max(|delta_i| - t, 0), room_i)`` with the least t >= 0 that meets the budget;
    ``room_i`` is how far pixel i may go in that direction (Croce and Hein, "Mind the box", ICML 2021); clipping after
    a projection onto the ball gives a farther point. The sum is piecewise linear in t: its kinks are sorted and t is
    solved for between two of them, in float64 and without a host sync.

    Args:
        x: [B, ...] in [0, 1].
        delta: [B, ...] the change to project.
        eps: L1 budget, above 0.

    Returns:
        [B, ...] in the wider dtype of the two. In float64 exact to rounding; narrower results are rounded towards 0,
        so neither constraint is ever exceeded.

    Raises:
        ValueError: the shapes differ, or eps is not positive.

    Example:
        >>> project_l1_box(torch.tensor([[0.5, 0.9]]), torch.tensor([[1.0, 1.0]]), eps=0.4)
        tensor([[0.3000, 0.1000]])
    """
    if x.shape != delta.shape:
        raise ValueError(f"x and delta are expected in one shape but got {list(x.shape)} and {list(delta.shape)}")
    if not eps > 0:
        raise ValueError(f"eps is expected to be above 0 but got {eps}")
    wide_x, wide = x.flatten(1).double(), delta.flatten(1).double()
    size = wide.abs()
    room = torch.where(wide > 0, 1 - wide_x, wide_x).clamp_min(0)
    full = (size - room).clamp_min(0)  # for t below it, the pixel goes all its room
    threshold = _threshold(size, room, full, eps)[:, None]
    length = torch.minimum((size - threshold).clamp_min(0), room)
    total = length.sum(dim=1, keepdim=True)
    length = torch.where(total > eps, length * (eps / total * (1 - 1e-15)), length)
    exact = torch.copysign(length, wide).view(delta.shape)
    return round_towards_zero(exact, torch.promote_types(x.dtype, delta.dtype))


def _threshold(size: Tensor, room: Tensor, full: Tensor, eps: float) -> Tensor:
    """The least t >= 0 with ``sum_i min(max(size_i - t, 0), room_i) <= eps``; all [B, D], [B] comes back."""
    kinks, order = torch.cat([size, full], dim=1).sort(dim=1, descending=True)  # [B, 2 D]
    # Going down from the largest kink, a pixel starts to count at its size and stops to grow at its ``full``.
    slope = torch.where(order < size.shape[1], 1.0, -1.0).double().cumsum(dim=1)
    steps = slope[:, :-1] * (kinks[:, :-1] - kinks[:, 1:])
    sums = torch.cat([torch.zeros_like(kinks[:, :1]), steps.cumsum(dim=1)], dim=1)  # the sum at t = each kink
    place = (sums <= eps).sum(dim=1, keepdim=True) - 1
    rise = slope.gather(1, place).clamp_min(1)
    rough = kinks.gather(1, place) - (eps - sums.gather(1, place)) / rise
    # Once more from the pixels themselves: the running sums above have rounded thousands of times.
    growing, at_rest = (size > rough) & (full < rough), full >= rough
    count = growing.sum(dim=1)
    solved = ((size * growing).sum(dim=1) + (room * at_rest).sum(dim=1) - eps) / count.clamp_min(1)
    threshold = torch.where(count > 0, solved, rough.squeeze(1))
    within = torch.minimum(size, room).sum(dim=1) <= eps
    return torch.where(within, 0.0, threshold).clamp_min(0)


def round_towards_zero(exact: Tensor, dtype: torch.dtype) -> Tensor:
    """float64 values in a narrower dtype, never larger in size."""
    if dtype == torch.float64:
        return exact
    narrow = exact.to(dtype)
    return torch.where(narrow.double().abs() > exact.abs(), torch.nextafter(narrow, torch.zeros_like(narrow)), narrow)
