"""SmoothAdv in training."""

from torch import Tensor, nn

from kdzoo.registry import OBJECTIVES
from kdzoo.robust.certify.training import smooth_adv_attack, smooth_adv_loss
from kdzoo.robust.objectives.noisy import NoisyObjective, evaluation_modes, face, hard, restore_modes, smoothed


@OBJECTIVES.register()
class SmoothAdv(NoisyObjective):
    """Cross-entropy of noisy copies of images that were attacked under that very noise.

    Salman et al., "Provably robust deep learning via adversarially trained smoothed classifiers", NeurIPS 2019. The
    attack runs the student in evaluation mode; only the training pass moves batch statistics.

    Args:
        sigma: of the noise, in pixels.
        copies: M noisy copies (default 1, as the authors' code).
        eps: L2 radius of the attack (default 64 / 255, of the paper's CIFAR-10 recipes).
        steps: of the attack (default 10).
        warmup_eps: epochs in which eps grows to its value: ``min(1, e / warmup_eps)`` in the e-th, e from 1 (default
            1: the full radius from the start, as the authors' code).

    Raises:
        ValueError: a value out of its range.

    Example:
        >>> losses = [dict(type="SmoothAdv", sigma=0.25)]
    """

    def __init__(self, sigma: float, copies: int = 1, eps: float = 64 / 255, steps: int = 10, warmup_eps: int = 1):
        super().__init__(sigma, copies)
        if not eps > 0 or steps < 1 or warmup_eps < 1:
            raise ValueError(
                f"eps must be positive, steps and warmup_eps at least 1, got {eps}, {steps} and {warmup_eps}"
            )
        self.eps, self.steps, self.warmup_eps, self.share = eps, steps, warmup_eps, 1.0

    def set_epoch(self, epoch: int) -> None:
        """Set the radius of an epoch, counted from 0."""
        self.share = min(1.0, (epoch + 1) / self.warmup_eps)

    def forward(
        self, student: nn.Module, teacher: nn.Module | None, images: Tensor, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Images [B, C, H, W] in [0, 1], target [B] -> (scalar, [B, K])."""
        noise, target, seen = self.noise(images), hard(target), []

        def model(batch: Tensor) -> Tensor:
            seen[:] = [face(student)(batch)]
            return seen[0]

        modes = evaluation_modes(student)
        try:
            attacked = smooth_adv_attack(model, images, target, noise, self.eps * self.share, self.steps)
        finally:
            restore_modes(modes)
        loss = smooth_adv_loss(model, attacked, target, noise)
        return loss, smoothed(seen[0].view(self.copies, len(images), -1))
