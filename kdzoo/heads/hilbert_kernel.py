"""A classifier by votes that grow without bound towards their sample: the Hilbert kernel."""

from typing import Any

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

BLOCK = 1024


class HilbertKernelClassifier(ClassifierMixin, BaseEstimator):
    r"""The class with the largest :math:`\sum_{i: y_i = k} \|x - x_i\|^{-\alpha}`, a scikit-learn estimator.

    It has no bandwidth, agrees with every training label (at a training point its own votes alone count, and of
    duplicates with different labels the majority), and becomes 1-nearest-neighbour as alpha grows.

    Args:
        alpha: ``None`` is the number of features, for which the Hilbert kernel is consistent (Devroye et al., 1998).
        normalise: put samples on the unit sphere first, as the networks' inputs in the paper are.

    Attributes:
        classes_: [K]; n_features_in_; X_: [N, D] and y_: [N], the training samples.

    Unverified: after the abstract of Radhakrishnan, Belkin and Uhler, Wide and Deep Neural Networks Achieve Optimality
    for Classification, 2022, whose infinitely wide and deep networks become such singular-kernel classifiers for some
    activations; which alpha an activation has was not read.

    Example:
        >>> HilbertKernelClassifier().fit(features, labels).score(test_features, test_labels)
    """

    def __init__(self, alpha: float | None = None, normalise: bool = False):
        self.alpha = alpha
        self.normalise = normalise

    def fit(self, X: Any, y: Any) -> "HilbertKernelClassifier":
        """Keep the samples [N, D] and their labels [N] of at least two classes."""
        if self.alpha is not None and not self.alpha > 0:
            raise ValueError(f"alpha must be None or above 0, got {self.alpha}")
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_, self.y_ = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y holds one class only ({self.classes_.tolist()}); a classifier needs two or more")
        self.X_ = self._placed(X)
        return self

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Logs of the classes' shares of the votes, [M, K]."""
        check_is_fitted(self)
        X = self._placed(validate_data(self, X, reset=False, dtype=np.float64))
        alpha = float(self.n_features_in_ if self.alpha is None else self.alpha)
        found = np.empty((len(X), len(self.classes_)))
        for start in range(0, len(X), BLOCK):
            distance = cdist(X[start : start + BLOCK], self.X_)
            hit = distance == 0
            votes = -alpha * np.log(np.where(hit, 1.0, distance))
            met = hit.any(axis=1, keepdims=True)
            votes = np.where(met, np.where(hit, 0.0, -np.inf), votes)  # a vote without bound outweighs all others
            for k in range(len(self.classes_)):
                found[start : start + BLOCK, k] = logsumexp(votes[:, self.y_ == k], axis=1)
        return found - logsumexp(found, axis=1, keepdims=True)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The classes' shares of the votes, [M, K]."""
        return np.exp(self.predict_log_proba(X))

    def predict(self, X: Any) -> np.ndarray:
        """Labels [M]; the first of classes that tie."""
        best = self.predict_log_proba(X).argmax(axis=1)
        return self.classes_[best]

    def _placed(self, X: np.ndarray) -> np.ndarray:
        if not self.normalise:
            return X
        return X / np.maximum(np.linalg.norm(X, axis=1, keepdims=True), np.finfo(float).tiny)
