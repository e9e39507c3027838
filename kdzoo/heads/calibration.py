"""Probabilities for heads that give scores: temperature scaling and Platt's sigmoids, fitted on held-out scores."""

from typing import Any

import numpy as np
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted


class TemperatureScaling(BaseEstimator):
    """softmax(scores / T), T fitted to the log-likelihood of held-out samples; the decision stays as it is.

    Attributes:
        temperature_: T, above 0.

    Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    Example:
        >>> TemperatureScaling().fit(scores_val, y_val).predict_proba(scores_test)
    """

    def fit(self, scores: Any, y: Any) -> "TemperatureScaling":
        """Args: scores [N, K], held out from training; y [N] columns of the right class."""
        scores, y = check_scores(scores, y)

        # Looked for around the scores' own spread: log densities of many features lie millions apart.
        spread = float(scores.std(axis=1).mean()) or 1.0

        def nll(log_t: float) -> float:
            return -log_softmax(scores / (spread * np.exp(log_t)), axis=1)[np.arange(len(y)), y].mean()

        self.temperature_ = spread * float(np.exp(minimize_scalar(nll, bounds=(-7, 7), method="bounded").x))
        return self

    def predict_proba(self, scores: Any) -> np.ndarray:
        """[N, K]."""
        check_is_fitted(self)
        return softmax(check_scores(scores)[0] / self.temperature_, axis=1)


class PlattScaling(BaseEstimator):
    """A sigmoid for each class's score, one against the rest, then scaled to sum to 1.

    Targets are smoothed as Platt's are, so that separable scores get finite slopes. The most probable class can
    differ from the largest score, since each class has its own sigmoid.

    Attributes:
        slope_, offset_: [K]; p_k is proportional to sigmoid(slope_k z_k + offset_k).

    Source: Platt, Probabilistic Outputs for Support Vector Machines, 1999.

    Example:
        >>> PlattScaling().fit(head(features_val).numpy(), y_val).predict_proba(scores_test)
    """

    def fit(self, scores: Any, y: Any) -> "PlattScaling":
        """Args: scores [N, K], held out from training; y [N], each class at least once."""
        scores, y = check_scores(scores, y)
        missing = np.setdiff1d(np.arange(scores.shape[1]), y)
        if len(missing):
            raise ValueError(f"y has no sample of class {missing[0]}; Platt scaling needs one of each")
        fits = [_sigmoid(scores[:, k], y == k) for k in range(scores.shape[1])]
        self.slope_, self.offset_ = (np.array(values) for values in zip(*fits, strict=True))
        return self

    def predict_proba(self, scores: Any) -> np.ndarray:
        """[N, K]."""
        check_is_fitted(self)
        # From the sigmoids' logarithms: where all of them underflow, they still say how they compare.
        return softmax(log_expit(check_scores(scores)[0] * self.slope_ + self.offset_), axis=1)


def _sigmoid(z: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """Slope and offset of the sigmoid with the largest likelihood of Platt's smoothed targets."""
    count, rest = positive.sum(), (~positive).sum()
    target = np.where(positive, (count + 1) / (count + 2), 1 / (rest + 2))
    spread = z.std() or 1.0
    # In units of the rarer side: of a mean over all samples, BFGS would stop before a rare class has its slope.
    unit = min(count, rest) + 1

    def loss(point: np.ndarray) -> tuple[float, np.ndarray]:
        t = point[0] * (z - z.mean()) / spread + point[1]
        error = expit(t) - target
        value = (np.logaddexp(0, t) - target * t).sum() / unit
        return value, np.array([(error * (z - z.mean()) / spread).sum(), error.sum()]) / unit

    a, b = minimize(loss, np.array([1.0, np.log((count + 1) / (rest + 1))]), jac=True, method="BFGS").x
    return a / spread, b - a * z.mean() / spread


def check_scores(scores: Any, y: Any = None) -> tuple[np.ndarray, np.ndarray | None]:
    """Scores as float64 [N, K] and labels as columns of them; ValueError for anything else."""
    scores = np.asarray(scores, dtype=np.float64)
    if scores.ndim != 2 or scores.shape[1] < 2 or not len(scores):
        raise ValueError(f"scores must be [N, K] with K >= 2, got {scores.shape}; of a two-class margin m pass [-m, m]")
    if not np.isfinite(scores).all():
        raise ValueError("scores must be finite, got NaN or infinity")
    if y is None:
        return scores, None
    y = np.asarray(y)
    if y.shape != (len(scores),) or y.dtype.kind not in "iu" or y.min() < 0 or y.max() >= scores.shape[1]:
        raise ValueError(f"y must hold {len(scores)} columns 0 to {scores.shape[1] - 1} of scores, got shape {y.shape}")
    return scores, y
