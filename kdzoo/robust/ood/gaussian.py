"""Gaussians of one shared covariance: whitened once, then all distances of a batch in one matrix product."""

import warnings
from typing import Literal

import torch
from torch import Tensor

from kdzoo.robust.ood.moments import ClassMoments, wide

_ROWS = 4096  # of a batch at a time; bounds the memory of scoring

Shrinkage = float | Literal["oas"] | None


class TiedGaussian:
    """Class means and one covariance, ready to measure Mahalanobis distances.

    The inverse is the pseudo-inverse (as in Lee et al.): directions without variance do not count. A singular
    or badly conditioned covariance is warned of.

    Args:
        means: [C, D].
        covariance: [D, D].
        samples: N it was counted over; only shrinkage="oas" needs it.
        shrinkage: ``None`` (default, as published); a share in [0, 1] of the covariance to replace by
            trace / D times the identity; or "oas", which chooses that share (Chen et al., IEEE TSP 2010).
        name: what it is of, for messages.

    Raises:
        ValueError: a covariance of zero (constant features), a shrinkage out of range.

    Example:
        >>> gaussian = TiedGaussian(torch.zeros(1, 4), torch.eye(4))
        >>> gaussian.distances(torch.ones(2, 4))
        tensor([[4.], [4.]], dtype=torch.float64)
    """

    def __init__(
        self, means: Tensor, covariance: Tensor, samples: int = 0, shrinkage: Shrinkage = None, name: str = "features"
    ):
        self.means, self.covariance = means.double(), covariance.double()
        self.samples, self.shrinkage, self.name = samples, shrinkage, name
        self._whiten()

    @classmethod
    def fit(cls, moments: ClassMoments, shrinkage: Shrinkage = None, name: str = "features") -> "TiedGaussian":
        """From streamed moments: the class means and the covariance within classes."""
        return cls(moments.means, moments.within(), int(moments.counts.sum()), shrinkage, name)

    def _whiten(self) -> None:
        width = len(self.covariance)
        values, vectors = torch.linalg.eigh(shrink(self.covariance, self.shrinkage, self.samples))
        # The bound below which a singular value is taken for rounding, as in NumPy and SciPy; and what rounding the
        # means leaves of features that do not vary at all.
        eps = torch.finfo(torch.float64).eps
        kept = values > torch.maximum(values[-1] * width * eps, (1024 * eps * self.means.abs().max()) ** 2)
        if not values[-1] > 0 or not kept.any():
            raise ValueError(f"{self.name} are constant within classes: the covariance is zero; choose another layer")
        self.rank, self.condition = int(kept.sum()), float(values[-1] / values[kept][0])
        if self.rank < width:
            warnings.warn(
                f"the covariance of {self.name} has rank {self.rank} of {width} (condition {self.condition:.1e} "
                "within it); the other directions are ignored, shrinkage='oas' would count them",
                stacklevel=4,
            )
        elif self.condition > 1e10:
            warnings.warn(
                f"the covariance of {self.name} has condition {self.condition:.1e}; consider shrinkage='oas'",
                stacklevel=4,
            )
        whitening = vectors[:, kept] / values[kept].sqrt()  # [D, R]
        # Distances are taken from the middle of the means: without a common offset nothing cancels.
        self.centre = self.means.mean(dim=0)
        white_means = (self.means - self.centre) @ whitening  # [C, R]
        self._product = torch.cat([whitening, whitening @ white_means.T], dim=1)  # [D, R + C]
        self._norms = white_means.square().sum(dim=1)  # [C]

    def distances(self, features: Tensor) -> Tensor:
        """Squared Mahalanobis distances [B, C] in float64 of features [B, D]; differentiable."""
        if features.ndim != 2 or features.shape[1] != len(self.centre):
            raise ValueError(
                f"features are expected as [N, {len(self.centre)}] as in fit but got {list(features.shape)}"
            )
        features = wide(features)
        if features.device != self.centre.device:
            self._move(features.device)
        product = (features - self.centre) @ self._product
        white, cross = product[:, : self.rank], product[:, self.rank :]
        return (white.square().sum(dim=1, keepdim=True) - 2 * cross + self._norms).clamp_min(0)

    def _move(self, device: torch.device) -> None:
        """To where the features are: it may have been fitted or read elsewhere."""
        self.centre, self._product, self._norms, self.means, self.covariance = (
            x.to(device) for x in (self.centre, self._product, self._norms, self.means, self.covariance)
        )

    def nearest(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """Squared distance [B] to the nearest mean, and its class [B]; N may be large."""
        found = [self.distances(features[k : k + _ROWS]).min(dim=1) for k in range(0, len(features), _ROWS)]
        if not found:
            return self.centre.new_zeros(0), torch.zeros(0, dtype=torch.long)
        return torch.cat([f.values for f in found]), torch.cat([f.indices for f in found])

    def add_class(self, features: Tensor) -> None:
        """Class-incremental learning (Lee et al. 2018, algorithm 2): one more class from its samples [N, D].

        The covariance becomes C / (C + 1) of itself plus 1 / (C + 1) of the new class's (weighted by the number
        of classes, not of samples). The new class is number C.
        """
        if features.ndim != 2 or features.shape[1] != len(self.centre):
            raise ValueError(
                f"features are expected as [N, {len(self.centre)}] as in fit but got {list(features.shape)}"
            )
        new = ClassMoments().update(features, torch.zeros(len(features), dtype=torch.long))
        count = len(self.means)
        self.covariance = count / (count + 1) * self.covariance + new.within().to(self.covariance) / (count + 1)
        self.means = torch.cat([self.means, new.means.to(self.means)])
        self.samples += len(features)
        self._whiten()

    def state(self) -> dict[str, Tensor]:
        """What a file has to keep."""
        return dict(means=self.means, covariance=self.covariance, samples=torch.tensor(self.samples))


def shrink(covariance: Tensor, shrinkage: Shrinkage, samples: int) -> Tensor:
    """``(1 - s) covariance + s trace / D identity``, [D, D]."""
    if shrinkage is None:
        return covariance
    width, trace = len(covariance), covariance.trace()
    if shrinkage == "oas":
        if samples < 1:
            raise ValueError("shrinkage='oas' needs the number of samples; give samples=N or a number in [0, 1]")
        alpha, mean = covariance.square().mean(), trace / width
        share = float((alpha + mean**2) / ((samples + 1) * (alpha - mean**2 / width)).clamp_min(1e-300))
        share = min(share, 1.0)
    elif isinstance(shrinkage, (int, float)) and 0 <= shrinkage <= 1:
        share = float(shrinkage)
    else:
        raise ValueError(f"shrinkage is expected to be None, a number in [0, 1] or 'oas' but got {shrinkage!r}")
    identity = torch.eye(width, dtype=covariance.dtype, device=covariance.device)
    return (1 - share) * covariance + share * trace / width * identity
