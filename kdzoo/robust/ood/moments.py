"""Class means and the tied scatter of features in one streamed pass, in float64."""

import torch
from torch import Tensor

_ROWS = 8192  # at a time; in smaller blocks merging the means, and waking the threads of BLAS, weigh more


class ClassMoments:
    """Counts, means and within-class scatter of features that arrive in batches.

    Batches are centred on their own class means before anything is squared and merged by the pairwise rule of
    Chan, Golub and LeVeque (1979), so that a large common offset costs no digits and nothing of size N is kept.

    Attributes:
        counts: [C] float64, samples of each class.
        means: [C, D] float64.
        scatter: [D, D] float64, sum over classes and samples of (x - mean)(x - mean)^T; only its upper half counts.

    Example:
        >>> moments = ClassMoments().update(torch.randn(100, 8), torch.arange(100) % 5)
        >>> moments.within().shape
        torch.Size([8, 8])
    """

    def __init__(self):
        self.counts = self.means = self.scatter = None

    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> "ClassMoments":
        """Take in a batch.

        Args:
            features: [B, D], any floating type.
            labels: [B] class numbers, 0 or more.

        Raises:
            ValueError: shapes that do not fit, a feature that is not finite, a negative label.
        """
        if features.ndim != 2 or labels.shape != features.shape[:1]:
            raise ValueError(
                f"features are expected as [N, D] and labels as [N] but got {list(features.shape)} and "
                f"{list(labels.shape)}"
            )
        features = features.cpu() if features.device.type == "mps" else features
        labels = labels.to(features.device).long()
        if not len(labels):
            return self
        low, high = (int(value) for value in labels.aminmax())
        if low < 0:
            raise ValueError(f"labels are expected to be 0 or more but got {low}; leave OOD samples out")
        self._grow(high + 1, features)
        # Two blocks that are written again and again: fresh memory for each costs as much as half the products.
        size = min(_ROWS, len(labels)), features.shape[1]
        space = [torch.empty(size, dtype=torch.float64, device=features.device) for _ in range(2)]
        for start in range(0, len(labels), _ROWS):
            part = labels[start : start + _ROWS]
            x, other = (block[: len(part)] for block in space)
            self._merge(x.copy_(features[start : start + _ROWS]), part, other)
        return self

    def _grow(self, classes: int, features: Tensor) -> None:
        width = features.shape[1]
        if self.scatter is None:
            self.counts, self.means, self.scatter = (
                torch.zeros(shape, dtype=torch.float64, device=features.device)
                for shape in ((0,), (0, width), (width, width))
            )
        if width != self.scatter.shape[0]:
            raise ValueError(f"features had {self.scatter.shape[0]} columns before, now {width}; use one layer")
        more = classes - len(self.counts)
        if more > 0:
            self.counts = torch.cat([self.counts, self.counts.new_zeros(more)])
            self.means = torch.cat([self.means, self.means.new_zeros(more, width)])

    def _merge(self, x: Tensor, labels: Tensor, space: Tensor) -> None:
        """Take in a block x [R, D] of float64, which is written over, as ``space`` [R, D] is."""
        present, row = labels.unique(return_inverse=True)
        new = torch.bincount(row, minlength=len(present)).double()
        mean = x.new_zeros(len(present), x.shape[1]).index_add_(0, row, x) / new[:, None]
        if not torch.isfinite(mean).all():
            raise ValueError("the features hold NaN or infinity; mend the network or the images they come from")
        old, step = self.counts[present], mean - self.means[present]
        # Within the batch, then between the batch's class means and those so far.
        add_gram(self.scatter, x.sub_(torch.index_select(mean, 0, row, out=space)))
        add_gram(self.scatter, step * (old * new / (old + new)).sqrt()[:, None])
        self.means[present] += step * (new / (old + new))[:, None]
        self.counts[present] += new

    def check(self) -> None:
        """Raise ValueError where there is nothing to fit a covariance to."""
        if self.counts is None or not self.counts.sum():
            raise ValueError("there are no features; fit needs at least two samples of a class")
        if not self.counts.all():
            missing = torch.nonzero(self.counts == 0).flatten().tolist()
            raise ValueError(
                f"class {missing[0]} of {len(self.counts)} has no sample ({len(missing)} have none); "
                "number the classes 0..C-1 and give each at least one"
            )
        if self.counts.max() == 1:
            raise ValueError(
                "every class has one sample, so the covariance within classes is zero; give at least two of a class"
            )

    def within(self) -> Tensor:
        """[D, D] tied covariance: the scatter over N (Lee et al. divide by N, not by N - C)."""
        self.check()
        return mirror(self.scatter) / self.counts.sum()

    def total(self) -> tuple[Tensor, Tensor]:
        """Mean [D] and covariance [D, D] (1/N) of all features, whatever their class."""
        self.check()
        share = self.counts / self.counts.sum()
        mean = share @ self.means
        spread = (self.means - mean) * share.sqrt()[:, None]
        return mean, self.within() + spread.T @ spread


def wide(x: Tensor) -> Tensor:
    """In float64; on the CPU where the device has none (MPS)."""
    return (x.cpu() if x.device.type == "mps" else x).double()


def add_gram(scatter: Tensor, x: Tensor) -> None:
    """``scatter += x.T @ x`` on and above the diagonal, of float64 [D, D] and [B, D]: half the work of the product."""
    if scatter.device.type == "cpu":
        from scipy.linalg.blas import dsyrk

        # BLAS thinks in columns: what it calls the lower half of its matrix is the upper half of ours.
        dsyrk(1.0, x.numpy().T, beta=1.0, c=scatter.numpy().T, lower=1, overwrite_c=1)
    else:
        scatter.addmm_(x.T, x)


def mirror(scatter: Tensor) -> Tensor:
    """The whole matrix [D, D] from its upper part, exactly symmetric."""
    upper = scatter.triu()
    return upper + upper.triu(1).T
