"""How well embeddings tell apart classes that were never trained on: the novel-class protocol.

Classes are seen (trained on) or novel. DISJOINT: support and query are of novel classes only. JOINT: of all classes,
which compete with one another. A query is given the class of the nearest mean of the support's unit embeddings
(nearest class mean), or the vote of its k nearest support embeddings, by cosine. The scenarios' names are those of
Pereira et al., Hyperspherical embedding for novel class classification, 2021, whose full text we could not read: the
protocol's details are ours.
"""

from dataclasses import dataclass

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

# Rows of the query that are compared with the support at a time.
BLOCK = 1024
CONVENTIONS = """\
conventions: embeddings are the classifier's input as its head compares it, of length 1; cosines
  disjoint: support and query of novel classes only; joint: of all classes, which compete
  NCM: class of the nearest normalised class mean; k-NN: majority of the k nearest, of equal votes the nearest's
  recall@k: share of queries with a support image of their class among the k nearest
  H: harmonic mean of the accuracies on seen and on novel queries
  rejection: score is the largest cosine with a seen class's mean; seen is positive; FPR95 is the share of novel
  queries accepted where 95 % of seen ones are"""


@dataclass(frozen=True)
class Scenario:
    """Results of one scenario, in percent.

    Args:
        ncm, knn: accuracy on all its queries.
        recall: recall@k, by k.
        ncm_seen, ncm_novel, ncm_harmonic: joint only, by nearest class mean; ``None`` where disjoint.
        knn_seen, knn_novel, knn_harmonic: likewise by k-NN.
    """

    ncm: float
    knn: float
    recall: dict[int, float]
    ncm_seen: float | None = None
    ncm_novel: float | None = None
    ncm_harmonic: float | None = None
    knn_seen: float | None = None
    knn_novel: float | None = None
    knn_harmonic: float | None = None


@dataclass(frozen=True)
class NovelResult:
    """Results of the protocol, in percent.

    Args:
        disjoint, joint: the two scenarios.
        auroc, aupr, fpr95: of telling seen queries (positive) from novel ones by the largest cosine with a seen
            class's mean.
    """

    disjoint: Scenario
    joint: Scenario
    auroc: float
    aupr: float
    fpr95: float


def novel_protocol(
    support: np.ndarray,
    support_labels: np.ndarray,
    query: np.ndarray,
    query_labels: np.ndarray,
    seen: int,
    neighbours: int = 5,
    recalls: tuple[int, ...] = (1, 5),
) -> NovelResult:
    """Both scenarios on embeddings.

    Args:
        support: [N, D], embeddings of labelled images of all classes (none of them a query).
        support_labels: [N], classes 0 to ``seen - 1`` were trained on, the others are novel.
        query: [M, D]; query_labels: [M], of classes that the support has.
        seen: number of seen classes.
        neighbours: k of k-NN.
        recalls: the k of recall@k.

    Raises:
        ValueError: wrong shapes, NaN, no novel class, a query of a class without support, or a k below 1.

    Example:
        >>> result = novel_protocol(train_x, train_y, test_x, test_y, seen=7)
        >>> print(result.disjoint.ncm, result.joint.ncm_harmonic)
    """
    support, support_labels = _checked(support, support_labels, "support")
    query, query_labels = _checked(query, query_labels, "query")
    if min(neighbours, *recalls) < 1:
        raise ValueError(f"neighbours and recalls must be 1 or more, got {neighbours} and {recalls}")
    missing = np.setdiff1d(query_labels, support_labels)
    if len(missing):
        raise ValueError(f"query_labels holds {missing.tolist()}, which support_labels has no example of")
    if not ((query_labels >= seen).any() and (query_labels < seen).any()):
        raise ValueError(f"query_labels needs classes on both sides of seen, {seen}; it has {np.unique(query_labels)}")
    most = max(neighbours, *recalls)
    novel_s, novel_q = support_labels >= seen, query_labels >= seen
    disjoint = _scenario(
        support[novel_s], support_labels[novel_s], query[novel_q], query_labels[novel_q], neighbours, recalls, most
    )
    joint = _scenario(support, support_labels, query, query_labels, neighbours, recalls, most, seen)
    labels, means = class_means(support[~novel_s], support_labels[~novel_s])
    confidence = (query @ means.T).max(axis=1)
    # All points: of several on a line the first that keeps 95 % may not be an end.
    false, true, _ = roc_curve(~novel_q, confidence, drop_intermediate=False)
    return NovelResult(
        disjoint,
        joint,
        100 * float(roc_auc_score(~novel_q, confidence)),
        100 * float(average_precision_score(~novel_q, confidence)),
        100 * float(false[np.searchsorted(true, 0.95)]),
    )


def class_means(embeddings: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels [K], sorted, and the unit means [K, D] of their unit embeddings."""
    found, codes = np.unique(labels, return_inverse=True)
    sums = np.zeros((len(found), embeddings.shape[1]))
    np.add.at(sums, codes, embeddings)
    return found, unit_rows(sums)


def unit_rows(x: np.ndarray) -> np.ndarray:
    """[N, D] with rows of length 1; zeros stay."""
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def _checked(x: np.ndarray, labels: np.ndarray, name: str) -> tuple[np.ndarray, np.ndarray]:
    x, labels = np.asarray(x, dtype=np.float64), np.asarray(labels)
    if x.ndim != 2 or labels.shape != (len(x),):
        raise ValueError(f"{name} must be [N, D] with {name}_labels [N], got {x.shape} and {labels.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"{name} must be finite, got NaN or infinity in row {np.argmin(np.isfinite(x).all(1))}")
    return unit_rows(x), labels


def _scenario(
    support: np.ndarray,
    support_labels: np.ndarray,
    query: np.ndarray,
    query_labels: np.ndarray,
    neighbours: int,
    recalls: tuple[int, ...],
    most: int,
    seen: int | None = None,
) -> Scenario:
    classes, means = class_means(support, support_labels)
    ncm = classes[(query @ means.T).argmax(axis=1)] == query_labels
    near = _nearest_labels(support, support_labels, query, min(most, len(support)))
    knn = np.array([_vote(row) for row in near[:, :neighbours]]) == query_labels
    hits = near == query_labels[:, None]
    recall = {k: 100 * float(hits[:, :k].any(axis=1).mean()) for k in recalls}
    parts = {}
    if seen is not None:
        old = query_labels < seen
        for name, right in (("ncm", ncm), ("knn", knn)):
            on_seen, on_novel = 100 * float(right[old].mean()), 100 * float(right[~old].mean())
            harmonic = 2 * on_seen * on_novel / (on_seen + on_novel) if on_seen + on_novel else 0.0
            parts |= {f"{name}_seen": on_seen, f"{name}_novel": on_novel, f"{name}_harmonic": harmonic}
    return Scenario(100 * float(ncm.mean()), 100 * float(knn.mean()), recall, **parts)


def _nearest_labels(support: np.ndarray, labels: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    """Labels [M, count] of the nearest support rows, nearest first."""
    found = []
    for start in range(0, len(query), BLOCK):
        similarity = query[start : start + BLOCK] @ support.T
        top = np.argpartition(-similarity, count - 1, axis=1)[:, :count]
        order = np.argsort(-np.take_along_axis(similarity, top, axis=1), axis=1, kind="stable")
        found.append(labels[np.take_along_axis(top, order, axis=1)])
    return np.concatenate(found)


def _vote(labels: np.ndarray) -> int:
    """The most frequent label; of equally frequent ones the nearest's, that is the first's."""
    found, first, counts = np.unique(labels, return_index=True, return_counts=True)
    return found[np.lexsort((first, -counts))[0]]
