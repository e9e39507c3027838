"""AutoAttack: the published ensemble, the same answers as pyautoattack's, states, shards, few classes, bad input."""

import copy
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from autoattack_case import EPS, SHORT, example, same
from safetensors.torch import load_file
from torch import nn

from kdzoo.errors import UserError
from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.autoattack import AutoAttack, Union, runner
from kdzoo.robust.attacks.autoattack.model_info import write_model_info
from kdzoo.robust.attacks.autoattack.state import model_fingerprint
from kdzoo.robust.attacks.autoattack.versions import Part, fit_classes, parts_of
from kdzoo.robust.attacks.budget import keeps_budget, within_budget
from kdzoo.robust.attacks.projections import change_norm
from kdzoo.robust.certify.run import Shard

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


@pytest.mark.parametrize("classes", [2, 3, 4, 30])
def test_few_and_many_classes(classes):
    model, x, y = example(classes)
    parts = [*SHORT, dict(name="apgd-dlr", steps=4), dict(name="fab", steps=3)]
    result = AutoAttack("L2", 0.5, "custom", parts).evaluate(model, x, y)
    said = [caution.message for caution in result.warnings if caution.kind == "classes"]
    targets = [part["targets"] for part in result.settings["attacks"]]
    assert targets[1] == targets[2] == min(9, classes - 1)
    assert any("apgd-t: its DLR loss needs 4" in text for text in said) == (classes < 4)
    assert any("apgd-dlr: its DLR loss needs 3" in text for text in said) == (classes < 3)
    assert sum("target classes instead of 9" in text for text in said) == 2 * (classes < 10)
    assert result.robust_accuracy < result.clean_accuracy


def test_images_of_float64_and_short_labels():
    model, x, y = example()
    attack = AutoAttack("Linf", 0.02, "custom", SHORT[:2])
    same(attack.evaluate(model, x.double(), y.int()), attack.evaluate(model, x, y))


def test_a_network_of_one_class_can_not_be_attacked():
    with pytest.raises(ValueError, match="2 classes"):
        fit_classes(parts_of("standard", "Linf"), 1)


def test_seeds_and_one_image_at_a_time():
    model, x, y = example()
    square = [dict(name="square", queries=15)]
    attack = AutoAttack("Linf", 0.02, "custom", square, chunk=1)
    first = attack.evaluate(model, x, y)
    same(first, attack.evaluate(model, x, y))
    other = replace(attack, seed=1).evaluate(model, x, y)
    assert any(not torch.equal(a, b) for a, b in zip(first.images(x), other.images(x), strict=True))
    before = torch.get_rng_state()
    attack.evaluate(model, x[:2], y[:2])
    assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers were used up"


class Noisy(nn.Module):
    """Random in evaluation mode, as a randomised defence is."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images + 0.05 * torch.randn_like(images))


def test_a_random_network_gives_the_same_result_in_every_run_and_share(tmp_path):
    model, x, y = example()
    model, results = Noisy(model).eval(), []
    attack = AutoAttack("Linf", 0.02, "custom", [dict(name="apgd-ce", steps=4, eot=2), SHORT[3]], chunk=6)
    for seed, shards in ((1, 1), (2, 1), (3, 2)):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        parts = [attack.evaluate(model, x, y, tmp_path / str(seed), Shard(i, shards)) for i in range(shards)]
        assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers were used up"
        results.append(parts[-1])
    assert 0 < results[0].robust_accuracy < results[0].clean_accuracy
    same(results[0], results[1])
    same(results[0], results[2])


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


def test_shards_merge_to_the_result_of_one_process(tmp_path):
    model, x, y = example()
    attack = AutoAttack("L1", 3.0, "custom", SHORT, chunk=4)
    whole = attack.evaluate(model, x, y)
    parts = [attack.evaluate(model, x, y, tmp_path, Shard(number, 3)) for number in range(3)]
    assert [part.complete for part in parts] == [False, False, True]
    assert len(parts[0].target) == 8 and parts[0].robust.tolist() == whole.robust[[0, 1, 2, 3, 12, 13, 14, 15]].tolist()
    same(parts[2], whole)
    same(attack.evaluate(model, x, y, tmp_path, Shard(1, 6)), whole)  # nothing is left to do
    with pytest.raises(ValueError, match="too few for 2 processes; use a chunk .* of 2"):
        attack.evaluate(model, x[:4], y[:4], tmp_path / "other", Shard(1, 2))


SCRIPT = """
import sys
from autoattack_case import EPS, SHORT, example
from kdzoo.robust.attacks.autoattack import AutoAttack
model, x, y = example()
AutoAttack("Linf", EPS["Linf"], "custom", SHORT, chunk=4).evaluate(model, x, y, sys.argv[1])
"""


def test_a_killed_run_goes_on_to_the_same_result(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=paths)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "state")], env=environment)
    limit = time.monotonic() + 120
    first = tmp_path / "state" / "chunk00001.safetensors"
    while time.monotonic() < limit and not (first.exists() and len(load_file(first)["seconds"]) >= 2):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = tmp_path / "state" / "chunk00005.safetensors"
    assert len(load_file(last)["seconds"]) < 5, "killed too late to test anything"
    model, x, y = example()
    attack = AutoAttack("Linf", EPS["Linf"], "custom", SHORT, chunk=4)
    stages = []
    resumed = attack.evaluate(model, x, y, tmp_path / "state", progress=lambda seen: stages.append(seen))
    whole = attack.evaluate(model, x, y)
    same(resumed, whole)
    assert stages[0].seconds_left > 0 and stages[-1].seconds_left == 0 and stages[-1].done == len(x)


def test_interrupted_between_any_two_attacks_it_goes_on(tmp_path, monkeypatch):
    model, x, y = example()
    attack = AutoAttack("L2", EPS["L2"], "custom", SHORT[:2] + SHORT[3:], chunk=12)
    whole = attack.evaluate(model, x, y)
    real, calls = runner.perturb, []

    def once(*arguments):
        calls.append(arguments[0].name)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(runner, "perturb", once)
    for _ in range(7):
        calls.clear()  # one attack on one chunk gets done, the next is interrupted
        try:
            same(attack.evaluate(model, x, y, tmp_path), whole)
            break
        except KeyboardInterrupt:
            continue
    else:
        pytest.fail("it never came to its end")


def test_a_folder_of_another_run_is_refused_and_left_alone(tmp_path):
    model, x, y = example()
    attack = AutoAttack("Linf", 0.01, "custom", SHORT[:1], chunk=8)
    before = attack.evaluate(model, x, y, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other_model, _, _ = example()
    with torch.no_grad():
        other_model[0].weight.add_(1e-3)
    for wrong, arguments, name in [
        (replace(attack, eps=0.02), (model, x, y), "eps"),
        (replace(attack, seed=3), (model, x, y), "seed"),
        (replace(attack, attacks=SHORT[:2]), (model, x, y), "attacks"),
        (replace(attack, chunk=9), (model, x, y), "chunk"),
        (attack, (other_model, x, y), "model"),
        (attack, (model, x.flip(0), y), "images"),
    ]:
        with pytest.raises(UserError, match=f"holds a run with {name} = .*choose another --out"):
            wrong.evaluate(*arguments, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    same(attack.evaluate(model, x, y, tmp_path), before)
    (tmp_path / "chunk00001.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match="chunk00001.* is damaged.*delete it"):
        attack.evaluate(model, x, y, tmp_path)
    (tmp_path / "key.json").unlink()
    with pytest.raises(UserError, match="no key.json"):
        attack.evaluate(model, x, y, tmp_path)


def test_the_same_weights_in_another_network_are_another_model(tmp_path):
    model, x, y = example()

    class Own(nn.Module):
        def __init__(self, activation):
            super().__init__()
            self.network, self.activation = model, activation

        def forward(self, images):
            return self.activation(self.network(images))

    plain, steep = Own(partial(torch.mul, other=1.0)), Own(partial(torch.mul, other=2.0))
    wider = copy.deepcopy(model)
    next(module for module in wider.modules() if isinstance(module, nn.Conv2d)).dilation = (2, 2)
    names = [model_fingerprint(each) for each in (model, wider, plain, steep, Own(torch.tanh), Own(torch.relu))]
    assert len(set(names)) == 6 and model_fingerprint(Own(torch.relu)) == names[-1]
    attack = AutoAttack("Linf", 0.01, "custom", SHORT[:1])
    attack.evaluate(plain.eval(), x, y, tmp_path)
    with pytest.raises(UserError, match="holds a run with model"):
        attack.evaluate(Own(torch.tanh).eval(), x, y, tmp_path)


class Normalised(nn.Module):
    """A network behind a mean that no state dict holds."""

    def __init__(self, network, mean, as_buffer, wrap=torch.tensor):
        super().__init__()
        self.network = network
        if as_buffer:
            self.register_buffer("shift", torch.tensor([mean]), persistent=False)
        else:
            self.shift = wrap([mean])

    def forward(self, images):
        return self.network(images - torch.as_tensor(self.shift, dtype=images.dtype))


def test_another_normalisation_is_another_model_whether_or_not_the_state_dict_has_it(tmp_path):
    model, x, y = example()
    for kind in ((True, torch.tensor), (False, torch.tensor), (False, np.array)):
        names = [model_fingerprint(nn.Sequential(Normalised(model, mean, *kind))) for mean in (0.1, 0.5, 0.1)]
        assert names[0] == names[2] != names[1]
    assert model_fingerprint(Normalised(model, 0.0, True)) != model_fingerprint(model)
    attack = AutoAttack("Linf", 0.01, "custom", SHORT[:1])
    attack.evaluate(nn.Sequential(Normalised(model, 0.0, True)).eval(), x, y, tmp_path)
    with pytest.raises(UserError, match="holds a run with model"):
        attack.evaluate(nn.Sequential(Normalised(model, 0.1, True)).eval(), x, y, tmp_path)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_that_is_made_in_every_pass_does_not_change_the_fingerprint():
    layer = nn.utils.weight_norm(nn.Linear(3, 3))
    other = nn.utils.weight_norm(nn.Linear(3, 3))
    other.load_state_dict(layer.state_dict())
    assert not torch.equal(layer.weight, other.weight) and model_fingerprint(layer) == model_fingerprint(other)


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


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(images=lambda x: x * 255), "expected in .0, 1. but are in"),
        (dict(images=lambda x: x - 0.5), "expected in .0, 1."),
        (dict(images=lambda x: x * float("nan")), "expected in .0, 1."),
        (dict(images=lambda x: x[0]), "N, C, H, W"),
        (dict(images=lambda x: x[:, :, :4, :4]), "5 x 5"),
        (dict(target=lambda y: y + 5), "labels are expected from 0 to 4"),
        (dict(target=lambda y: y - 1), "labels are expected from 0 to 4"),
        (dict(target=lambda y: y[:3]), "whole numbers"),
        (dict(target=lambda y: y > 0), "whole numbers"),
        (dict(model=lambda m: nn.Sequential(m, nn.Threshold(1e9, float("nan"))).eval()), "are nan"),
        (dict(model=lambda m: m.train()), "training mode"),
        (dict(model=lambda m: (m[1].train(), m)[1]), "training mode .module '1'."),
        (dict(model=lambda m: m.forward), "wrap it"),
        (dict(norm="L2", eps=14.0), "whole box"),
        (dict(norm="L1", eps=192.0), "whole box"),
    ],
)
def test_bad_input_is_told_in_one_line(change, message):
    model, x, y = example()
    call = dict(model=model, images=x, target=y)
    settings = {key: change[key] for key in ("norm", "eps") if key in change}
    call |= {key: function(call[key]) for key, function in change.items() if key in call}
    with pytest.raises(ValueError, match=message) as error:
        AutoAttack(version="custom", attacks=SHORT[:1], **settings).evaluate(**call)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(eps=0), "above 0"),
        (dict(eps=float("nan")), "above 0"),
        (dict(eps=8), "write 8/255, not 8"),
        (dict(norm="linf"), "one of Linf, L2, L1"),
        (dict(version="full"), "one of standard"),
        (dict(version="custom"), "needs attacks"),
        (dict(attacks=["square"]), "version='custom'"),
        (dict(version="custom", attacks=["squar"]), "did you mean 'square'"),
        (dict(version="custom", attacks=[dict(name="square", queries=0)]), "queries"),
        (dict(version="custom", attacks=[dict(nam="square")]), "a name or a dict"),
        (dict(chunk=0), "chunk"),
        (dict(backend="peer"), "one of kdzoo, pyautoattack"),
    ],
)
def test_bad_settings_are_told_before_anything_runs(settings, message):
    with pytest.raises(ValueError, match=message):
        AutoAttack(**settings)


@pytest.mark.parametrize("norm", ["Linf", "L2", "L1"])
def test_both_backends_break_about_the_same_images(norm):
    model, x, y = example(images=60)
    parts = [dict(name=name, steps=20, larger_eps=norm == "L1") for name in ("apgd-ce", "apgd-dlr", "apgd-t")]
    attack = AutoAttack(norm, EPS[norm], "custom", parts)
    own, peer = (replace(attack, backend=backend).evaluate(model, x, y) for backend in ("kdzoo", "pyautoattack"))
    assert (own.robust != peer.robust).sum() <= 2 and 0 < peer.robust_accuracy < peer.clean_accuracy
    assert own.settings["backend"] == "kdzoo" and keeps_budget(own.images(x), x, norm, EPS[norm]).all()


def test_apgd_alone_needs_no_pyautoattack(monkeypatch):
    model, x, y = example()
    monkeypatch.setitem(sys.modules, "pyautoattack.square", None)
    result = AutoAttack(version="custom", attacks=SHORT[:2]).evaluate(model, x, y)
    assert result.robust_accuracy < result.clean_accuracy
    with pytest.raises(UserError, match="pip install pyautoattack"):
        AutoAttack().evaluate(model, x, y)


def test_custom_takes_names_dicts_and_parts():
    parts = parts_of("custom", "L2", ["apgd-dlr", dict(name="square", queries=9), Part("fab-t", targets=3)])
    assert [part.restarts for part in parts] == [5, 1, 1] and parts[1].queries == 9 and parts[2].targets == 3
