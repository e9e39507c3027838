"""The novel-class protocol against hand-made geometry and scikit-learn, and few-shot draws."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid
from sklearn.preprocessing import normalize

from kdzoo.heads import few_shot_split, k_shot, novel_protocol


@pytest.fixture
def clusters():
    """Five noisy directions in the plane's third dimension up; classes 0 to 2 are seen."""
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(5, 6))

    def draw(count):
        labels = np.arange(count) % 5
        x = centres[labels] + 0.6 * rng.normal(size=(count, 6))
        return x * rng.uniform(0.1, 10, size=(count, 1)), labels  # lengths carry nothing

    return (*draw(60), *draw(200))


def test_joint_and_disjoint_are_scikit_learns(clusters):
    x, y, q, t = clusters
    result = novel_protocol(x, y, q, t, seen=3, neighbours=5, recalls=(1, 3))
    xs, qs = normalize(x), normalize(q)
    means = normalize(NearestCentroid().fit(xs, y).centroids_)
    ncm = (qs @ means.T).argmax(1)
    assert result.joint.ncm == pytest.approx(100 * (ncm == t).mean())
    assert result.joint.ncm_seen == pytest.approx(100 * (ncm == t)[t < 3].mean())
    s, n = result.joint.ncm_seen, result.joint.ncm_novel
    assert result.joint.ncm_harmonic == pytest.approx(2 * s * n / (s + n))
    own, mine = y >= 3, t >= 3
    only = means[3:]
    assert result.disjoint.ncm == pytest.approx(100 * ((qs[mine] @ only.T).argmax(1) + 3 == t[mine]).mean())
    one = KNeighborsClassifier(1).fit(xs[own], y[own])
    assert result.disjoint.recall[1] == pytest.approx(100 * one.score(qs[mine], t[mine]))
    near = KNeighborsClassifier(3).fit(xs, y).kneighbors(qs, return_distance=False)
    assert result.joint.recall[3] == pytest.approx(100 * (y[near] == t[:, None]).any(1).mean())
    # Unlike scikit-learn, equal votes go to the nearest; with one neighbour there are none.
    assert novel_protocol(x, y, q, t, seen=3, neighbours=1).joint.knn == result.joint.recall[1]


def test_votes_that_tie_go_to_the_nearest():
    x = np.array([[1, 0.0], [1, 0.1], [0.2, 1], [0, 1]])
    y = np.array([1, 0, 2, 2])
    result = novel_protocol(x, y, np.array([[1, 0.02], [0, 1.0]]), np.array([1, 2]), seen=2, neighbours=2)
    assert result.joint.knn == 100.0


def test_fpr95_is_read_where_95_percent_are_kept_though_all_scores_tie_in_pairs():
    angle = np.linspace(0, 1, 20)
    query = np.tile(np.stack([np.cos(angle), np.sin(angle)], axis=1), (2, 1))  # a seen and a novel one at each angle
    result = novel_protocol(np.eye(2), np.array([0, 1]), query, np.repeat([0, 1], 20), seen=1)
    assert result.fpr95 == pytest.approx(95)


def test_rejection_reads_the_seen_means_alone():
    x, y = np.eye(4), np.arange(4)
    q = np.array([[1, 0.1, 0, 0], [0.1, 1, 0, 0], [0, 0.2, 1, 0], [0, 0, 0.1, 1]])
    result = novel_protocol(x, y, q, y, seen=2)
    assert result.auroc == 100 and result.fpr95 == 0 and result.aupr == 100
    swapped = novel_protocol(x, y, q[[2, 3, 0, 1]], y, seen=2)
    assert swapped.auroc == 0 and swapped.fpr95 == 100


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(query_labels=np.array([0, 5])), r"query_labels holds \[5\]"),
        (dict(query_labels=np.array([0, 1])), "both sides of seen"),
        (dict(support=np.full((3, 2), np.nan)), "support must be finite"),
        (dict(support_labels=np.array([0, 1])), "support must be"),
        (dict(neighbours=0), "neighbours and recalls must be 1 or more"),
        (dict(recalls=(1, -1)), "neighbours and recalls must be 1 or more"),
    ],
)
def test_mistakes_name_the_argument(change, words):
    given = dict(support=np.eye(3)[:, :2], support_labels=np.arange(3), query=np.eye(2), query_labels=np.array([0, 2]))
    with pytest.raises(ValueError, match=words):
        novel_protocol(**(given | change), seen=2)


def test_k_shot_is_exact_and_nested():
    labels = np.random.default_rng(0).integers(5, size=200)
    sixteen = k_shot(labels, 16, seed=3)
    assert np.bincount(labels[sixteen]).tolist() == [16] * 5 and len(set(sixteen)) == 80
    four = k_shot(labels, 4, seed=3)
    assert set(four) <= set(sixteen) and np.array_equal(four, k_shot(labels, 4, seed=3))
    assert not np.array_equal(four, k_shot(labels, 4, seed=4))
    train, validation = few_shot_split(labels, 8, seed=3)
    assert not set(train) & set(validation)
    assert np.bincount(labels[train]).tolist() == [8] * 5 and np.bincount(labels[validation]).tolist() == [4] * 5
    with pytest.raises(ValueError, match="seed 0 or more"):
        k_shot(labels, 4, seed=-1)
    with pytest.raises(ValueError, match="shots is 60, but class 0 has"):
        k_shot(labels, 60)
