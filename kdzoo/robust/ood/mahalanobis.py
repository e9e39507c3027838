"""Mahalanobis distance to the nearest class (Lee, Lee, Lee and Shin, NeurIPS 2018) in the space of one layer."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Batches, Detector
from kdzoo.robust.ood.gaussian import Shrinkage, TiedGaussian
from kdzoo.robust.ood.moments import ClassMoments
from kdzoo.robust.ood.preprocess import score_gradient_sign, step
from kdzoo.robust.ood.taps import LayerReader


@DETECTORS.register()
class Mahalanobis(Detector):
    """max over classes of -1/2 (f - mu_c)^T P (f - mu_c), with class means and one tied covariance (divided by N).

    Args:
        model: for images; ``fit_features`` and ``score_features`` need none.
        layer: a name of ``model.named_modules()``; "pooled" (default): the input of the classifier.
        epsilon: step of the input pre-processing, of pixels in [0, 1] (the paper's grid: 0 to 0.01). 0, the
            default, leaves images alone; features are always scored without it.
        shrinkage: of the covariance: ``None`` (default, as published), a share in [0, 1], or "oas".
        std: of the normalisation, only for models that take normalised images.

    Raises:
        ValueError: at fit: a class without samples, one sample in every class, constant or NaN features,
            missing labels, a layer that does not exist.

    Example:
        >>> detector = Mahalanobis().fit_features(torch.randn(500, 16), torch.arange(500) % 10)
        >>> detector.score_features(torch.zeros(3, 16)).shape
        torch.Size([3])
    """

    needs_fit, needs_labels = True, True
    fit_rows = None  # the moments cut blocks of their own

    def __init__(
        self,
        model: nn.Module | None = None,
        layer: str = "pooled",
        epsilon: float = 0.0,
        shrinkage: Shrinkage = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__(model)
        if not epsilon >= 0:
            raise ValueError(f"epsilon is expected to be 0 or more but got {epsilon}")
        self.layer, self.epsilon, self.shrinkage, self.std = layer, epsilon, shrinkage, std
        self._reader = None if model is None else LayerReader(model, [layer])
        self.gaussian: TiedGaussian | None = None

    def score(self, x: Tensor) -> Tensor:
        """[N] scores of images [B, C, H, W] (pre-processed by ``epsilon``) or features [N, D]."""
        if x.ndim == 4 and self.epsilon:
            self._need_model("score images")
            self._need_fit()
            (sign,) = score_gradient_sign(x, lambda images: [self.gaussian.distances(self._of(images)).amin(dim=1)])
            x = step(x, sign, self.epsilon, self.std)
        return super().score(x)

    def predict(self, features: Tensor) -> Tensor:
        """[N] the nearest class of features [N, D]."""
        self._need_fit()
        return self.gaussian.nearest(features)[1]

    def add_class(self, features: Tensor) -> "Mahalanobis":
        """Learn one more class from its features [N, D] alone; see :meth:`TiedGaussian.add_class`."""
        self._need_fit()
        self.gaussian.add_class(features)
        return self

    def _of(self, images: Tensor) -> Tensor:
        return self._reader(images)[1][self.layer]

    def _fit(self, batches: Batches) -> None:
        self.gaussian = TiedGaussian.fit(fit_moments(batches), self.shrinkage, f"{self.layer} features")

    def _score(self, x: Tensor) -> Tensor:
        return -0.5 * self.gaussian.nearest(x)[0]

    def _state(self) -> dict[str, Tensor]:
        return self.gaussian.state()

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.gaussian = TiedGaussian(
            state["means"], state["covariance"], int(state["samples"]), self.shrinkage, f"{self.layer} features"
        )


@DETECTORS.register()
class RelativeMahalanobis(Mahalanobis):
    """Distance to the nearest class less the distance to all of the data (Ren et al., 2021): max_c -d_c^2 + d_0^2.

    The background Gaussian has the mean and the covariance of all features, divided by N like the tied one.

    Example:
        >>> detector = RelativeMahalanobis().fit_features(torch.randn(500, 16), torch.arange(500) % 10)
    """

    background: TiedGaussian | None = None

    def score(self, x: Tensor) -> Tensor:
        """[N] scores of images [B, C, H, W] or features [N, D]."""
        if self.epsilon:
            raise ValueError("RelativeMahalanobis has no input pre-processing; leave epsilon at 0")
        return super().score(x)

    def add_class(self, features: Tensor) -> "RelativeMahalanobis":
        """Not possible: the background is of all features, of which only the new ones are given."""
        raise ValueError("RelativeMahalanobis can't learn a class alone; fit it again, or use Mahalanobis")

    def _fit(self, batches: Batches) -> None:
        moments = fit_moments(batches)
        count, name = int(moments.counts.sum()), f"{self.layer} features"
        mean, covariance = moments.total()
        self.gaussian = TiedGaussian.fit(moments, self.shrinkage, name)
        self.background = TiedGaussian(mean[None], covariance, count, self.shrinkage, f"all {name}")

    def _score(self, x: Tensor) -> Tensor:
        return self.background.nearest(x)[0] - self.gaussian.nearest(x)[0]

    def _state(self) -> dict[str, Tensor]:
        background = {f"background_{key}": value for key, value in self.background.state().items()}
        return super()._state() | background

    def _restore(self, state: dict[str, Tensor]) -> None:
        super()._restore(state)
        self.background = TiedGaussian(
            state["background_means"], state["background_covariance"], int(state["background_samples"]),
            self.shrinkage, f"all {self.layer} features",
        )  # fmt: skip


def fit_moments(batches: Batches) -> ClassMoments:
    """Moments of one pass, checked."""
    moments = ClassMoments()
    for features, labels in batches():
        moments.update(torch.as_tensor(features), torch.as_tensor(labels))
    moments.check()
    return moments
