"""AutoAttack: the published ensemble, the same answers as pyautoattack's, budgets, cards, the union of norms."""

import json
from dataclasses import replace

import pytest
import torch
from autoattack_case import EPS, SHORT, example
from torch import nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.autoattack import AutoAttack, Union, runner
from kdzoo.robust.attacks.autoattack.model_info import write_model_info
from kdzoo.robust.attacks.autoattack.versions import parts_of
from kdzoo.robust.attacks.budget import keeps_budget, within_budget
from kdzoo.robust.attacks.projections import change_norm

pyautoattack = pytest.importorskip("pyautoattack")


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
@pytest.mark.parametrize("version", ["standard", "plus", "rand"])
def test_versions_have_the_attacks_and_parameters_of_pyautoattack(version, norm):
    peer = pyautoattack.AutoAttack(nn.Identity(), norm=norm, eps=0.1, version=version)
    parts = parts_of(version, norm)
    assert [part.name for part in parts] == peer.attacks_to_run
    for part in parts:
        if part.name in ("apgd-ce", "apgd-dlr"):
            assert (part.steps, part.restarts, part.eot, part.larger_eps) == (
                peer.apgd.n_iter, peer.apgd.n_restarts, peer.apgd.eot_iter, peer.apgd.use_largereps,
            )  # fmt: skip
        elif part.name == "apgd-t":
            other = peer.apgd_targeted
            assert (part.steps, part.restarts, part.targets, part.eot, part.larger_eps) == (
                other.n_iter, other.n_restarts, other.n_target_classes, other.eot_iter, other.use_largereps,
            )  # fmt: skip
        elif part.name == "square":
            other = peer.square
            assert (part.queries, part.restarts, 0.8, False) == (
                other.n_queries, other.n_restarts, other.p_init, other.rescale_schedule,
            )  # fmt: skip
        else:
            restarts = 1 if part.name == "fab-t" else peer.fab.n_restarts
            assert (part.steps, part.restarts) == (peer.fab.n_iter, restarts)
            assert part.name == "fab" or part.targets == peer.fab.n_target_classes


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_the_same_points_fall_as_with_pyautoattack(norm, monkeypatch):
    model, x, y = example()
    monkeypatch.setattr(runner, "seed_of", lambda *_: 7)
    attack = AutoAttack(norm, EPS[norm], "custom", SHORT, fold=False, backend="pyautoattack")
    result = attack.evaluate(model, x, y)
    peer = pyautoattack.AutoAttack(
        model, norm=norm, eps=EPS[norm], seed=7, version="custom", attacks=[part["name"] for part in SHORT]
    )
    # The peer fixes its schedule when it is built, so the attacks of fewer steps are put in place of its own.
    from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted

    common = dict(n_iter=5, norm=norm, eps=EPS[norm], n_restarts=1, device="cpu")
    peer.apgd = APGDAttack(model, **common)
    peer.apgd_targeted = APGDAttack_targeted(model, n_target_classes=4, **common)
    peer.fab.n_iter, peer.fab.n_target_classes, peer.square.n_queries = 5, 4, 40
    found, said = peer.run_standard_evaluation(x, y, batch_size=250)
    assert result.robust.tolist() == (said == y).tolist()
    assert 0 < int(result.robust.sum()) < len(x) - 1, "nothing to tell the attacks apart"
    torch.testing.assert_close(result.images(x)[~result.robust], found[~result.robust], rtol=0, atol=2e-6)


def test_every_hit_is_inside_the_budget_and_wrong_in_a_plain_forward_pass():
    model, x, y = example()
    for norm, eps in EPS.items():
        result = AutoAttack(norm, eps, "custom", SHORT, chunk=7).evaluate(model, x, y)
        images = result.images(x)
        assert keeps_budget(images, x, norm, eps).all()
        assert float(change_norm(images.double() - x.double(), norm).max()) <= eps
        with torch.no_grad():
            predicted = model(images).argmax(dim=1)
        assert ((predicted == y) == result.robust).all() and (predicted == result.predicted).all()
        shares = list(result.after.values())
        assert shares == sorted(shares, reverse=True) and shares[0] == result.clean_accuracy == 22 / 23
        assert shares[-1] == result.robust_accuracy == result.outcomes().count("robust") / 23
        assert result.outcomes()[0] == "clean" and set(result.outcomes()) > {"clean", "apgd-ce"}


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_within_budget_is_exact_in_float64_and_changes_little(norm):
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(200, 3, 6, 6, generator=generator)
    x[:50] = x[:50].round()  # at the box's walls
    for eps in (EPS[norm], EPS[norm] / 1000):
        y = x + torch.randn(x.shape, generator=generator) * eps * torch.rand(200, 1, 1, 1, generator=generator)
        found = within_budget(y, x, norm, eps)
        assert found.dtype == torch.float32 and keeps_budget(found, x, norm, eps).all()
        kept = keeps_budget(y, x, norm, eps * 0.999)
        torch.testing.assert_close(found[kept], y[kept], rtol=0, atol=1e-7)
    assert not keeps_budget(torch.full_like(x, float("nan")), x, norm, 1.0).any()
    assert keeps_budget(within_budget(torch.full_like(x, float("nan")).nan_to_num(), x, norm, 0.1), x, norm, 0.1).all()


def test_what_an_attack_claims_beyond_the_budget_or_without_a_wrong_class_is_not_counted(monkeypatch):
    model, x, y = example()
    monkeypatch.setattr(runner, "perturb", lambda part, network, images, *_: (images + 1e-4).clamp(0, 1))
    assert AutoAttack(version="custom", attacks=["square"]).evaluate(model, x, y).robust_accuracy == 22 / 23
    monkeypatch.setattr(runner, "perturb", lambda part, network, images, *_: torch.rand_like(images))
    result = AutoAttack(version="custom", attacks=["square"], eps=1e-6).evaluate(model, x, y)
    assert keeps_budget(result.images(x), x, "Linf", 1e-6).all()


def test_it_is_registered_and_returns_a_batch():
    model, x, y = example()
    attack = ATTACKS.build(dict(type="AutoAttack", eps=0.03, version="custom", attacks=SHORT))
    found = attack(model, x, y)
    assert found.shape == x.shape and float(change_norm(found.double() - x.double(), "Linf").max()) <= 0.03
    assert (model(found).argmax(dim=1) != y).sum() > 1


def test_bf16_search_counts_only_what_holds_in_float32():
    model, x, y = example()
    attack = AutoAttack("Linf", 0.03, "custom", SHORT, fast=True)
    result = attack.evaluate(model, x, y)
    with torch.no_grad():
        assert ((model(result.images(x)).argmax(dim=1) == y) == result.robust).all()
    plain = replace(attack, fast=False).evaluate(model, x, y)
    assert result.settings["fast"] and abs(result.robust_accuracy - plain.robust_accuracy) <= 3 / 23


def test_what_bf16_leaves_is_attacked_once_more_in_float32(monkeypatch):
    model, x, y = example()
    calls = []

    def seen(part, network, images, *_):
        calls.append((network.bf16, len(images)))
        return images

    monkeypatch.setattr(runner, "perturb", seen)
    AutoAttack(version="custom", attacks=["square"], fast=True).evaluate(model, x, y)
    assert calls == [(True, 22), (False, 22)]


def test_the_cards_footnote_says_what_was_measured_and_keeps_what_people_wrote(tmp_path):
    model, x, y = example()
    result = AutoAttack("Linf", 0.01, "custom", SHORT[:1]).evaluate(model, x, y)
    result.version = "standard"
    card = tmp_path / "card.json"

    def footnote(test_images):
        return write_model_info(card, result, "cifar10", "small", test_images)["footnote"]

    assert footnote(100) == footnote(100) == "Measured on 23 of 100 test images."
    assert footnote(23) is None, "all of them now"
    card.write_text(json.dumps(dict(footnote="Trained on more data.")))
    assert footnote(100) == footnote(100) == "Trained on more data. Measured on 23 of 100 test images."
    assert footnote(23) == "Trained on more data."


def test_union_is_the_and_of_the_norms():
    model, x, y = example()
    attacks = [AutoAttack(norm, eps, "custom", SHORT[:2]) for norm, eps in EPS.items()]
    results = [attack.evaluate(model, x, y) for attack in attacks]
    union = Union(results)
    expected = [all(result.outcomes()[row] == "robust" for result in results) for row in range(len(x))]
    assert union.robust.tolist() == expected and union.robust_accuracy == sum(expected) / len(x)
    assert union.robust_accuracy <= min(result.robust_accuracy for result in results)
    assert json.loads(json.dumps(union.record()))["union_accuracy"] == union.robust_accuracy
    assert "union" in union.table() and "L1" in union.table()
    with pytest.raises(ValueError, match="other images"):
        Union([results[0], attacks[1].evaluate(model, x[:5], y[:5])])


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_both_backends_break_about_the_same_images(norm):
    model, x, y = example(images=60)
    parts = [dict(name=name, steps=20, larger_eps=norm == "L1") for name in ("apgd-ce", "apgd-dlr", "apgd-t")]
    attack = AutoAttack(norm, EPS[norm], "custom", parts)
    own, peer = (replace(attack, backend=backend).evaluate(model, x, y) for backend in ("kdzoo", "pyautoattack"))
    assert (own.robust != peer.robust).sum() <= 2 and 0 < peer.robust_accuracy < peer.clean_accuracy
    assert own.settings["backend"] == "kdzoo" and keeps_budget(own.images(x), x, norm, EPS[norm]).all()
