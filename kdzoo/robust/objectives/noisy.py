"""What the objectives of randomized smoothing share: noisy copies of the batch."""

from torch import Tensor, nn

from kdzoo.errors import UserError
from kdzoo.robust.certify.binomial import check_sigma
from kdzoo.robust.certify.training.noisy import make_noise, noisy_logits


class NoisyObjective(nn.Module):
    """An objective on several noisy copies of each image, all in one forward pass.

    The noise comes from torch's generator, which is seeded anew for every step: a killed run goes on with the noise it
    would have had. The images are to come without noise: no ``GaussianNoise`` in the config's ``augment``.

    Args:
        sigma: of the noise, in pixels in [0, 1].
        copies: M, noisy copies of an image; a step costs M times a plain one.

    Raises:
        ValueError: a sigma that is not positive, copies below ``least_copies``.
    """

    runs_networks = True
    least_copies = 1

    def __init__(self, sigma: float, copies: int):
        super().__init__()
        check_sigma(sigma)
        if copies < self.least_copies:
            raise ValueError(f"copies must be at least {self.least_copies}, got {copies}")
        self.sigma, self.copies = sigma, copies

    def noise(self, images: Tensor) -> Tensor:
        """[M, B, C, H, W] float32."""
        return make_noise(images, self.sigma, self.copies)

    def logits(self, model: nn.Module, images: Tensor, noise: Tensor) -> Tensor:
        """[M, B, K] of a model with ``outputs``."""
        return noisy_logits(face(model), images, noise)


def face(model: nn.Module):
    """The model as a function from images to logits."""
    return lambda images: model.outputs(images).logits


def smoothed(logits: Tensor) -> Tensor:
    """[M, B, K] -> [B, K]: logarithm of the mean softmax, whose top class is the copies' common one; no gradient."""
    return logits.detach().float().log_softmax(dim=-1).logsumexp(dim=0)


def hard(target: Tensor) -> Tensor:
    """The target [B], or a word on what makes it soft."""
    if target.ndim != 1:
        raise UserError("objectives of smoothing need hard labels; remove Mixup and CutMix from augment")
    return target


def evaluation_modes(model: nn.Module) -> dict[nn.Module, bool]:
    """Switch to evaluation, so that an attack moves no statistics; returns the modes for :func:`restore_modes`."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    return modes


def restore_modes(modes: dict[nn.Module, bool]) -> None:
    """Undo :func:`evaluation_modes`, module by module: some may have been in evaluation mode before."""
    for module, mode in modes.items():
        module.training = mode
