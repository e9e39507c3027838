"""The naive-Bayes probe: the authors' values, scikit-learn's rules, one pass of any number of batches."""

import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.datasets import load_digits
from sklearn.utils.estimator_checks import parametrize_with_checks

from kdzoo.heads import NaiveBayesProbe, two_regimes


@parametrize_with_checks([NaiveBayesProbe()])
def test_scikit_learns_rules(estimator, check):
    check(estimator)


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    return x / 16, y


@pytest.mark.parametrize("key", ["eps_1e9", "eps_1e2"])
def test_golden_values_with_the_papers_floor(golden, digits, key):
    case, (x, y) = golden["nb_probe_digits"], digits
    train, test, case = case["train_idx"], case["test_idx"], case[key]
    probe = NaiveBayesProbe(floor="absolute", eps=case["eps"]).fit(x[train], y[train])
    np.testing.assert_allclose(probe.class_prior_, case["prior"], rtol=1e-12)
    np.testing.assert_allclose(probe.theta_, case["means"], atol=1e-11)
    np.testing.assert_allclose(probe.var_, case["shared_var"], atol=1e-11)
    np.testing.assert_allclose(probe.coef_, case["weight_CxD"], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(probe.intercept_, case["bias"], rtol=1e-9)
    assert probe.predict(x[test]).tolist() == case["pred_test"]
    assert 100 * probe.score(x[test], y[test]) == pytest.approx(100 * case["acc_test"])
    assert NaiveBayesProbe(floor="absolute").eps is None


def test_probabilities_are_bayes_rule(digits):
    x, y = digits[0][:400, 20:30], digits[1][:400]
    probe = NaiveBayesProbe().fit(x, y)
    log_joint = np.stack(
        [
            np.log((y == k).mean()) + norm.logpdf(x[:9], x[y == k].mean(0), np.sqrt(probe.var_)).sum(1)
            for k in range(10)
        ],
        axis=1,
    )
    expected = np.exp(log_joint - np.logaddexp.reduce(log_joint, axis=1, keepdims=True))
    np.testing.assert_allclose(probe.predict_proba(x[:9]), expected, rtol=1e-8)


@pytest.mark.parametrize(("dtype", "atol"), [(np.float64, 1e-12), (np.float32, 1e-7)])
def test_batches_give_what_one_fit_gives_far_from_zero(digits, dtype, atol, monkeypatch):
    monkeypatch.setattr("kdzoo.heads.naive_bayes.THREADED", 1000)  # the whole by threads, the parts not
    x, y = (digits[0] + 1e4).astype(dtype), digits[1]
    whole = NaiveBayesProbe().fit(x, y)
    parts = NaiveBayesProbe()
    for rows in np.array_split(np.arange(len(y)), 7):
        parts.partial_fit(x[rows], y[rows], classes=range(10))
    np.testing.assert_allclose(parts.var_, whole.var_, rtol=0, atol=atol)
    np.testing.assert_allclose(parts.theta_, whole.theta_, rtol=1e-12)
    exact = sum((y == k).mean() * x[y == k].astype(np.float64).var(0) for k in range(10))
    within = parts.var_ - 1e-3 * x.astype(np.float64).var(0).mean()
    np.testing.assert_allclose(within, exact, atol=atol)
    assert (parts.predict(x) == whole.predict(x)).all()


def test_tensors_and_memory_maps_are_arrays(digits, tmp_path):
    x, y = digits[0].astype(np.float32), digits[1]
    np.save(tmp_path / "x.npy", x)
    plain = NaiveBayesProbe().fit(x, y)
    mapped = NaiveBayesProbe().fit(np.load(tmp_path / "x.npy", mmap_mode="r"), y)
    tensors = NaiveBayesProbe().fit(torch.from_numpy(x), torch.from_numpy(y))
    assert np.array_equal(plain.coef_, mapped.coef_) and np.array_equal(plain.coef_, tensors.coef_)
    assert np.array_equal(tensors.predict(torch.from_numpy(x[:50])), plain.predict(x[:50]))


def test_the_relative_floor_tames_features_that_are_constant_in_a_class():
    rng = np.random.default_rng(0)
    y = np.arange(40) % 2
    x = np.c_[rng.normal(size=(40, 5)) + 3 * y[:, None], 0.01 * y]
    test = np.c_[rng.normal(size=(500, 5)), rng.normal(scale=0.05, size=500)]  # all of class 0, last feature noisy
    assert NaiveBayesProbe().fit(x, y).predict(test).mean() < 0.05
    assert NaiveBayesProbe(floor="absolute").fit(x, y).predict(test).mean() > 0.3


def test_a_class_never_seen_is_never_predicted():
    x, y = np.array([[0.0], [1.0], [0.1], [1.1]]), np.array([0, 1, 0, 1])
    probe = NaiveBayesProbe(prior_smoothing=1).partial_fit(x, y, classes=[0, 1, 2])
    assert set(probe.predict(np.linspace(-5, 5, 50)[:, None])) == {0, 1}
    assert (probe.predict_proba(x)[:, 2] == 0).all()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: p.fit(np.zeros((4, 2)), [1, 1, 1, 1]), "y holds one class only"),
        (lambda p: p.partial_fit(np.zeros((2, 2)), [0, 3], classes=[0, 1]), "label .*3.* not in classes"),
        (lambda p: p.fit(np.array([[0.0], [np.nan]]), [0, 1]), "X contains NaN"),
        (lambda p: p.fit(torch.zeros(3, 2), torch.tensor([0, 1])), "X and y must have one length"),
        (lambda p: p.partial_fit(np.eye(2), [0, 1], classes=[0, 1, 2]).predict(np.eye(2)), "2 samples for 3 classes"),
        (lambda p: p.set_params(floor="none").fit(np.eye(2), [0, 1]), "floor must be"),
        (lambda p: p.set_params(eps=-1.0).fit(np.eye(2), [0, 1]), "eps must be"),
        (lambda p: p.fit(np.eye(2), [0, 1]).predict(torch.zeros(2, 3)), r"X must be \[N, 2\]"),
    ],
)
def test_mistakes_name_the_argument(call, words):
    with pytest.raises(ValueError, match=words):
        call(NaiveBayesProbe())


def test_tensors_are_held_to_what_arrays_are(digits):
    x, y = torch.from_numpy(digits[0]).bfloat16(), torch.from_numpy(digits[1])
    probe = NaiveBayesProbe().fit(x, y)
    assert np.array_equal(probe.predict(x), NaiveBayesProbe().fit(x.float(), y).predict(x.float()))
    spoilt = x.clone()
    spoilt[2, 3] = float("nan")
    for predict in (probe.predict, probe.predict_proba, probe.decision_function):
        with pytest.raises(ValueError, match="X contains NaN or infinity"):
            predict(spoilt)
    with pytest.raises(ValueError, match=r"y must be labels \[1797\]"):
        NaiveBayesProbe().fit(x, y[:, None])


def test_a_refused_batch_leaves_nothing_behind(digits):
    x, y = digits
    spoilt, strange = x.copy(), y.copy()
    spoilt[3, 5], strange[3] = np.nan, 77
    whole = NaiveBayesProbe().fit(x, y)
    for refused in ((spoilt, y), (x, strange)):
        probe = NaiveBayesProbe()
        with pytest.raises(ValueError):
            probe.partial_fit(*refused, classes=range(10))
        probe.partial_fit(x, y, classes=range(10))
        np.testing.assert_array_equal(probe.coef_, whole.coef_)
        with pytest.raises(ValueError):
            probe.partial_fit(*refused)
        np.testing.assert_array_equal(probe.predict_proba(x[:5]), whole.predict_proba(x[:5]))


def test_two_regimes(digits):
    x, y = digits
    points = two_regimes((x[:1000], y[:1000]), (x[1000:], y[1000:]), sizes=[30, 900], repeats=2)
    assert [(p.probe, p.samples) for p in points[:2]] == [("naive Bayes", 30), ("logistic regression", 30)]
    accuracy = {(p.probe, p.samples): p.accuracy for p in points}
    assert accuracy["logistic regression", 900] > accuracy["naive Bayes", 900] > accuracy["naive Bayes", 30] > 40
    with pytest.raises(ValueError, match="sizes holds 9"):
        two_regimes((x, y), (x, y), sizes=[9])
    with pytest.raises(ValueError, match="missed one of 10 classes"):
        two_regimes((x[:70], np.r_[np.arange(10), np.zeros(60, int)]), (x, y), sizes=[10])
