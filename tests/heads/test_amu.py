"""AMU-Tuning against the authors' values, its neighbours, and what they must not do."""

import sys
import types

import numpy as np
import pytest
import torch

from kdzoo.errors import UserError
from kdzoo.heads import AMUTuning, TipAdapter, choose_amu, class_mean_weights, zero_shot_weights
from kdzoo.heads.amu import standardise
from kdzoo.heads.uncertainty import UNCERTAINTIES, uncertainty

OFFICIAL = {"moment": dict(kind="kurtosis", constant=250.0), "var": dict(kind="std")}
OFFICIAL |= {"energy": dict(kind="energy_official")} | {k: dict(kind=k) for k in ("max", "max-min", "top5", "entropy")}
OFFICIAL["none"] = dict(kind="none")


def f64(values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize("name", OFFICIAL)
def test_golden_uncertainties(golden, name):
    case = golden["amu_uncertainty"]
    kappa = uncertainty(f64(case["logits"]), power=case["power"], **OFFICIAL[name])
    np.testing.assert_allclose(kappa.numpy(), np.broadcast_to(case[name], (8, 1)), rtol=1e-7)


@pytest.mark.parametrize("kind", UNCERTAINTIES)
@pytest.mark.parametrize("scale", [0.0, 1e-3, 100.0, 1e4])
def test_finite_for_any_logits(kind, scale):
    logits = (torch.randn(5, 7, generator=torch.Generator().manual_seed(0)) * scale).requires_grad_()
    kappa = uncertainty(logits, kind)
    kappa.sum().backward() if kappa.requires_grad else None
    assert kappa.shape == (5, 1) and torch.isfinite(kappa).all() and (kappa >= 0).all()


def test_the_kurtosis_constant_is_scaled_to_the_classes():
    for classes in (10, 100, 1000):
        sure = torch.zeros(1, classes)
        sure[0, 3] = 100.0
        assert uncertainty(sure).item() == pytest.approx(4**-0.4, rel=2 / classes)  # as 250 gives it for 1,000 classes
    unsure = torch.cat([sure, torch.randn(1, 1000)])
    assert uncertainty(unsure)[1] > uncertainty(unsure)[0]


def test_golden_standardisation(golden):
    case = golden["amu_logit_normalize"]
    np.testing.assert_allclose(standardise(f64(case["logits"])), case["out"], rtol=1e-9)
    assert torch.equal(standardise(torch.ones(2, 4)), torch.zeros(2, 4))


FORWARDS = ["moment", "none", "max", "soft_moment", "soft_entropy", "soft_max", "soft_energy", "soft_max-min"]
FORWARDS += ["soft_var", "soft_top5", "soft_none", "entropy"]


@pytest.mark.parametrize("name", FORWARDS)
def test_golden_forward_and_gradient(golden, name):
    case, init = golden[f"amu_forward_{name}"], golden["amu_feature_init"]
    amu = AMUTuning(
        f64(case["text_weights_DxC"]), alpha=case["alpha"], balance=case["lambda_merge"], power=case["uncent_power"],
        **OFFICIAL[case["uncent_type"]],
    )  # fmt: skip
    amu.weight = f64(init["weight_CxD"]).requires_grad_()
    clip, aux = f64(case["clip_features"]), f64(case["aux_features"])
    before = clip.clone()
    output = amu.outputs((clip, aux))
    loss = amu.loss((clip, aux), torch.tensor(case["labels"]))
    loss.backward()
    assert torch.equal(clip, before)  # the published code divides its arguments in place
    np.testing.assert_allclose(output.clip_logits.detach(), case["clip_logits"], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(output.aux_logits.detach(), case["aux_logits"], rtol=1e-6, atol=1e-8)
    if case["loss"] is None:  # NaN there
        assert torch.isfinite(loss) and torch.isfinite(output.logits).all()
        return
    np.testing.assert_allclose(output.logits.detach(), case["logits"], rtol=1e-5, atol=1e-4)
    assert loss.item() == pytest.approx(case["loss"], rel=1e-5)
    np.testing.assert_allclose(amu.weight.grad, case["grad_adapter_weight"], rtol=1e-4, atol=1e-5)


def test_start_is_the_class_means(golden):
    case = golden["amu_feature_init"]
    features, y = f64(case["sample_features"]), torch.tensor(case["sample_labels"])
    # The authors' features are unit already; ours are made so.
    amu = AMUTuning(torch.eye(5, 6, dtype=torch.float64)).start(features, y)
    unit = features / features.norm(dim=1, keepdim=True)
    for k in range(6):
        np.testing.assert_allclose(amu.weight[k], unit[y == k].mean(0), rtol=1e-12)
    np.testing.assert_allclose(amu.weight, case["weight_CxD"], rtol=1e-8, atol=1e-10)


@pytest.fixture(scope="module")
def shots():
    """Zero-shot features that confuse classes 0 and 1, auxiliary features that do not."""
    rng = np.random.default_rng(0)
    text, other = rng.normal(size=(5, 12)), rng.normal(size=(5, 8))
    text[1] = text[0] + 0.05 * rng.normal(size=12)

    def draw(count):
        y = np.arange(count) % 5
        clip = text[y] + 0.5 * rng.normal(size=(count, 12))
        aux = other[y] + 0.8 * rng.normal(size=(count, 8))
        return (clip.astype(np.float32), aux.astype(np.float32)), y

    weights = torch.tensor((text / np.linalg.norm(text, axis=1, keepdims=True)).T, dtype=torch.float32)
    return weights, draw(40), draw(40), draw(400)


def test_amu_beats_what_it_starts_from_without_seeing_the_test_set(shots):
    weights, (x, y), (x_val, y_val), (x_test, y_test) = shots
    zero_shot = 100 * (np.asarray(torch.as_tensor(x_test[0]) @ weights).argmax(1) == y_test).mean()
    amu = choose_amu(weights, x, y, (x_val, torch.tensor(y_val)), epochs=5)
    assert len(amu.history) == 6 and amu.score(x_val, y_val) == max(amu.history)
    assert amu.score(x_test, y_test) > zero_shot + 5
    again = choose_amu(weights, x, y, (x_val, torch.tensor(y_val)), epochs=5)
    assert torch.equal(amu.weight, again.weight)


def test_tip_adapter(shots):
    weights, (x, y), (x_val, y_val), (x_test, y_test) = shots
    tip = TipAdapter(weights, alpha=2.0, beta=3.0).fit(x[0], y)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x_test[0], x[0])]
    expected = 100 * unit[0] @ weights.numpy() + 2 * np.exp(-3 * (1 - unit[0] @ unit[1].T)) @ np.eye(5)[y]
    np.testing.assert_allclose(tip.logits(x_test[0]), expected, rtol=1e-4, atol=1e-4)
    before = tip.score(x_val[0], y_val)
    assert tip.choose(x_val[0], y_val).score(x_val[0], y_val) >= before


def test_labels_of_any_whole_type(shots):
    weights, (x, y), *_ = shots
    narrow = np.asarray(y).astype(np.int32)
    assert torch.equal(TipAdapter(weights).fit(x[0], narrow).values, TipAdapter(weights).fit(x[0], y).values)
    assert torch.equal(class_mean_weights(x[0], narrow), class_mean_weights(x[0], y))
    assert torch.equal(AMUTuning(weights).start(x[1], narrow).weight, AMUTuning(weights).start(x[1], y).weight)


def test_class_means_stand_in_for_text(shots):
    _, (x, y), _, (x_test, y_test) = shots
    weights = class_mean_weights(x[0], y)
    assert weights.shape == (12, 5)
    torch.testing.assert_close(weights.norm(dim=0), torch.ones(5))
    with pytest.raises(ValueError, match="no sample of class 1"):
        class_mean_weights(x[0][:2], [0, 2], classes=3)


def test_text_weights_average_unit_prompts(monkeypatch):
    vectors = {"a cat": [3.0, 0.0], "the cat": [0.0, 2.0], "a dog": [1.0, 0.0], "the dog": [5.0, 0.0]}
    model = types.SimpleNamespace(encode_text=lambda texts: torch.tensor([vectors[t] for t in texts.said]))
    model.eval = lambda: model

    class Texts(list):
        def to(self, device):
            self.said = list(self)
            return self

    fake = types.ModuleType("open_clip")
    fake.create_model = lambda name, pretrained, device: model
    fake.get_tokenizer = lambda name: Texts
    monkeypatch.setitem(sys.modules, "open_clip", fake)
    weights = zero_shot_weights(["cat", "dog"], templates=["a {}", lambda name: f"the {name}"])
    torch.testing.assert_close(weights, torch.tensor([[0.5**0.5, 1.0], [0.5**0.5, 0.0]]))
    fake.create_model = lambda *a, **k: (_ for _ in ()).throw(OSError("no such weights\nmore"))
    with pytest.raises(UserError, match=r"no such weights\)"):
        zero_shot_weights(["cat"])
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(UserError, match=r"kdzoo\[clip\]"):
        zero_shot_weights(["cat"])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w, x, y: AMUTuning(w, kind="variance"), "uncertainty must be one of"),
        (lambda w, x, y: AMUTuning(w, balance=2.0), "balance must be in"),
        (lambda w, x, y: AMUTuning(w).predict(x), "call fit first"),
        (lambda w, x, y: AMUTuning(w).fit((x[0], x[1][:3]), y), "same samples"),
        (lambda w, x, y: AMUTuning(w.T).fit(x, y), "text_weights is"),
        (lambda w, x, y: AMUTuning(w).fit((x[0] * np.nan, x[1]), y), "zero-shot features must be finite"),
        (lambda w, x, y: AMUTuning(w).fit(x, np.zeros(40, int)), "no sample of class 1"),
        (lambda w, x, y: AMUTuning(w).fit(x, y + 1), "y must hold"),
        (lambda w, x, y: AMUTuning(w).start(x[1], y - 1), "y must hold"),
        (lambda w, x, y: AMUTuning(w).fit(x, y + 0.7), "y must hold"),
        (lambda w, x, y: AMUTuning(w).fit((x[0][:0], x[1][:0]), y[:0]), "y must hold"),
        (lambda w, x, y: AMUTuning(w).start(x[1], y).score(x, y[:, None]), r"y must be labels \[40\]"),
        (lambda w, x, y: TipAdapter(w).fit(x[0], y).score(x[0], y[:, None]), r"y must be labels \[40\]"),
        (lambda w, x, y: TipAdapter(w).fit(x[0], y).choose(x[0], y[:1]), r"got \[1\]"),
        (lambda w, x, y: AMUTuning(w[:, 0]), "text_weights must be floating and finite"),
        (lambda w, x, y: TipAdapter(w).fit(x[0], y + 1), "y must hold"),
        (lambda w, x, y: TipAdapter(w).fit(x[0], y[:-1]), "y must hold"),
        (lambda w, x, y: TipAdapter(w).fit(x[0], y * 1.0), "y must hold"),
        (lambda w, x, y: TipAdapter(w.T).fit(x[0], y), "text_weights is"),
        (lambda w, x, y: class_mean_weights(x[0], y - 1), "y must hold"),
        (lambda w, x, y: uncertainty(torch.zeros(2, 4), "top5"), "at least 5 classes"),
    ],
)
def test_mistakes_name_the_argument(shots, call, words):
    weights, (x, y), *_ = shots
    with pytest.raises(ValueError, match=words):
        call(weights, x, y)
