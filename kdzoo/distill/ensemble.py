"""Several teachers that answer as one."""

from collections.abc import Sequence

from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import check_temperature, check_weight
from kdzoo.output import ModelOutput


class EnsembleTeacher(nn.Module):
    """Teachers whose logits are fused image by image, so that every loss takes several of them unchanged.

    See :func:`kdzoo.losses.functional.fuse_teachers`; the weights follow each teacher's confidence, since a
    teacher does not see labels. Every teacher keeps its own normalisation and gets the same
    images. Stage maps and the pooled feature can't be averaged across networks: they are the first
    teacher's.

    Args:
        teachers: models with ``outputs(images, features) -> ModelOutput``, all with the same classes.
        radius: how far the weights may go from uniform, in nats; 0 is the plain mean.
        temperature: of the probabilities whose confidence is compared.
        per_image: ``False`` for one weight a teacher and batch; an image's logits then depend on its
            batch, which a cache of teacher logits does not know.

    Raises:
        ValueError: no teacher; on a call, teachers whose logits differ in shape.

    Example:
        >>> teacher = EnsembleTeacher([first, second], radius=0.1)
        >>> distiller = Distiller(student, terms, teacher)
    """

    def __init__(
        self, teachers: Sequence[nn.Module], radius: float = 0.1, temperature: float = 1.0, per_image: bool = True
    ):
        super().__init__()
        if not len(teachers):
            raise ValueError("teachers must hold at least one model, got none")
        self.teachers = nn.ModuleList(teachers)
        self.radius, self.temperature = check_weight(radius, "radius"), check_temperature(temperature)
        self.per_image = per_image

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W], floats in [0, 1], to fused logits [B, num_classes]."""
        return self.outputs(images).logits

    def outputs(self, images: Tensor, features: bool = False) -> ModelOutput:
        """Fused logits, and the first teacher's pooled feature and (if ``features``) stage maps."""
        first, *others = (t.outputs(images, features and i == 0) for i, t in enumerate(self.teachers))
        logits = [first.logits, *(other.logits for other in others)]
        fused = KF.fuse_teachers(logits, self.radius, temperature=self.temperature, per_image=self.per_image)
        return ModelOutput(fused, first.features, first.pooled)
