"""Every registered detector: golden scores, formulas by hand, images as features, files, one error a mistake."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdzoo.errors import UserError
from kdzoo.heads import SVMHead
from kdzoo.models import create_model
from kdzoo.registry import DETECTORS, HEADS
from kdzoo.robust.ood import KNN, MSP, ODIN, SCALE, SHE, GradNorm, PytorchOOD, ReAct, ViM
from kdzoo.robust.ood.taps import classifier_parameters

GOLDEN = {
    "msp": (dict(type="MSP"), "logits"),
    "maxlogit": (dict(type="MaxLogit"), "logits"),
    "energy_T1": (dict(type="Energy"), "logits"),
    "neg_entropy": (dict(type="Entropy"), "logits"),
    "gen_gamma0.1_M100": (dict(type="GEN"), "logits"),
    "knn_K5_neg_sq_l2": (dict(type="KNN", k=5), "plain"),
    "vim_dim3": (dict(type="ViM", dim=3), "classifier"),
    "react_p90_energy": (dict(type="ReAct"), "classifier"),
    "she_inner_product": (dict(type="SHE"), "classifier"),
    "gradnorm_l1_allones_target": (dict(type="GradNorm"), "classifier"),
}
# What ClassifierDetector's subclasses and the others of kdzoo take, with settings for 60 small features.
PLAIN = [
    "MSP",
    "MaxLogit",
    "Energy",
    "Entropy",
    "GEN",
    "KNN",
    "ViM",
    "ReAct",
    "ASH-B",
    "ASH-P",
    "ASH-S",
    "SCALE",
    "SHE",
]
PLAIN += ["GradNorm", "Mahalanobis", "RelativeMahalanobis"]
OPTIONS = {"KNN": dict(k=3)}


@pytest.mark.filterwarnings("ignore:1 of 4 classes have no correctly classified sample")
@pytest.mark.parametrize("name", GOLDEN)
def test_golden(golden, name):
    values, (cfg, takes) = golden["ood_scores"], GOLDEN[name]
    tensors = {k: torch.tensor(values[k]).double() for k in ("train_features", "W", "b", "query")}
    context = dict(weight=tensors["W"], bias=tensors["b"]) if takes == "classifier" else {}
    query = tensors["query"] @ tensors["W"].T + tensors["b"] if takes == "logits" else tensors["query"]
    detector = DETECTORS.build(cfg, **context)
    detector.fit_features(tensors["train_features"], torch.tensor(values["train_labels"]))
    expected = torch.tensor(values["conf"][name]).double()
    torch.testing.assert_close(detector.score_features(query), expected, rtol=1e-6, atol=1e-6)


def test_every_registered_detector_is_tested_here():
    assert set(DETECTORS.names()) == {*PLAIN, "ODIN", "MahalanobisEnsemble", "PytorchOOD"}


@pytest.mark.filterwarnings("ignore:.*no correctly classified sample", "ignore:the covariance of .* has rank")
@pytest.mark.parametrize("name", [*PLAIN, "ODIN"])
def test_images_give_what_their_features_give_and_files_bring_it_back(model, loader, tmp_path, name):
    detector = DETECTORS.build(dict(type=name, **OPTIONS.get(name, {})), model=model).fit(loader)
    images = loader[0][0][:5]
    scores = detector.score(images)
    assert scores.shape == (5,) and scores.dtype == torch.float64 and scores.isfinite().all()
    with torch.no_grad():
        output = model.outputs(images)
    if detector.reads != "images":
        torch.testing.assert_close(detector.score_features(getattr(output, detector.reads)), scores)
    torch.testing.assert_close(detector.score(images[:1]), scores[:1], rtol=1e-4, atol=1e-5)
    detector.save(tmp_path / "fitted")
    again = DETECTORS.build(dict(type=name, **OPTIONS.get(name, {})), model=model).load(tmp_path / "fitted")
    torch.testing.assert_close(again.score(images), scores, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", PLAIN)
def test_nan_is_one_clear_error(name):
    context = dict(weight=torch.randn(4, 6), bias=torch.zeros(4))
    options = OPTIONS.get(name, {})
    detector = DETECTORS.build(dict(type=name, **options), **context)
    bad = torch.full((8, 6), float("nan"))
    if detector.needs_fit:
        with pytest.raises(ValueError, match="not fitted"):
            detector.score_features(torch.zeros(1, 6))
        with pytest.raises(ValueError, match="NaN or infinity"):
            detector.fit_features(bad, torch.arange(8) % 4)
    else:
        with pytest.raises(ValueError, match="NaN or infinity"):
            detector.score_features(bad)


def test_grad_norm_is_the_gradient_of_autograd():
    torch.manual_seed(0)
    layer, x = nn.Linear(5, 7).double(), torch.randn(4, 5, dtype=torch.float64)
    found = GradNorm(weight=layer.weight, bias=layer.bias).score_features(x)
    for row, score in zip(x, found, strict=True):
        (gradient,) = torch.autograd.grad(-layer(row).log_softmax(dim=0).sum(), layer.weight)
        assert score.item() == pytest.approx(gradient.abs().sum().item(), rel=1e-12)


def test_activation_shaping_by_hand():
    x, eye = torch.tensor([[4.0, 1.0, 3.0, 2.0]]), torch.eye(4)
    cases = {
        "ASH-P": [4.0, 0, 3.0, 0],
        "ASH-B": [5.0, 0, 5.0, 0],  # the sum 10 over two kept features
        "ASH-S": [4 * np.exp(10 / 7), 0, 3 * np.exp(10 / 7), 0],
        "SCALE": [v * np.exp(10 / 7) for v in (4.0, 1.0, 3.0, 2.0)],
    }
    for name, shaped in cases.items():
        found = DETECTORS.build(dict(type=name, percentile=50.0), weight=eye).score_features(x)
        expected = torch.logsumexp(torch.tensor(shaped, dtype=torch.float64), dim=0)
        assert found.item() == pytest.approx(expected.item(), rel=1e-6), name


def test_knn_in_blocks_is_the_k_th_nearest_of_all(monkeypatch):
    monkeypatch.setattr("kdzoo.robust.ood.knn._BANK_ROWS", 7)
    monkeypatch.setattr("kdzoo.robust.ood.knn._ROWS", 3)
    torch.manual_seed(0)
    bank, query = torch.randn(50, 6), torch.randn(11, 6)
    near = torch.cdist(F.normalize(query), F.normalize(bank)).sort(dim=1).values
    for k in (1, 10, 50):
        found = KNN(k=k).fit_features(bank).score_features(query)
        torch.testing.assert_close(found.float(), -near[:, k - 1].square(), atol=1e-5, rtol=1e-4)


def test_knn_keeps_a_uniform_sample():
    # 400 features in angle order, of which 100 stay: every part of the circle keeps its share.
    angle = torch.arange(4000) / 4000 * 6.28
    circle = torch.stack([angle.cos(), angle.sin()], dim=1)
    detector = KNN(k=20, bank_size=1000)
    detector.fit_batches(lambda: ((part, None) for part in circle.split(37)))
    assert detector.bank.shape == (1000, 2) and detector.nearest == 5
    kept = torch.atan2(detector.bank[:, 1], detector.bank[:, 0])
    counts = torch.histc(kept, 4, min=-3.1416, max=3.1416)
    assert (counts - 250).abs().max() < 60
    with pytest.raises(ValueError, match="there are 3 features for the 5-th nearest"):
        KNN(k=5).fit_features(torch.randn(3, 2))


def test_react_beyond_what_it_keeps_is_near_the_percentile(monkeypatch):
    monkeypatch.setattr("kdzoo.robust.ood.react._KEPT", 1000)
    torch.manual_seed(0)
    x = torch.rand(5000, 4)
    detector = ReAct(percentile=80.0, weight=torch.eye(4))
    detector.fit_batches(lambda: ((part, None) for part in x.split(333)))
    assert detector.threshold == pytest.approx(0.8, abs=0.05)


def test_react_beyond_what_it_keeps_takes_every_channel_into_account(monkeypatch):
    monkeypatch.setattr("kdzoo.robust.ood.react._KEPT", 3000)
    torch.manual_seed(0)
    x = torch.rand(1000, 64) * torch.where(torch.arange(64) % 16 == 0, 10.0, 1.0)
    detector = ReAct(weight=torch.eye(64))
    detector.fit_batches(lambda: ((part, None) for part in x.split(77)))
    assert detector.threshold == pytest.approx(np.percentile(x.numpy(), 90), rel=0.05)


def test_features_may_still_hold_their_gradient():
    x = torch.rand(40, 6, requires_grad=True)
    for name in ("ViM", "SHE", "ReAct", "KNN", "Mahalanobis"):
        detector = DETECTORS.build(dict(type=name, **OPTIONS.get(name, {})), weight=torch.randn(4, 6))
        assert not detector.fit_features(x, torch.arange(40) % 4).score_features(x).requires_grad


@pytest.mark.parametrize("head", ["SparseMoEHead", "VQHead", "CosFaceHead"])
@pytest.mark.parametrize("network", ["resnet8", "torchvision:vgg11"])
def test_no_other_linear_layer_is_taken_for_the_classifier(head, network):
    model = create_model(network, 8)
    model.set_head(lambda width: HEADS.build(dict(type=head), in_features=width, num_classes=8))
    words = f"SCALE needs the classifier, but .*{network} is a {head}, not one linear layer"
    with pytest.raises(ValueError, match=words):
        SCALE(model)
    with pytest.raises(ValueError, match=f"is a {head}, not one linear layer"):
        classifier_parameters(model)
    plain = create_model(network, 8)
    plain.set_head(lambda width: SVMHead(width, 8))
    assert SCALE(plain).weight.data_ptr() == plain.head.weight.data_ptr()


def test_two_heads_are_no_linear_classifier():
    model = create_model("deit_tiny_distilled_patch16_224", 8, img_size=32, patch_size=16, depth=1)
    with pytest.raises(ValueError, match="is a tuple, not one linear layer; choose another detector"):
        SCALE(model)


def test_odin_at_temperature_one_raises_its_own_probability(model):
    images = torch.rand(6, 3, 16, 16)
    plain, moved = (ODIN(model, 1.0, epsilon).score(images) for epsilon in (0.0, 0.001))
    torch.testing.assert_close(plain, MSP(model).score(images), rtol=1e-4, atol=1e-5)
    assert (moved > plain).all()
    # A model that takes normalised images: the same step, told by std.
    inner = nn.Sequential(model.network)
    normalised = ODIN(inner, 1.0, 0.001, std=[0.25] * 3).score(model.normalise(images))
    torch.testing.assert_close(normalised, moved, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="scores images"):
        ODIN(model).score(torch.zeros(2, 4))


@pytest.mark.parametrize(
    "build, words",
    [
        (lambda: ViM(dim=6, weight=torch.randn(4, 6)), "dim is expected in 1..5"),
        (lambda: ViM(), "needs the classifier"),
        (lambda: ReAct(percentile=100.0, weight=torch.randn(4, 6)), "percentile is expected"),
        (lambda: KNN(k=0), "k and bank_size"),
        (lambda: SHE(weight=torch.eye(3)).fit_features(torch.eye(3)[:2], torch.arange(2)), "class 2 has no sample"),
        (
            lambda: SHE(weight=torch.eye(3)).fit_features(torch.eye(3), torch.arange(3) + 1),
            r"labels are expected in 0..2",
        ),
        (lambda: GradNorm(weight=torch.eye(3)).score_features(torch.eye(4)), r"takes \[N, 3\]"),
    ],
)
def test_mistakes(build, words):
    with pytest.raises(ValueError, match=words):
        build()


class TestPytorchOOD:
    """The adapter; skipped only where pytorch-ood is not installed."""

    @pytest.fixture(autouse=True)
    def _installed(self):
        pytest.importorskip("pytorch_ood", reason="pytorch-ood is not installed (pip install pytorch-ood)")

    @pytest.mark.filterwarnings("ignore")
    @pytest.mark.parametrize(
        "name, options",
        [("EnergyBased", {}), ("KNN", dict(k=3)), ("ViM", {}), ("ReAct", {}), ("fDBD", {}), ("Gram", {}), ("DICE", {})],
    )
    def test_detectors_of_every_kind_run(self, model, loader, name, options):
        detector = PytorchOOD(model, name, options).fit(loader)
        scores = detector.score(loader[0][0][:4])
        assert scores.shape == (4,) and scores.isfinite().all() and detector.name == f"pytorch-ood {name}"

    def test_the_sign_is_turned(self, model, loader):
        images = loader[0][0]
        for ours, theirs in (("Energy", "EnergyBased"), ("MSP", "MaxSoftmax"), ("MaxLogit", "MaxLogit")):
            expected = DETECTORS.build(dict(type=ours), model=model).score(images)
            torch.testing.assert_close(PytorchOOD(model, theirs).score(images), expected, rtol=1e-5, atol=1e-6)

    def test_mahalanobis_is_ours_up_to_its_missing_division_by_n(self):
        torch.manual_seed(0)
        x, labels = torch.randn(400, 6), torch.arange(400) % 4
        peer = PytorchOOD(None, "Mahalanobis", dict(encoder=None)).fit_features(x, labels)
        ours = DETECTORS.build(dict(type="Mahalanobis")).fit_features(x, labels).score_features(x)
        torch.testing.assert_close(400 * peer.score_features(x), ours, rtol=1e-3, atol=1e-3)

    def test_mistakes(self, model):
        with pytest.raises(UserError, match="no detector 'KNNN'.*did you mean 'KNN'"):
            PytorchOOD(model, "KNNN")
        with pytest.raises(UserError, match="no option 'kk'"):
            PytorchOOD(model, "OpenMax", dict(kk=3))
        with pytest.raises(UserError, match="needs text_embeddings"):
            PytorchOOD(model, "MCM")
        with pytest.raises(ValueError, match="without a pickle"):
            PytorchOOD(model, "MaxLogit").save("x")
