"""Metrics: the golden file's five cases in three conventions, and scikit-learn on random scores."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from kdzoo.robust.ood import ood_metrics, roc_curve

CASES = ["gauss_200_150", "separable", "ties", "reversed", "imbalanced"]


@pytest.mark.parametrize("name", CASES)
def test_golden(golden, name):
    case = golden["ood_metrics"]["cases"][name]
    sides = case["id_conf"], case["ood_conf"]
    found, reference = ood_metrics(*sides), case["kdzoo_reference"]
    assert found["auroc"] == pytest.approx(reference["AUROC"], abs=1e-12)
    assert found["fpr95"] == pytest.approx(reference["FPR95_id_positive"], abs=1e-12)
    assert found["tnr95"] == pytest.approx(1 - reference["FPR95_id_positive"], abs=1e-12)
    assert found["detection_accuracy"] == pytest.approx(reference["detection_accuracy"], abs=1e-12)
    openood = case["openood"]
    assert found["aupr_in"] == pytest.approx(openood["AUPR_IN"], abs=1e-12)
    assert found["aupr_out"] == pytest.approx(openood["AUPR_OUT"], abs=1e-12)
    caught = ood_metrics(*sides, positive="ood")
    assert caught["fpr95"] == pytest.approx(openood["FPR95_ood_positive"], abs=1e-12)
    assert caught["auroc"] == found["auroc"]
    steps = ood_metrics(*sides, aupr="step")
    assert steps["aupr_in"] == pytest.approx(case["sklearn_average_precision"]["AP_IN"], abs=1e-12)
    assert steps["aupr_out"] == pytest.approx(case["sklearn_average_precision"]["AP_OUT"], abs=1e-12)


@pytest.mark.parametrize("name", CASES)
def test_golden_as_lee_counts(golden, name):
    case = golden["ood_metrics"]["cases"][name]
    found = ood_metrics(case["id_conf"], case["ood_conf"], convention="lee")
    names = dict(tnr95="TNR", auroc="AUROC", detection_accuracy="DTACC", aupr_in="AUIN", aupr_out="AUOUT")
    for ours, theirs in names.items():
        assert found[ours] == pytest.approx(case["lee"][theirs], abs=1e-12)


scores = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=25)


@given(scores, scores)
def test_ties_against_scikit_learn(known, unknown):
    found = ood_metrics(known, unknown, aupr="step")
    labels = np.r_[np.ones(len(known)), np.zeros(len(unknown))]
    values = np.r_[known, unknown]
    assert found["auroc"] == pytest.approx(roc_auc_score(labels, values))
    assert found["aupr_in"] == pytest.approx(average_precision_score(labels, values))
    assert found["aupr_out"] == pytest.approx(average_precision_score(1 - labels, -values))
    half = np.mean([(k > u) + (k == u) / 2 for k in known for u in unknown])
    assert found["auroc"] == pytest.approx(half)


@given(scores, scores)
def test_the_threshold_keeps_95_percent_and_no_higher_one_does(known, unknown):
    known, unknown = np.array(known), np.array(unknown)
    kept = [t for t in np.unique(known) if (known >= t).mean() >= 0.95]
    assert ood_metrics(known, unknown)["fpr95"] == pytest.approx((unknown >= max(kept)).mean())
    flagging = [t for t in np.unique(unknown) if (unknown <= t).mean() >= 0.95]
    assert ood_metrics(known, unknown, positive="ood")["fpr95"] == pytest.approx((known <= min(flagging)).mean())


def test_tensors_of_any_type_are_scores():
    sides = torch.tensor([2.0, 1.0], dtype=torch.bfloat16), torch.tensor([1.0, 0.0], requires_grad=True)
    assert ood_metrics(*sides) == ood_metrics([2.0, 1.0], [1.0, 0.0])


def test_the_curve_is_from_corner_to_corner():
    tpr, fpr = roc_curve([1.0, 2.0], [0.0, 1.0])
    assert tpr.tolist() == [0, 0.5, 1, 1] and fpr.tolist() == [0, 0, 0.5, 1]


@pytest.mark.parametrize(
    "arguments, words",
    [
        (([], [1.0]), "scores_id is empty"),
        (([1.0, float("nan")], [1.0]), "scores_id holds 1 scores that are NaN"),
        (([1.0], [float("inf")]), "scores_ood holds 1"),
        (([1.0], [1.0], "in"), "positive is expected to be 'id' or 'ood'"),
        (([1.0], [1.0], "ood", "lee"), "use positive='id'"),
        (([1.0], [1.0], "id", "odin"), "convention is expected"),
        (([1.0], [1.0], "id", "exact", "area"), "aupr is expected"),
    ],
)
def test_mistakes(arguments, words):
    with pytest.raises(ValueError, match=words):
        ood_metrics(*arguments)
