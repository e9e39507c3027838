"""Virtual-logit matching (Wang, Li, Feng and Zhang, CVPR 2022)."""

import torch
from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Batches, ClassifierDetector
from kdzoo.robust.ood.energy import energy
from kdzoo.robust.ood.moments import add_gram, mirror


@DETECTORS.register()
class ViM(ClassifierDetector):
    """logsumexp(l) - alpha |residual|: the energy less what of the feature lies outside the principal space.

    Features are taken from the point where all logits vanish, u = -pinv(W) b; the principal space holds the
    eigenvectors with the largest eigenvalues of their second moment; alpha brings the residual's mean
    norm to the mean of the largest logit. Two passes over the data.

    Args:
        model: as for every detector; its classifier has to be one linear layer.
        dim: of the principal space; default 256 (the paper: 1000 for D >= 1500, else 512), or D / 2 where D is
            at most that.
        weight, bias: of the classifier, in place of a model.

    Raises:
        ValueError: ``dim`` is not below D; no residual at all.

    Example:
        >>> ViM(weight=torch.randn(10, 64), bias=torch.zeros(10), dim=16).fit_features(torch.randn(500, 64))
    """

    needs_fit = True

    def __init__(self, model=None, dim: int | None = None, weight: Tensor | None = None, bias: Tensor | None = None):
        super().__init__(model, weight, bias)
        width = self.weight.shape[1]
        self.dim = dim if dim is not None else 256 if width > 256 else width // 2
        if not 0 < self.dim < width:
            raise ValueError(f"dim is expected in 1..{width - 1} for features of width {width} but got {dim}")
        weight, bias = self.weight.double(), self.bias.double()
        self.origin = -torch.linalg.pinv(weight) @ bias  # [D]

    def _fit(self, batches: Batches) -> None:
        scatter = self.origin.new_zeros(self.weight.shape[1], self.weight.shape[1])
        for features, _ in batches():
            self.logits(features[:1])  # the width
            scatter = scatter.to(features.device)
            add_gram(scatter, features.double() - self.origin.to(features.device))
        vectors = torch.linalg.eigh(mirror(scatter)).eigenvectors  # ascending
        self.residual_space = vectors[:, : scatter.shape[0] - self.dim]
        largest, norms = 0.0, 0.0
        for features, _ in batches():
            largest += float(self.logits(features).amax(dim=1).double().sum())
            norms += float(self._residual(features).sum())
        if not norms > 0:
            raise ValueError(f"no feature has a residual outside {self.dim} dimensions; lower dim")
        self.alpha = largest / norms

    def _residual(self, x: Tensor) -> Tensor:
        return ((x.double() - self.origin.to(x.device)) @ self.residual_space.to(x.device)).norm(dim=1)

    def _score(self, x: Tensor) -> Tensor:
        return energy(self.logits(x)) - self.alpha * self._residual(x)

    def _state(self) -> dict[str, Tensor]:
        return dict(residual_space=self.residual_space, alpha=torch.tensor(self.alpha, dtype=torch.float64))

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.residual_space, self.alpha = state["residual_space"], float(state["alpha"])
