"""SmoothAdv: adversarial training of the smoothed classifier."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.robust.certify.training.noisy import noisy_logits


def smooth_adv_attack(
    model: nn.Module, images: Tensor, target: Tensor, noise: Tensor, eps: float = 64 / 255, steps: int = 10
) -> Tensor:
    """PGD on the smoothed classifier with the noise held fixed (Salman et al., NeurIPS 2019).

    Ascends ``-log mean_i softmax f(x + d + e_i)_y`` over |d|_2 <= eps by normalised gradient steps of 2 eps / steps;
    after each step x + d is clipped to [0, 1] and d projected onto the ball.

    Args:
        model: in evaluation mode, or its batch statistics would change by the attack.
        images: [B, C, H, W] in [0, 1].
        target: [B] int64.
        noise: [M, B, C, H, W], of ``make_noise``; the same is to be used for the training step.
        eps: L2 radius (default 64/255, of the paper's recipes).
        steps: gradient steps.

    Returns:
        x + d, [B, C, H, W], without a graph.

    Example:
        >>> adversarial = smooth_adv_attack(model.eval(), images, target, noise)
    """
    if not eps > 0 or steps < 1:
        raise ValueError(f"eps must be positive and steps at least 1, got {eps} and {steps}")
    delta = torch.zeros_like(images)
    for _ in range(steps):
        delta.requires_grad_()
        with torch.enable_grad():
            loss = _nll_of_mean(noisy_logits(model, images + delta, noise), target)
            (gradient,) = torch.autograd.grad(loss, delta)
        length = gradient.flatten(1).norm(dim=1).clamp_min(torch.finfo(gradient.dtype).tiny)
        stepped = delta.detach() + 2 * eps / steps * gradient / length.view(-1, 1, 1, 1)
        delta = _project((images + stepped).clamp(0, 1) - images, eps)
    return images + delta


def smooth_adv_loss(model: nn.Module, adversarial: Tensor, target: Tensor, noise: Tensor) -> Tensor:
    """Cross-entropy of the noisy copies of the attacked images; a scalar."""
    logits = noisy_logits(model, adversarial, noise)
    return F.cross_entropy(logits.flatten(0, 1).float(), target.repeat(len(noise)))


def _nll_of_mean(logits: Tensor, target: Tensor) -> Tensor:
    """Sum over the batch, so that an image's gradient does not depend on its neighbours."""
    log_mean = logits.float().log_softmax(dim=-1).logsumexp(dim=0)  # + a constant
    return -log_mean.gather(1, target[:, None]).sum()


def _project(delta: Tensor, eps: float) -> Tensor:
    length = delta.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
    return delta * (eps / length.clamp_min(eps))
