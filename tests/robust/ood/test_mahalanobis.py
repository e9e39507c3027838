"""Mahalanobis: the golden digits network, scikit-learn's estimators, streaming, numerics, one error a mistake."""

import numpy as np
import pytest
import torch
from sklearn.covariance import EmpiricalCovariance, oas

from kdzoo.robust.ood import ClassMoments, Mahalanobis, RelativeMahalanobis, TiedGaussian

LAYERS = ["first", "second"]


@pytest.mark.parametrize("number", [0, 1])
def test_golden_fit_and_scores_with_pre_processing(golden, digits, number):
    values, (model, images) = golden["mahalanobis_digits"], digits
    detector = Mahalanobis(model, LAYERS[number]).fit([images(values["train_idx"])])
    gaussian = detector.gaussian
    torch.testing.assert_close(gaussian.means, torch.tensor(values["class_means"][number]).double(), atol=1e-7, rtol=0)
    torch.testing.assert_close(
        gaussian.covariance, torch.tensor(values["tied_cov"][number]).double(), atol=1e-8, rtol=0
    )
    for epsilon, reference in values["score_by_magnitude"].items():
        detector.epsilon = float(epsilon)
        for side, rows in (("in", "test_in_idx"), ("out", "test_out_idx")):
            expected = torch.tensor(reference[side][number]).double()
            torch.testing.assert_close(detector.score(images(values[rows])[0]), expected, rtol=1e-6, atol=1e-6)


def test_golden_relative_scores(golden, digits):
    values, (model, images) = golden["mahalanobis_digits"], digits
    detector = RelativeMahalanobis(model, "second").fit([images(values["train_idx"])])
    reference = values["rmd_openood_conf"]
    background = torch.tensor(reference["background_cov"]).double()
    torch.testing.assert_close(detector.background.covariance, background, atol=1e-8, rtol=0)
    for side, rows in (("in_", "test_in_idx"), ("out", "test_out_idx")):
        expected = torch.tensor(reference[side]).double()
        torch.testing.assert_close(detector.score(images(values[rows])[0]), expected, rtol=1e-6, atol=2e-6)


def test_golden_class_incremental(golden, digits):
    values, (model, images) = golden["mahalanobis_digits"], digits
    reference = values["class_incremental"]

    def features(rows):
        return detector._of(images(rows)[0]).detach()

    detector = Mahalanobis(model, "second").fit([images(values["train_idx"])])
    detector.add_class(features(reference["new_class_idx"]))
    updated = torch.tensor(reference["updated_cov"]).double()
    torch.testing.assert_close(detector.gaussian.covariance, updated, atol=1e-8, rtol=0)
    assert detector.predict(features(reference["query_idx"])).tolist() == reference["pred"]


def test_the_background_is_divided_by_n():
    # pytorch-ood's RMD leaves that out, and its background distance all but vanishes.
    torch.manual_seed(0)
    x = torch.randn(4000, 3, dtype=torch.float64)
    detector = RelativeMahalanobis().fit_features(x, torch.arange(4000) % 2)
    assert detector.background.nearest(x)[0].mean() == pytest.approx(3.0, rel=1e-6)


def test_against_scikit_learn():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 500)
    x = rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 5 * rng.normal(size=(4, 6))[labels]
    means = np.stack([x[labels == c].mean(axis=0) for c in range(4)])
    fitted = EmpiricalCovariance(assume_centered=True).fit(x - means[labels])
    query = rng.normal(size=(20, 6)) * 3
    distances = np.stack([EmpiricalCovariance.mahalanobis(_at(fitted, mean), query) for mean in means], axis=1)
    detector = Mahalanobis().fit_features(torch.tensor(x), torch.tensor(labels))
    found = detector.score_features(torch.tensor(query))
    np.testing.assert_allclose(found.numpy(), -0.5 * distances.min(axis=1), rtol=1e-9)
    shrunk = Mahalanobis(shrinkage="oas").fit_features(torch.tensor(x), torch.tensor(labels)).gaussian
    expected, _ = oas(x - means[labels], assume_centered=True)
    values, vectors = np.linalg.eigh(expected)
    near = shrunk.distances(torch.tensor(query)).numpy()
    direct = np.stack([(((query - mean) @ vectors) ** 2 / values).sum(axis=1) for mean in means], axis=1)
    np.testing.assert_allclose(near, direct, rtol=1e-9)


def _at(fitted, mean):
    fitted.location_ = mean
    return fitted


@pytest.mark.parametrize("sizes", [[500], [1] * 500, [7, 493], [250, 0, 250]])
def test_batches_of_any_size_give_the_same(sizes):
    torch.manual_seed(0)
    # A common offset of 1e6 leaves float32 sums of squares without a single right digit.
    labels = torch.arange(500) % 7
    x = torch.randn(500, 5, dtype=torch.float64) + 1e6 + labels[:, None]
    moments = ClassMoments()
    for part, own in zip(x.split(sizes), labels.split(sizes), strict=True):
        moments.update(part, own)
    means = torch.stack([x[labels == c].mean(dim=0) for c in range(7)])
    centred = x - means[labels]
    torch.testing.assert_close(moments.means, means, rtol=1e-14, atol=0)
    torch.testing.assert_close(moments.within(), centred.T @ centred / 500, rtol=1e-8, atol=1e-9)
    whole = x - x.mean(dim=0)
    torch.testing.assert_close(moments.total()[1], whole.T @ whole / 500, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int32])
@pytest.mark.parametrize("most", [10**9, 10 * 5**2, 1])
def test_parts_of_the_rows_on_threads_give_the_same(monkeypatch, dtype, most):
    monkeypatch.setattr("kdzoo.robust.ood.moments._WORTH", 1)
    monkeypatch.setattr("kdzoo.robust.ood.moments._BLOCK", 16)
    monkeypatch.setattr("kdzoo.robust.ood.moments._MOST", most)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    labels = torch.arange(300).sort().values // 60  # in order, so that each part lacks classes
    x = (10 * torch.randn(300, 5, generator=torch.Generator().manual_seed(0)) + 100 * labels[:, None]).to(dtype)
    moments = ClassMoments().update(x, labels)
    wide = x.double()
    means = torch.stack([wide[labels == c].mean(dim=0) for c in range(5)])
    centred = wide - means[labels]
    torch.testing.assert_close(moments.means, means, rtol=1e-13, atol=0)
    torch.testing.assert_close(moments.within(), centred.T @ centred / 300, rtol=1e-12, atol=1e-12)
    x.view(-1)[-1] = 0 if dtype == torch.int32 else float("nan")
    if dtype != torch.int32:
        with pytest.raises(ValueError, match="hold NaN or infinity"):
            ClassMoments().update(x, labels)


def test_fitting_leaves_the_features_alone():
    x = torch.randn(50, 4, dtype=torch.float64)
    before = x.clone()
    Mahalanobis().fit_features(x, torch.arange(50) % 2).score_features(x)
    assert torch.equal(x, before)


def test_a_dead_channel_is_told_and_ignored():
    torch.manual_seed(0)
    x, labels = torch.randn(200, 4), torch.arange(200) % 2
    dead = torch.cat([x, torch.zeros(200, 1)], dim=1)
    with pytest.warns(UserWarning, match="rank 4 of 5"):
        detector = Mahalanobis().fit_features(dead, labels)
    expected = Mahalanobis().fit_features(x, labels).score_features(x)
    torch.testing.assert_close(detector.score_features(dead), expected)
    shrunk = Mahalanobis(shrinkage=0.1).fit_features(dead, labels)
    assert shrunk.gaussian.rank == 5


def test_a_bad_condition_is_told():
    covariance = torch.diag(torch.tensor([1.0, 1e-12], dtype=torch.float64))
    with pytest.warns(UserWarning, match="condition 1.0e"):
        TiedGaussian(torch.zeros(1, 2), covariance)


def test_saved_without_a_pickle_and_read_back(tmp_path):
    torch.manual_seed(0)
    x, labels = torch.randn(100, 4), torch.arange(100) % 5
    for kind in (Mahalanobis, RelativeMahalanobis):
        detector = kind().fit_features(x, labels)
        detector.save(tmp_path / "d.safetensors")
        again = kind().load(tmp_path / "d.safetensors")
        torch.testing.assert_close(again.score(x), detector.score(x), rtol=1e-12, atol=1e-12)
    from kdzoo.errors import UserError

    with pytest.raises(UserError, match="holds a RelativeMahalanobis, not a Mahalanobis"):
        Mahalanobis().load(tmp_path / "d.safetensors")
    (tmp_path / "d.safetensors").write_bytes(b"\x80\x04pickle")
    with pytest.raises(UserError, match="can't be read as a detector"):
        Mahalanobis().load(tmp_path / "d.safetensors")


X, Y = torch.randn(6, 3), torch.arange(6) % 2


@pytest.mark.parametrize(
    "features, labels, words",
    [
        (X, torch.arange(6), "every class has one sample"),
        (torch.ones(6, 3), Y, "constant within classes"),
        (torch.full((6, 3), 0.1, dtype=torch.float64), torch.zeros(6).long(), "constant within classes"),
        (torch.tensor([[float("nan")] * 3] * 6), Y, "NaN or infinity"),
        (X, torch.tensor([0, 0, 0, 2, 2, 2]), "class 1 of 3 has no sample"),
        (X, torch.tensor([0, 0, 0, -1, 1, 1]), "labels are expected to be 0 or more"),
        (X, torch.arange(5), "6 features and 5 labels"),
        (X, None, "needs the labels"),
        (X[:, 0], Y, r"expected as \[N, D\]"),
        (X[:0], Y[:0], "there are no features"),
    ],
)
def test_bad_features_are_one_clear_error(features, labels, words):
    with pytest.raises(ValueError, match=words) as told:
        Mahalanobis().fit_features(features, labels)
    assert "\n" not in str(told.value)


def test_bad_use(model):
    with pytest.raises(ValueError, match="there is no layer 'layer9'; there are: pooled, conv1, bn1, layer1"):
        Mahalanobis(model, layer="layer9")
    with pytest.raises(ValueError, match="is not fitted"):
        Mahalanobis().score_features(X)
    with pytest.raises(ValueError, match="has no model"):
        Mahalanobis().fit_features(X, Y).score(torch.rand(1, 3, 8, 8))
    with pytest.raises(ValueError, match=r"expected as \[N, 3\] as in fit"):
        Mahalanobis().fit_features(X, Y).score_features(torch.rand(2, 4))
    with pytest.raises(ValueError, match="shrinkage is expected"):
        Mahalanobis(shrinkage=2.0).fit_features(X, Y)
    for shape in ((5, 2), (5, 1), (3,)):
        with pytest.raises(ValueError, match=r"expected as \[N, 3\] as in fit"):
            Mahalanobis().fit_features(X, Y).add_class(torch.rand(shape))
    with pytest.raises(ValueError, match="fit it again, or use Mahalanobis"):
        RelativeMahalanobis().fit_features(X, Y).add_class(torch.rand(5, 3))
    with pytest.raises(ValueError, match="epsilon is expected"):
        Mahalanobis(epsilon=-0.1)


@pytest.mark.gpu
def test_the_same_on_a_gpu():
    torch.manual_seed(0)
    x, labels = torch.randn(300, 8), torch.arange(300) % 3
    there = Mahalanobis().fit_features(x.cuda(), labels.cuda()).score_features(x.cuda()).cpu()
    torch.testing.assert_close(there, Mahalanobis().fit_features(x, labels).score_features(x))
