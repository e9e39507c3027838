"""Mahalanobis scores of several layers, with input pre-processing, joined by a logistic regression.

Lee, Lee, Lee and Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial
Attacks", NeurIPS 2018. The regression and the step of the pre-processing have to be chosen on something:

- on held-out out-of-distribution images (``tune`` with their scores): the paper's main protocol, optimistic
  wherever the images met later are of another kind;
- on FGSM images of in-distribution ones (the same, with scores of those): no OOD image is seen.
"""

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Detector, image_batches
from kdzoo.robust.ood.gaussian import Shrinkage, TiedGaussian
from kdzoo.robust.ood.metrics import ood_metrics
from kdzoo.robust.ood.moments import ClassMoments
from kdzoo.robust.ood.preprocess import score_gradient_sign, step
from kdzoo.robust.ood.taps import LayerReader

EPSILONS = (0.0, 0.0005, 0.001, 0.0014, 0.002, 0.005, 0.01)  # the paper's grid


@dataclass
class Regression:
    """Logistic regression on layer scores; label 1 is out-of-distribution (or adversarial).

    Args:
        weight: [L].
        bias: a number.
        epsilon: the step of the pre-processing it was fitted for.
        quality: on the half of the validation samples it was not fitted to, by the criterion of ``tune``.
    """

    weight: np.ndarray
    bias: float
    epsilon: float = 0.0
    quality: float = float("nan")

    @classmethod
    def fit(cls, scores_id, scores_ood, C: float | None = None, epsilon: float = 0.0) -> "Regression":
        """From layer scores [N, L] of both kinds.

        Args:
            C: inverse strength of the L2 penalty; ``None``: the best of ten in cross-validation, as published.
        """
        from sklearn.linear_model import LogisticRegression, LogisticRegressionCV

        x = np.concatenate([scores_id, scores_ood])
        y = np.r_[np.zeros(len(scores_id), int), np.ones(len(scores_ood), int)]
        if min(len(scores_id), len(scores_ood)) < 5:
            raise ValueError(
                f"there are {len(scores_id)} and {len(scores_ood)} validation samples; give at least 5 of each kind"
            )
        # On scores of unit spread, then brought back: Newton's steps converge whatever the layers' scales.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            model = LogisticRegressionCV(Cs=10, max_iter=1000) if C is None else LogisticRegression(C=C, max_iter=5000)
            spread = np.maximum(x.std(axis=0), 1e-12) if C is None else np.ones(x.shape[1])
            model.fit(x / spread, y)
        return cls(model.coef_[0] / spread, float(model.intercept_[0]), epsilon)

    def score(self, layer_scores) -> np.ndarray:
        """[N, L] -> [N], higher for in-distribution: minus the log-odds of the other."""
        return -(np.asarray(layer_scores, dtype=np.float64) @ self.weight + self.bias)


def tune(
    scores_id, scores_ood, epsilons: Sequence[float] = EPSILONS, criterion: str = "tnr95", views: int = 1
) -> Regression:
    """Choose the step of the pre-processing and fit the regression, on validation samples only.

    Half of the samples of each kind (every second one) fit the regression, the other half choose the step,
    as in the paper.

    Args:
        scores_id: layer scores [E, N, L], one layer of the first axis an epsilon.
        scores_ood: likewise [E, M, L], of held-out OOD images, or of FGSM images.
        epsilons: [E].
        criterion: "tnr95" (the paper's for OOD) or "auroc" (its for adversarial samples).
        views: rows in turn of ``scores_id`` that are one sample (clean and noisy: 2); they stay in one half.

    Returns:
        The regression with the best criterion; of equal ones the smallest step.

    Raises:
        ValueError: fewer than 10 samples of a kind, an unknown criterion.
    """
    if criterion not in ("tnr95", "auroc"):
        raise ValueError(f"criterion is expected to be 'tnr95' or 'auroc' but got {criterion!r}")
    known, other = np.asarray(scores_id, dtype=np.float64), np.asarray(scores_ood, dtype=np.float64)
    if len(known) != len(epsilons) or len(other) != len(epsilons):
        raise ValueError(f"scores are expected for {len(epsilons)} epsilons but got {len(known)} and {len(other)}")
    best, fits = None, np.arange(known.shape[1]) // views % 2 == 0
    for place, epsilon in enumerate(epsilons):
        regression = Regression.fit(known[place, fits], other[place, ::2], epsilon=epsilon)
        found = ood_metrics(regression.score(known[place, ~fits]), regression.score(other[place, 1::2]))
        regression.quality = found[criterion]
        if best is None or regression.quality > best.quality:
            best = regression
    return best


@DETECTORS.register()
class MahalanobisEnsemble(Detector):
    """The detector of Lee et al. in full: Mahalanobis scores of several layers, pre-processing, regression.

    ``fit(loader)``, then ``tune(id_images, ood_images)`` (or :func:`tune` on stored layer scores and
    ``use``), then ``score(images)``.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits.
        layers: names of ``model.named_modules()``; ``None`` (default): the stem and every stage of a kdzoo model.
        epsilons: steps to choose from, of pixels in [0, 1]; default: the paper's.
        shrinkage: of every covariance, as of :class:`Mahalanobis`.
        std: of the normalisation, only for models that take normalised images.

    Raises:
        ValueError: a layer that does not exist; at fit as for :class:`Mahalanobis`; score before tune.

    Example:
        >>> detector = MahalanobisEnsemble(model).fit(loader)
        >>> detector.tune(images_id, images_ood).score(images)
    """

    reads, needs_fit = "images", True

    def __init__(
        self,
        model: nn.Module,
        layers: list[str] | None = None,
        epsilons: Sequence[float] = EPSILONS,
        shrinkage: Shrinkage = None,
        std: Sequence[float] | None = None,
    ):
        super().__init__(model)
        if not epsilons or not all(epsilon >= 0 for epsilon in epsilons):
            raise ValueError(f"epsilons are expected to be numbers of 0 or more but got {list(epsilons)}")
        self.epsilons, self.shrinkage, self.std = tuple(epsilons), shrinkage, std
        self._reader = LayerReader(model, layers)
        self.gaussians: dict[str, TiedGaussian] = {}
        self.regression: Regression | None = None

    @torch.no_grad()
    def fit(self, loader) -> "MahalanobisEnsemble":
        """Class means and tied covariance of every layer in one pass over (images, labels)."""
        moments: dict[str, ClassMoments] = {}
        for images, labels in image_batches(loader):
            for name, features in self._reader(images)[1].items():
                moments.setdefault(name, ClassMoments()).update(features, labels)
        return self.fit_moments(moments)

    def fit_moments(self, moments: dict[str, ClassMoments]) -> "MahalanobisEnsemble":
        """From the moments of every layer, streamed by somebody else."""
        if not moments:
            raise ValueError("there are no features; fit needs at least two samples of a class")
        self.gaussians = {
            name: TiedGaussian.fit(found, self.shrinkage, f"{name} features") for name, found in moments.items()
        }
        self.fitted = True
        return self

    def fit_features(self, features: dict[str, Tensor], labels: Tensor) -> "MahalanobisEnsemble":
        """From features [N, D] of every layer, by name, and labels [N]."""
        return self.fit_moments({name: ClassMoments().update(x, labels) for name, x in features.items()})

    def layer_scores(self, images: Tensor, epsilons: Sequence[float] | None = None) -> Tensor:
        """Scores [E, B, L] of images [B, C, H, W] at every step; one backward pass a layer serves all steps."""
        self._need_fit()
        epsilons = self.epsilons if epsilons is None else epsilons
        with torch.no_grad():
            plain = self._distances(self._reader(images)[1])
        if not torch.isfinite(plain.sum()):
            raise ValueError("the features hold NaN or infinity; mend the network or the images they come from")
        if not any(epsilons):
            return -0.5 * plain.expand(len(epsilons), -1, -1)
        signs = score_gradient_sign(images, lambda x: list(self._distances(self._reader(x)[1]).unbind(dim=1)))
        scores = []
        for epsilon in epsilons:
            if not epsilon:
                scores.append(plain)
                continue
            columns = []
            with torch.no_grad():
                for name, sign in zip(self.gaussians, signs, strict=True):
                    moved = self._reader(step(images, sign, epsilon, self.std))[1][name]
                    columns.append(self.gaussians[name].distances(moved).amin(dim=1))
            scores.append(torch.stack(columns, dim=1))
        return -0.5 * torch.stack(scores)

    def tune(self, images_id, images_ood, criterion: str = "tnr95") -> "MahalanobisEnsemble":
        """Choose step and regression on validation images (loaders, or tensors [N, C, H, W]); see :func:`tune`."""
        known, other = (
            torch.cat([self.layer_scores(images).cpu() for images in _images(part)], dim=1)
            for part in (images_id, images_ood)
        )
        return self.use(tune(known, other, self.epsilons, criterion))

    def use(self, regression: Regression) -> "MahalanobisEnsemble":
        """Score with a regression found elsewhere."""
        if len(regression.weight) != len(self.gaussians):
            count = len(self.gaussians)
            raise ValueError(f"the regression is of {len(regression.weight)} layers, the ensemble has {count}")
        self.regression = regression
        return self

    def _distances(self, features: dict[str, Tensor]) -> Tensor:
        """[B, L] squared distances to the nearest class."""
        # In this order, too: a step of the image belongs to the layer in its place.
        if list(features) != list(self.gaussians):
            fitted, reads = ", ".join(self.gaussians), ", ".join(features)
            raise ValueError(f"the ensemble was fitted to the layers {fitted} but reads {reads}; give it the same")
        return torch.stack([self.gaussians[name].distances(x).amin(dim=1) for name, x in features.items()], dim=1)

    def _score(self, x: Tensor) -> Tensor:
        if self.regression is None:
            raise ValueError("the ensemble is not tuned; call tune(images_id, images_ood) or use(regression) first")
        scores = self.layer_scores(x, [self.regression.epsilon])[0]
        return torch.from_numpy(self.regression.score(scores.cpu()))

    def _state(self) -> dict[str, Tensor]:
        state = {
            f"{name}/{key}": value
            for name, gaussian in self.gaussians.items()
            for key, value in gaussian.state().items()
        }
        if self.regression is not None:
            found = self.regression
            state["regression"] = torch.tensor([*found.weight, found.bias, found.epsilon, found.quality]).double()
        state["order"] = torch.tensor(list("\n".join(self.gaussians).encode()), dtype=torch.uint8)
        return state

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.gaussians = {
            name: TiedGaussian(
                state[f"{name}/means"], state[f"{name}/covariance"], int(state[f"{name}/samples"]),
                self.shrinkage, f"{name} features",
            )
            for name in bytes(state["order"].tolist()).decode().split("\n")
        }  # fmt: skip
        if "regression" in state:
            *weight, bias, epsilon, quality = state["regression"].tolist()
            self.regression = Regression(np.array(weight), bias, epsilon, quality)


def _images(part):
    if isinstance(part, Tensor):
        return part.split(256)
    return (images for images, _ in image_batches(part))
