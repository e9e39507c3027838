"""Comp-sum losses: sum-exponential, cross-entropy, generalised cross-entropy and MAE in one family."""

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses.functional.checks import check_logits, check_target, check_weight, reduce
from kdzoo.losses.functional.labels import label_loss

# exp(60) is 1e26: far past any logits worth training on, and its sums still fit into float32. A gradient
# that flows back into float16 logits has to stay below 65504.
EXPONENT_CAP, HALF_EXPONENT_CAP = 60.0, 10.0


def comp_sum(logits: Tensor, target: Tensor, tau: float = 1.0, reduction: str = "mean") -> Tensor:
    r""":math:`\Phi^\tau(u),\; u = \sum_{k \ne y} e^{s_k - s_y}`, with
    :math:`\Phi^\tau(u) = ((1 + u)^{1 - \tau} - 1) / (1 - \tau)` and :math:`\log(1 + u)` for tau = 1.

    With p the label's probability, 1 / (1 + u): tau = 0 is the sum-exponential loss 1 / p - 1,
    tau = 1 cross-entropy, 1 < tau < 2 generalised cross-entropy (1 - p^q) / q with q = tau - 1, and
    tau = 2 the mean absolute error 1 - p (up to its factor 2). Bounded by 1 / (tau - 1) for tau > 1.

    Computed from log p, with expm1. For tau < 1 the loss grows exponentially with the margin and
    would overflow: where (1 - tau) log(1 + u) passes 60 (10 for float16 logits, whose gradient could not
    hold more) the exponential goes on as its tangent.

    Args:
        logits: [B, C].
        target: class indices [B], or soft labels [B, C] (the labels' mean loss; our extension).
        tau: 0 or more; 1, cross-entropy, is the default.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Source: Mao, Mohri and Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and
    Applications, ICML 2023; generalised cross-entropy: Zhang and Sabuncu, NeurIPS 2018.

    Example:
        >>> loss = comp_sum(logits, labels, tau=1.7)  # generalised cross-entropy with q = 0.7
        >>> loss.backward()
    """
    cap = HALF_EXPONENT_CAP if logits.dtype == torch.float16 else EXPONENT_CAP
    logits = check_logits(logits, "logits")
    target = check_target(target, logits)
    check_weight(tau, "tau")
    surprise = -F.log_softmax(logits, dim=1)  # [B, C], log(1 + u) of every class
    return reduce(label_loss(surprise, target, lambda r: _phi(r, tau, cap)), reduction)


def smooth_adversarial_comp_sum(
    logits: Tensor,
    perturbed_logits: Tensor,
    target: Tensor,
    tau: float = 1.0,
    rho: float = 1.0,
    nu: float = 1.0,
    reduction: str = "mean",
) -> Tensor:
    r"""Comp-sum loss plus a penalty on how far a perturbation moves the margins.

    :math:`\Phi^\tau\big(\sum_{k \ne y} e^{-\Delta_k(x) / \rho}\big) + \nu\,\|\Delta(x') - \Delta(x)\|_2`
    with the margins :math:`\Delta_k = s_y - s_k`. x' is meant to maximise the penalty within the
    threat model's ball; finding it (say, by projected gradient steps on this very norm) is the
    caller's part. Both logits get gradients. Where the margins do not move, the norm's gradient is 0.

    UNVERIFIED: the formula is written from memory of the paper's section on adversarial training,
    whose full text was not at hand; do not cite results as the paper's method before checking it.

    Args:
        logits: [B, C] of the clean images x.
        perturbed_logits: [B, C] of the perturbed images x'.
        target: class indices [B]; margins need one label, so soft labels are refused.
        tau: the family's parameter, see :func:`comp_sum`.
        rho: scale of the margins, above 0; 1 is our choice.
        nu: weight of the penalty, 0 or more. A Lipschitz argument asks for sqrt(C - 1) / rho or more;
            1 is our choice.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].

    Source: Mao, Mohri and Zhong, Cross-Entropy Loss Functions: Theoretical Analysis and
    Applications, ICML 2023.

    Example:
        >>> loss = smooth_adversarial_comp_sum(model(images), model(perturbed), labels, nu=0.5)
        >>> loss.backward()
    """
    if perturbed_logits.shape != logits.shape:
        shapes = f"{list(logits.shape)} and {list(perturbed_logits.shape)}"
        raise ValueError(f"logits and perturbed_logits must have one shape, got {shapes}")
    cap = HALF_EXPONENT_CAP if logits.dtype == torch.float16 else EXPONENT_CAP
    logits = check_logits(logits, "logits")
    perturbed_logits = check_logits(perturbed_logits, "perturbed_logits")
    if target.ndim != 1:
        raise ValueError(f"target must be class indices [{len(logits)}], got {target.dtype} {list(target.shape)}")
    target = check_target(target, logits)
    check_weight(tau, "tau")
    check_weight(nu, "nu")
    if not rho > 0:
        raise ValueError(f"rho must be above 0, got {rho}")
    moved = perturbed_logits - logits
    moved = moved.gather(1, target[:, None]) - moved  # [B, C], the label's column is 0
    surprise = -F.log_softmax(logits / rho, dim=1)
    rows = label_loss(surprise, target, lambda r: _phi(r, tau, cap))
    return reduce(rows + nu * torch.linalg.vector_norm(moved, dim=1), reduction)


def _phi(surprise: Tensor, tau: float, cap: float) -> Tensor:
    """Phi of u, given log(1 + u)."""
    if tau == 1:
        return surprise
    power = (1 - tau) * surprise
    if tau > 1:
        return torch.expm1(power) / (1 - tau)
    near = power.clamp_max(cap)
    tangent = torch.exp(near).detach() * (power - near)  # 0 up to the cap
    return (torch.expm1(near) + tangent) / (1 - tau)
