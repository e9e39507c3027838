"""Naive Bayes beside logistic regression over a grid of sample sizes: the two-regimes curve."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler

from kdzoo.heads.naive_bayes import NaiveBayesProbe

TRIES = 10_000


def logistic_probe(C: float = 1.0, max_iter: int = 1000) -> LogisticRegression:
    """scikit-learn's multinomial logistic regression with an L2 penalty, by L-BFGS, as the paper's baseline.

    Args:
        C: inverse strength of the penalty. The paper's scripts have another one for each backbone (0.1 to 20) and do
            not say how it was chosen.
        max_iter: of L-BFGS.
    """
    return LogisticRegression(C=C, max_iter=max_iter)


@dataclass(frozen=True)
class ProbePoint:
    """One fit of one probe.

    Args:
        probe: ``"naive Bayes"`` or ``"logistic regression"``.
        samples: training samples, drawn uniformly.
        repeat: number of the draw.
        accuracy: on all test samples, in percent.
        seconds: of the fit.
    """

    probe: str
    samples: int
    repeat: int
    accuracy: float
    seconds: float


def two_regimes(
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    sizes: Sequence[int],
    repeats: int = 5,
    C: float = 1.0,
    seed: int = 0,
    done: Callable[[ProbePoint], None] = lambda point: None,
) -> list[ProbePoint]:
    """Test accuracy of both probes on the same draws of growing size.

    As in the paper: each draw is uniform over the training set (not by class) and repeated until no class is
    missing, and features are scaled to [0, 1] by the draw's minima and maxima.

    Args:
        train, test: features [N, D] and labels [N].
        sizes: samples of a draw, each at least the number of classes.
        repeats: draws of each size.
        C: of :func:`logistic_probe`.
        seed: of the draws.
        done: called after each fit.

    Raises:
        ValueError: a size that is larger than the training set or smaller than the number of classes, or so small
            that no draw has all classes.

    Source: Zheng et al., Revisiting Discriminative vs. Generative Classifiers, ICML 2023.

    Example:
        >>> points = two_regimes((x, y), (x_test, y_test), sizes=[50, 200, 1000])
    """
    features, labels = train
    classes = len(np.unique(labels))
    for size in sizes:
        if not classes <= size <= len(labels):
            raise ValueError(
                f"sizes holds {size}; each must lie between {classes} (classes) and {len(labels)} (samples)"
            )
    points = []
    for size in sizes:
        for repeat in range(repeats):
            rows = draw(labels, size, classes, np.random.default_rng([seed, size, repeat]))
            scale = MinMaxScaler(clip=False).fit(features[rows])
            x, y, x_test = scale.transform(features[rows]), labels[rows], scale.transform(test[0])
            probes: dict[str, BaseEstimator] = {
                "naive Bayes": NaiveBayesProbe(),
                "logistic regression": logistic_probe(C),
            }
            for name, probe in probes.items():
                start = time.perf_counter()
                probe.fit(x, y)
                seconds = time.perf_counter() - start
                accuracy = 100.0 * float((probe.predict(x_test) == test[1]).mean())
                points.append(ProbePoint(name, size, repeat, accuracy, seconds))
                done(points[-1])
    return points


def draw(labels: np.ndarray, size: int, classes: int, rng: np.random.Generator) -> np.ndarray:
    """``size`` rows, uniform without replacement, given that all classes are among them."""
    for _ in range(TRIES):
        rows = rng.choice(len(labels), size, replace=False)
        if len(np.unique(labels[rows])) == classes:
            return np.sort(rows)
    raise ValueError(
        f"sizes holds {size}: {TRIES} draws of {size} samples all missed one of {classes} classes; raise it"
    )
