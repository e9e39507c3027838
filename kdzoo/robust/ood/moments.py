"""Class means and the tied scatter of features in one streamed pass, in float64."""

from concurrent.futures import ThreadPoolExecutor
from functools import cache

import numpy as np
import torch
from torch import Tensor

_ROWS = 8192  # at a time on a GPU
# On a CPU: rows centred and multiplied at a time, products that are worth a thread, values of all threads' scatters.
_BLOCK, _WORTH, _MOST = 1024, 2**28, 2**26


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
        if features.device.type == "cpu":
            self._update_on_cpu(features, labels)
            return self
        for start in range(0, len(labels), _ROWS):
            self._merge(*part_moments(features[start : start + _ROWS], labels[start : start + _ROWS]))
        return self

    def _update_on_cpu(self, features: Tensor, labels: Tensor) -> None:
        """Threads of ours take a part of the rows each, in NumPy.

        Torch's threads and those of BLAS wait for their next turn by spinning, each on the other's cores: taking turns
        block by block, they cost several times what they compute.
        """
        size = max(1, features.shape[1] ** 2)
        threads = min(torch.get_num_threads(), max(1, len(labels) * size // _WORTH))
        workers = min(threads, max(1, _MOST // size))
        features = features if features.dtype in (torch.float32, torch.float64) else features.float()
        parts = [np.array_split(x.detach().numpy(), workers) for x in (features, labels)]
        with blas_threads().limit(limits=threads // workers, user_api="blas"), ThreadPoolExecutor(workers) as pool:
            for found in pool.map(part_moments_on_cpu, *parts):
                self._merge(*(torch.from_numpy(value) for value in found))

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

    def _merge(self, present: Tensor, new: Tensor, mean: Tensor, scatter: Tensor) -> None:
        """Take in classes [K], their samples [K] and means [K, D], and the scatter [D, D] about these."""
        if not torch.isfinite(mean).all():
            raise ValueError("the features hold NaN or infinity; mend the network or the images they come from")
        old, step = self.counts[present], mean - self.means[present]
        # Within the part, then between the part's class means and those so far.
        self.scatter += scatter
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


def part_moments(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """In float64 of rows [R, D]: their classes [K], samples of each, class means [K, D], the scatter about these."""
    x = features.double()
    present, row = labels.unique(return_inverse=True)
    counts = torch.bincount(row, minlength=len(present)).double()
    mean = x.new_zeros(len(present), x.shape[1]).index_add_(0, row, x) / counts[:, None]
    centred = x - mean[row]
    return present, counts, mean, centred.T @ centred


def part_moments_on_cpu(features: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, ...]:
    """As :func:`part_moments`, in NumPy: it computes on the thread it is called from and lets others run meanwhile."""
    from scipy.sparse import csc_matrix

    present, row = np.unique(labels, return_inverse=True)
    rows, width = features.shape
    mean, scatter = np.zeros((len(present), width)), np.zeros((width, width))
    counts = np.bincount(row).astype(np.float64)
    # A block that is written again and again: fresh memory each time costs as much as half the product.
    space = np.empty((min(_BLOCK, rows), width))
    with np.errstate(invalid="ignore", over="ignore"):  # told by the caller, from the means
        for start in range(0, rows, _BLOCK):
            own = row[start : start + _BLOCK]
            x = space[: len(own)]
            np.copyto(x, features[start : start + _BLOCK])
            pick = (np.ones(len(own)), own, np.arange(len(own) + 1))
            mean += csc_matrix(pick, shape=(len(present), len(own))) @ x
        mean /= counts[:, None]
        for start in range(0, rows, _BLOCK):
            own = row[start : start + _BLOCK]
            x = np.take(mean, own, axis=0, out=space[: len(own)], mode="clip")
            np.subtract(features[start : start + _BLOCK], x, out=x)
            scatter += x.T @ x  # NumPy sees the symmetry and has BLAS compute half
    return present, counts, mean, scatter


@cache
def blas_threads():
    """The threads of the BLAS that NumPy and SciPy have."""
    import scipy.linalg.blas  # noqa: F401 (brings its own)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


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
