"""The naive-Bayes linear probe: Gaussian classes of one shared diagonal variance, fitted in one pass."""

import numbers
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse
import torch
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from kdzoo.kernels.class_sums import class_sums as native_sums

# Rows summed at a time on a CPU: a block of 256 x 768 float64 values stays in its cache.
BLOCK = 256
GPU_BLOCK = 16_384
THREADED = 10_000  # rows from which on threads pay


class NaiveBayesProbe(ClassifierMixin, BaseEstimator):
    r"""Naive Bayes on frozen features as a linear classifier, a scikit-learn estimator.

    Class k is a Gaussian with mean :math:`\mu_k` and a diagonal variance :math:`s^2` shared by all classes, so that
    the decision is linear: :math:`w_k = \mu_k / s^2`, :math:`b_k = \log \pi_k - \frac12 \sum_j \mu_{kj}^2 / s_j^2`.
    It needs few samples (O(log D), against O(D) of logistic regression) and one pass over them, with sums in
    float64 and memory that does not grow with the samples: ``fit`` streams over a memory-mapped array, and
    ``partial_fit`` takes batches to the same result.

    Args:
        floor: ``"relative"`` adds ``eps`` times the mean variance of all features (over all samples, classes
            apart or not) to every variance: a feature that is constant in each class does not outvote the others.
            ``"absolute"`` adds ``eps`` itself, as the paper's code does.
        eps: ``None`` is 1e-3 with the relative floor (our choice) and the paper's 1e-9 with the absolute one.
        prior_smoothing: added to every class's count in the prior (Laplace's is 1). With 0, the paper's, a class
            of ``partial_fit``'s ``classes`` that was never seen is never predicted; a mean it has only once seen.
        device: where torch computes sums and products, e.g. ``"cuda"``; ``None`` is the CPU. CUDA tensors are
            taken as they are.

    Attributes:
        classes_: [K]; class_count_: [K]; class_prior_: [K]; theta_: [K, D], means; var_: [D], the shared variance
            with the floor; coef_: [K, D]; intercept_: [K]; n_features_in_: D.

    Source: Zheng et al., Revisiting Discriminative vs. Generative Classifiers, ICML 2023. Their code loses the last
    feature under old pandas; this does not. Labels and features may be NumPy's or torch's; results are NumPy's.

    Example:
        >>> probe = NaiveBayesProbe().fit(features, labels)
        >>> probe.score(test_features, test_labels)
    """

    def __init__(
        self,
        floor: str = "relative",
        eps: float | None = None,
        prior_smoothing: float = 0.0,
        device: str | None = None,
    ):
        self.floor = floor
        self.eps = eps
        self.prior_smoothing = prior_smoothing
        self.device = device

    def fit(self, X: Any, y: Any) -> "NaiveBayesProbe":
        """Fit anew.

        Args:
            X: [N, D] float, memory-mapped if you like.
            y: [N] labels of at least two classes.

        Raises:
            ValueError: wrong shapes, NaN, or one class only.
        """
        self._forget()
        return self._add(X, y, None, first=True)

    def partial_fit(self, X: Any, y: Any, classes: Any = None) -> "NaiveBayesProbe":
        """Add a batch; after all batches the result is that of ``fit`` on all samples.

        Args:
            X, y: as for ``fit``, but of any classes among ``classes``.
            classes: all labels there will be; with the first batch.

        Raises:
            ValueError: a label in ``y`` that is not in ``classes``, or other ``classes`` than before.
        """
        return self._add(X, y, classes, first=not hasattr(self, "class_count_"))

    def decision_function(self, X: Any) -> np.ndarray:
        """Scores [N, K], log of joint densities up to a term that classes share; [N] for two classes, as usual."""
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Labels [N]."""
        best = self._scores(X).argmax(axis=1)
        return self.classes_[best]

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """log p(class | x), [N, K], as the model has it; calibrate where features are correlated."""
        return torch.log_softmax(torch.from_numpy(self._scores(X)), dim=1).numpy()

    def predict_proba(self, X: Any) -> np.ndarray:
        """p(class | x), [N, K]."""
        return np.exp(self.predict_log_proba(X))

    def _forget(self) -> None:
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)

    def _check_parameters(self) -> None:
        if self.floor not in ("relative", "absolute"):
            raise ValueError(f"floor must be 'relative' or 'absolute', got {self.floor!r}")
        if self.eps is not None and not (isinstance(self.eps, numbers.Real) and self.eps >= 0):
            raise ValueError(f"eps must be None or 0 or more, got {self.eps!r}")
        if not self.prior_smoothing >= 0:
            raise ValueError(f"prior_smoothing must be 0 or more, got {self.prior_smoothing!r}")

    def _add(self, X: Any, y: Any, classes: Any, first: bool) -> "NaiveBayesProbe":
        self._check_parameters()
        X, y = self._check(X, y, first)
        found = self._found_classes(y, classes, first)
        codes = class_codes(y, found)
        # Sums of differences from a typical row: squares of large means would cost the variance its digits.
        shift = _rows(X, 0, BLOCK, self.device).double().mean(0).cpu().numpy() if first else self.shift_
        sums, squares = class_sums(X, codes, len(found), shift, self.device)
        if not np.isfinite(squares).all():
            raise ValueError("Input X contains NaN or infinity; remove those rows")
        if first:  # not before: a batch that was refused leaves nothing behind
            self.classes_, self.shift_ = found, shift
            self._sums_ = np.zeros((len(found), X.shape[1]))
            self._squares_ = np.zeros(X.shape[1])
            self.class_count_ = np.zeros(len(found))
        self._sums_ += sums
        self._squares_ += squares
        self.class_count_ += np.bincount(codes, minlength=len(self.classes_))
        self._solve()
        return self

    def _check(self, X: Any, y: Any, first: bool) -> tuple[Any, np.ndarray]:
        y = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else y
        if isinstance(X, torch.Tensor):
            if X.ndim != 2 or not X.is_floating_point():
                raise ValueError(f"X must be floating [N, D], got {X.dtype} {list(X.shape)}")
            X = _widened(X.detach())
            if not first and X.shape[1] != self.n_features_in_:
                raise ValueError(f"X has {X.shape[1]} features, but this probe is expecting {self.n_features_in_}")
            self.n_features_in_ = X.shape[1]
            y = np.asarray(y)
            if y.ndim != 1:
                raise ValueError(f"y must be labels [{len(X)}], got shape {y.shape}")
            if len(X) != len(y):
                raise ValueError(f"X and y must have one length, got {len(X)} and {len(y)}")
        else:  # finiteness is read off the sums, which spares a pass
            kinds = [np.float64, np.float32]
            X, y = validate_data(self, X, y, reset=first, dtype=kinds, ensure_all_finite=False, y_numeric=False)
        if not (y.ndim == 1 and y.dtype.kind in "iu"):  # whole numbers always pass, and looking sorts them
            check_classification_targets(y)
        return X, y

    def _found_classes(self, y: np.ndarray, classes: Any, first: bool) -> np.ndarray:
        found = np.unique(y if classes is None else np.asarray(classes))
        if not first:
            if classes is not None and not np.array_equal(found, self.classes_):
                raise ValueError(f"classes is {found.tolist()} but was {self.classes_.tolist()} in the first batch")
            return self.classes_
        if len(found) < 2:
            name = "y" if classes is None else "classes"
            raise ValueError(f"{name} holds one class only ({found.tolist()}); a classifier needs two or more")
        return found

    def _solve(self) -> None:
        """The linear classifier that the sums imply."""
        total, counts = self.class_count_.sum(), self.class_count_
        means = self._sums_ / np.maximum(counts, 1)[:, None]  # less the shift
        within = np.maximum(self._squares_ - (counts[:, None] * means**2).sum(0), 0) / total
        overall = np.maximum(self._squares_ / total - (self._sums_.sum(0) / total) ** 2, 0)
        eps = (1e-3 if self.floor == "relative" else 1e-9) if self.eps is None else float(self.eps)
        scale = (overall.mean() or 1.0) if self.floor == "relative" else 1.0
        self.var_ = np.maximum(within + eps * scale, np.finfo(float).tiny)
        self.theta_ = np.where(counts[:, None] > 0, means + self.shift_, 0.0)
        smooth = counts + self.prior_smoothing
        self.class_prior_ = smooth / smooth.sum()
        with np.errstate(divide="ignore"):
            log_prior = np.where(counts > 0, np.log(self.class_prior_), -np.inf)
        self.coef_ = self.theta_ / self.var_
        self.intercept_ = log_prior - 0.5 * (self.theta_**2 / self.var_).sum(1)
        # Scores from the shifted means lose no digits where features lie far from zero.
        self._weight_ = np.where(counts[:, None] > 0, means / self.var_, 0.0)
        self._bias_ = log_prior - 0.5 * (means**2 / self.var_).sum(1)

    def _scores(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        if self.class_count_.sum() < len(self.classes_):
            seen, classes = int(self.class_count_.sum()), len(self.classes_)
            raise ValueError(f"y had {seen} samples for {classes} classes so far; add batches before predicting")
        if not isinstance(X, torch.Tensor):
            X = validate_data(self, X, reset=False, dtype=[np.float64, np.float32])
        elif X.ndim != 2 or X.shape[1] != self.n_features_in_:
            raise ValueError(f"X must be [N, {self.n_features_in_}], got {list(X.shape)}")
        elif not X.isfinite().all():  # validate_data has looked at arrays
            raise ValueError("Input X contains NaN or infinity; remove those rows")
        scores = np.empty((len(X), len(self.classes_)))
        place = X.device if isinstance(X, torch.Tensor) else torch.device(self.device or "cpu")
        weight, bias, shift = (torch.as_tensor(v, device=place) for v in (self._weight_, self._bias_, self.shift_))
        for start in range(0, len(X), GPU_BLOCK):
            rows = _rows(X, start, GPU_BLOCK, self.device).double() - shift
            scores[start : start + len(rows)] = (rows @ weight.T + bias).cpu().numpy()
        return scores


def class_codes(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """[N] the places of the labels y among ``classes`` [K], sorted; ValueError for a label that is not there."""
    first, last = classes[0], classes[-1]
    if y.dtype == classes.dtype == np.int64 and last - first == len(classes) - 1 and len(y):
        codes = y - first  # nothing to look up: the classes are all whole numbers between two
        if 0 <= codes.min() and codes.max() < len(classes):
            return codes
    codes = np.searchsorted(classes, y)
    unseen = (codes == len(classes)) | (classes[np.minimum(codes, len(classes) - 1)] != y)
    if unseen.any():
        raise ValueError(f"y holds the label {y[unseen][0]!r}, which is not in classes; name all classes at first")
    return codes


def class_sums(
    X: Any, codes: np.ndarray, classes: int, shift: np.ndarray, device: str | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Of X [N, D] less ``shift`` [D], in float64: sums by class [K, D] and sums of squares [D], in one pass."""
    on_gpu = X.is_cuda if isinstance(X, torch.Tensor) else torch.device(device or "cpu").type != "cpu"
    if on_gpu:
        return _gpu_sums(X, codes, classes, shift, device)
    X = X.numpy() if isinstance(X, torch.Tensor) else X
    workers = torch.get_num_threads() if len(X) >= THREADED else 1
    compiled = native_sums(X, codes, classes, shift, workers)  # float32 rows, where there is a C compiler
    if compiled is not None:
        return compiled
    edges = np.linspace(0, len(X), workers + 1).astype(int)
    with ThreadPoolExecutor(workers) as pool:
        spans = zip(edges[:-1], edges[1:], strict=True)
        parts = list(pool.map(lambda span: _cpu_sums(X, codes, classes, shift, *span), spans))
    return tuple(sum(part[i] for part in parts) for i in range(2))


def _cpu_sums(X: np.ndarray, codes: np.ndarray, classes: int, shift: np.ndarray, first: int, end: int) -> tuple:
    """Of rows ``first`` to ``end``, block by block, each in the cache from the conversion to the sums."""
    sums, squares = np.zeros((classes, X.shape[1])), np.zeros(X.shape[1])
    block = np.empty((BLOCK, X.shape[1]))
    # Squares of float32 are exact in float64, and the shift's part of their sum is taken off at the end.
    late = X.dtype == np.float32
    with np.errstate(invalid="ignore", over="ignore"):  # told by the caller, from the sums
        for start in range(first, end, BLOCK):
            stop = min(start + BLOCK, end)
            rows = block[: stop - start]
            if late:
                np.copyto(rows, X[start:stop])
            else:
                np.subtract(X[start:stop], shift, out=rows)
            pick = (np.ones(len(rows)), codes[start:stop], np.arange(len(rows) + 1))
            sums += scipy.sparse.csc_matrix(pick, shape=(classes, len(rows))) @ rows
            squares += np.einsum("nd,nd->d", rows, rows)
        if late:
            counts = np.bincount(codes[first:end], minlength=classes)
            squares += (end - first) * shift**2 - 2 * shift * sums.sum(0)
            sums -= counts[:, None] * shift
    return sums, squares


def _gpu_sums(X: Any, codes: np.ndarray, classes: int, shift: np.ndarray, device: str | None) -> tuple:
    place = X.device if isinstance(X, torch.Tensor) else torch.device(device)
    offset = torch.as_tensor(shift, device=place)
    sums = torch.zeros(classes, X.shape[1], dtype=torch.float64, device=place)
    squares = torch.zeros_like(offset)
    for start in range(0, len(X), GPU_BLOCK):
        rows = _rows(X, start, GPU_BLOCK, device).double() - offset
        labels = torch.as_tensor(codes[start : start + GPU_BLOCK], device=place)
        one_hot = torch.nn.functional.one_hot(labels, classes).double()  # a product, so that sums are deterministic
        sums += one_hot.T @ rows
        squares += rows.square().sum(0)
    return sums.cpu().numpy(), squares.cpu().numpy()


def _widened(X: torch.Tensor) -> torch.Tensor:
    """NumPy has no bfloat16."""
    return X.float() if X.dtype == torch.bfloat16 else X


def _rows(X: Any, start: int, count: int, device: str | None) -> torch.Tensor:
    part = X[start : start + count]
    if isinstance(part, torch.Tensor):
        return part
    return torch.tensor(np.asarray(part), device=device or "cpu")
