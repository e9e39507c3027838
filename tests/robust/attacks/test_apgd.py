"""APGD: golden values, equality with the published package per image, budgets in float64, what it does to its model."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks import apgd, apgd_run, apgd_train, ascent
from kdzoo.robust.attacks.apgd import APGD
from kdzoo.robust.attacks.apgd_run import run_apgd
from kdzoo.robust.attacks.attack_loss import LOSSES
from kdzoo.robust.attacks.budget import project, within_budget
from kdzoo.robust.attacks.dlr import dlr, targeted_dlr
from kdzoo.robust.attacks.projections import change_norm, project_l1_box
from kdzoo.robust.attacks.start import apgd_start, start_noise

GOLDEN = json.loads((Path(__file__).parents[2] / "data" / "attacks.json").read_text())
EPS = {"Linf": 0.05, "L2": 0.3, "L1": 0.9}


class Small(nn.Module):
    """A network whose classes are hard enough to reach that some images withstand."""

    def __init__(self, classes=5, scale=3.0, seed=0):
        super().__init__()
        draw = torch.Generator().manual_seed(seed)
        self.first = nn.Parameter(torch.randn(16, 48, generator=draw) / 7)
        self.second = nn.Parameter(scale * torch.randn(classes, 16, generator=draw) / 4)

    def forward(self, x):
        return torch.tanh((x.flatten(1) - 0.5) @ self.first.T * 2) @ self.second.T


def batch(model, count=24, seed=1):
    images = torch.rand(count, 3, 4, 4, generator=torch.Generator().manual_seed(seed))
    target = model(images).argmax(dim=1)
    target[::7] = (target[::7] + 1) % 5 % model.second.shape[0]  # some are wrong from the start
    return images, target


@pytest.mark.parametrize("name", list(GOLDEN["apgd_train"]["runs"]))
def test_training_form_gives_the_golden_values(name):
    golden, run = GOLDEN["apgd_train"], GOLDEN["apgd_train"]["runs"][name]
    first, second = torch.tensor(golden["W1"]), torch.tensor(golden["W2"])
    images, target = torch.tensor(golden["x"]), torch.tensor(golden["y"]).long()
    found = apgd_train(
        lambda x: torch.tanh(x.flatten(1) @ first.T) @ second.T,
        images, target, name.split("_")[0], run["eps"], run["n_iter"],
    )  # fmt: skip
    torch.testing.assert_close(found.best, torch.tensor(run["x_best"]), rtol=0, atol=1e-5)
    torch.testing.assert_close(found.loss, torch.tensor(run["loss_best"]), rtol=0, atol=1e-5)
    assert torch.equal(found.broken, torch.tensor(run["acc"]) == 0)


def test_an_l1_step_gives_the_golden_values():
    golden, case = GOLDEN["l1_apgd_step"], GOLDEN["apgd_train"]
    images, gradient = (torch.tensor(case[key], dtype=torch.float64) for key in ("x", "grad_at_x"))
    share = torch.full((len(gradient),), golden["topk"], dtype=torch.float64)
    step = golden["step"] * ascent.sparse_sign(gradient, share)
    expected, moved = (torch.tensor(golden[key], dtype=torch.float64) for key in ("sparse_sign_step", "x_next"))
    torch.testing.assert_close(step.flatten(1), expected, atol=1e-8, rtol=0)
    found = project(images, images + step, "L1", golden["eps"])
    torch.testing.assert_close(found.flatten(1), moved, atol=1e-8, rtol=0)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (dict(norm="L3"), "norm is expected to be one of Linf, L2, L1"),
        (dict(eps=0.0), "eps is expected to be above 0"),
        (dict(steps=0), "steps is expected to be at least 1"),
    ],
)
def test_the_training_form_refuses(arguments, words):
    with pytest.raises(ValueError, match=words):
        apgd_train(lambda x: x.flatten(1), torch.rand(1, 3, 2, 2), torch.tensor([0]), **arguments)


def test_dlr_gives_the_golden_values():
    golden = GOLDEN["dlr"]
    logits = torch.tensor(golden["logits"], dtype=torch.float64)
    target, wanted = torch.tensor(golden["y"]), torch.tensor(golden["y_target"])
    for found, expected in ((dlr(logits, target), "dlr"), (targeted_dlr(logits, target, wanted), "dlr_targeted")):
        torch.testing.assert_close(found, torch.tensor(golden[expected], dtype=torch.float64), rtol=0, atol=1e-10)


def published_run(model, images, target, norm, loss, start, wanted, steps, exact):
    """The package's own loop, from our start."""
    base = pytest.importorskip("pyautoattack.autopgd_base")
    kind = base.APGDAttack_targeted if loss == "dlr-targeted" else base.APGDAttack
    options = {} if loss == "dlr-targeted" else dict(loss=loss)
    attack = kind(model, n_iter=steps, norm=norm, eps=EPS[norm], device="cpu", **options)
    attack.init_hyperparam(images)
    attack.y_target = wanted
    original = base.L1_projection
    normalize = attack.normalize
    # Its random draw becomes 0 and what it makes of it our start, so that L1 keeps its first share of 20 %.
    first, randn, counted = iter([True]), torch.randn, base.L0_norm
    if norm == "L1":
        torch.randn = torch.zeros
        # Theirs rounds to float32: for equality of the images it is replaced by ours, which has tests of its own.
        # Nor does what their sum x + u + (p - u) leaves of an unchanged pixel (1e-17) then count as a change.
        later = (lambda x, y, eps: project_l1_box(x, y, eps) - y) if exact else original
        base.L0_norm = (lambda x: (x.abs() > 1e-12).flatten(1).sum(dim=1)) if exact else counted
        base.L1_projection = lambda x, y, eps: start - x if next(first, False) else later(x, y, eps)
    else:
        attack.normalize = lambda x: (start - images) / EPS[norm] if next(first, False) else normalize(x)
    torch.set_default_dtype(images.dtype)
    try:
        return attack.attack_single_run(images, target)
    finally:
        torch.set_default_dtype(torch.float32)
        base.L1_projection, base.L0_norm, torch.randn = original, counted, randn


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("norm", list(EPS))
@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
def test_every_image_fares_as_under_the_published_package(norm, loss, seed):
    model = Small(seed=seed)
    images, target = batch(model)
    model, images = model.double(), images.double()
    start = within_budget(apgd_start(images, start_noise(images, seed, 0), norm, EPS[norm]), images, norm, EPS[norm])
    wanted = model(images).argsort(dim=1)[:, -2].detach()
    arguments = model, images, target, norm, loss, start, wanted, 30
    best, held, best_loss, adversarial = published_run(*arguments, exact=True)
    options = dict(steps=30, loss=LOSSES[loss], wanted=wanted)
    with torch.no_grad():
        whole = run_apgd(model, images, target, start, norm, EPS[norm], drop_broken=False, **options)
        short = run_apgd(model, images, target, start, norm, EPS[norm], **options)
    assert torch.equal(whole.broken, ~held) and torch.equal(short.broken, ~held)
    assert 0 < held.sum() < len(held)
    # A step halved ten times follows rounding noise, too: hence 1e-4.
    # Where the true class has fallen to a place in DLR's denominator, DLR is constant and its gradient is rounding
    # noise whose signs mean nothing: there only the outcome can be compared.
    rows = held if loss.startswith("dlr") else torch.ones_like(held)
    torch.testing.assert_close(whole.loss[rows], best_loss[rows], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(whole.best[rows], best[rows], rtol=0, atol=1e-4)
    torch.testing.assert_close(whole.adversarial[rows & ~held], adversarial[rows & ~held], rtol=0, atol=1e-4)
    torch.testing.assert_close(short.adversarial[held], best[held], rtol=0, atol=1e-4)


@pytest.mark.parametrize("norm", list(EPS))
@pytest.mark.parametrize("loss", ["ce", "dlr", "dlr-targeted"])
def test_the_untouched_package_in_float32_breaks_the_same_images(norm, loss):
    model = Small(seed=4)
    images, target = batch(model, 32)
    start = apgd_start(images, start_noise(images, 0, 0), norm, EPS[norm])
    wanted = model(images).argsort(dim=1)[:, -2].detach()
    held = published_run(model, images, target, norm, loss, start, wanted, 30, exact=False)[1]
    with torch.no_grad():
        found = run_apgd(model, images, target, start, norm, EPS[norm], 30, LOSSES[loss], wanted)
    assert torch.equal(found.broken, ~held) and 0 < held.sum() < len(held)


CASES = [dict(type=kind, norm=norm, eps=eps) for kind in ("APGD", "PGD", "APGDTrain") for norm, eps in EPS.items()]
CASES += [dict(type="FGSM", eps=0.03), dict(type="BIM", eps=0.03)]
CASES += [dict(type="DeepFool", eps=0.3), dict(type="CW", eps=0.3, steps=20, searches=2)]
CASES += [dict(type="APGD", norm="L1", eps=2.0, large_eps=True), dict(type="APGD", loss="dlr-targeted", restarts=2)]


@pytest.mark.parametrize("cfg", CASES, ids=lambda cfg: "-".join(map(str, cfg.values())))
def test_never_more_than_the_budget_in_float64(cfg):
    model = Small(scale=6.0)
    images, target = batch(model, 12)
    images[:, :, 0] = images[:, :, 0].round()  # on the border of [0, 1]
    before, small = images.clone(), {"steps": 10} if cfg["type"] == "APGD" else {}
    found = ATTACKS.build(cfg | small)(model.train(), images, target)
    norm = cfg.get("norm", "L2" if cfg["type"] in ("DeepFool", "CW") else "Linf")
    assert change_norm(found.double() - images.double(), norm).max() <= cfg.get("eps", 8 / 255)
    assert 0 <= found.min() and found.max() <= 1 and torch.equal(images, before)
    assert model.training and all(p.requires_grad and p.grad is None for p in model.parameters())


def test_every_registered_attack_is_held_to_its_budget():
    assert {cfg["type"] for cfg in CASES} >= set(ATTACKS.names()) & {
        "APGD", "APGDTrain", "BIM", "CW", "DeepFool", "FGSM", "PGD",
    }  # fmt: skip


@pytest.mark.parametrize("norm", list(EPS))
def test_an_image_does_not_feel_the_others_of_its_batch(norm):
    model = Small().double()
    images, target = (part for part in batch(model.float()))
    model, images = model.double(), images.double()
    attack = APGD(norm, EPS[norm], steps=20)
    whole = attack.attack(model, images, target)
    part = attack.attack(model, images[5:9], target[5:9], numbers=range(5, 9))
    torch.testing.assert_close(part.adversarial, whole.adversarial[5:9], rtol=0, atol=1e-9)
    assert torch.equal(part.broken, whole.broken[5:9])
    one = attack.attack(model, images[6:7], target[6:7], numbers=[6])
    torch.testing.assert_close(one.adversarial, whole.adversarial[6:7], rtol=0, atol=1e-9)


def test_broken_says_what_the_model_says():
    model = Small()
    images, target = batch(model)
    found = APGD("Linf", 0.05, steps=20, loss="dlr-targeted").attack(model, images, target)
    assert torch.equal(model(found.adversarial).argmax(dim=1) != target, found.broken)
    wrong = model(images).argmax(dim=1) != target
    assert torch.equal(found.adversarial[wrong], images[wrong])
    more = APGD("Linf", 0.05, steps=20, restarts=3).attack(model, images, target).broken
    assert more.sum() >= APGD("Linf", 0.05, steps=20).attack(model, images, target).broken.sum()


def test_no_wait_for_the_device_between_the_places_named(monkeypatch):
    """Dropping is asked for at the checks and after 1, 2, 4, ... steps on a device that has to be waited for."""
    model, asked = Small(), []
    images, target = batch(model)
    monkeypatch.setattr(apgd_run, "_drop", lambda state, result: asked.append(1) or state)
    run_apgd(model, images, target, images, "Linf", 0.05, 100, LOSSES["ce"], drop_broken=False)
    assert not asked


def test_few_classes_fall_back_and_say_so():
    for classes, loss in ((2, "dlr"), (2, "dlr-targeted"), (3, "dlr-targeted")):
        model = Small(classes)
        images = torch.rand(4, 3, 4, 4)
        target = model(images).argmax(dim=1)
        with pytest.warns(UserWarning, match=rf"needs . classes but the model has {classes}"):
            found = apgd(model, images, target, "Linf", 0.2, 5, loss)
        assert (found - images).abs().max() > 0


def test_probabilities_are_told():
    model = Small()
    images, target = batch(model)
    with pytest.warns(UserWarning, match="returns probabilities"):
        apgd(nn.Sequential(model, nn.Softmax(dim=1)), images, target, "Linf", 0.01, 2)


@pytest.mark.parametrize(
    "change, match",
    [
        (dict(images=torch.full((2, 3, 4, 4), 1.5)), r"images are expected in \[0, 1\]"),
        (dict(images=torch.full((2, 3, 4, 4), float("nan"))), r"images are expected in \[0, 1\]"),
        (dict(images=torch.ones(2, 3, 4, 4, dtype=torch.uint8)), "divide by 255"),
        (dict(target=torch.tensor([0, 5])), r"labels are expected in 0\.\.4"),
        (dict(target=torch.tensor([-1, 0])), r"labels are expected in 0\.\.4"),
        (dict(target=torch.tensor([0])), "2 class numbers"),
        (dict(eps=0.0), "eps is expected to be above 0"),
        (dict(eps=8), "more than the box"),
        (dict(norm="L2", eps=7.0), "more than the box"),
        (dict(norm="linf"), "Linf, L2, L1"),
        (dict(loss="cw"), "loss is expected"),
        (dict(steps=0), "1 or more"),
    ],
)
def test_mistakes_are_told(change, match):
    call = dict(images=torch.rand(2, 3, 4, 4), target=torch.tensor([0, 1]), norm="Linf", eps=0.1, steps=2, loss="ce")
    call |= change
    with pytest.raises(ValueError, match=match):
        apgd(Small(), call["images"], call["target"], call["norm"], call["eps"], call["steps"], call["loss"])


def test_an_l1_step_moves_as_many_pixels_as_it_should():
    gradient = torch.arange(1.0, 21.0).view(1, 20)
    images = torch.full((1, 20), 0.5)
    moved = ascent.l1_step(images, gradient, images, torch.full((1, 1), 0.4), torch.tensor([0.1]), 1.0)
    assert (moved != images).sum() == 2 and moved[0, -1] > 0.5


NAMES = ["FGSM", "BIM", "PGD", "APGD", "APGDTrain", "DeepFool", "CW"]


@pytest.mark.parametrize("name", NAMES)
def test_every_attack_refuses_labels_and_images_out_of_range(name):
    attack, images = ATTACKS.build(dict(type=name)), torch.rand(2, 3, 4, 4)
    with pytest.raises(ValueError, match=r"labels are expected in 0\.\.4"):
        attack(Small(), images, torch.tensor([0, 7]))
    with pytest.raises(ValueError, match=r"images are expected in \[0, 1\]"):
        attack(Small(), images + 1, torch.tensor([0, 1]))
    for wrong in (torch.tensor([0.0, 1.0]), torch.tensor([False, True])):
        with pytest.raises(ValueError, match="target is expected as 2 class numbers"):
            attack(Small(), images, wrong)
    with pytest.raises(ValueError, match="logits of clean images are nan"):
        attack(lambda x: x.flatten(1) * float("nan"), images, torch.tensor([0, 1]))


@pytest.mark.parametrize("name", NAMES)
def test_images_of_inference_mode_or_with_gradients_and_short_labels_are_attacked_alike(name):
    attack, model = ATTACKS.build(dict(type=name)), Small()
    images, target = batch(model, 3)
    expected = attack(model, images, target)
    with torch.inference_mode():
        torch.testing.assert_close(attack(model, images.clone(), target.clone()), expected)
    found = attack(model, images.clone().requires_grad_(), target.int())
    assert not found.requires_grad
    torch.testing.assert_close(found, expected)
    for dtype in (torch.uint8, torch.uint16):
        torch.testing.assert_close(attack(model, images, target.to(dtype)), expected)


class Tied(nn.Module):
    """Five classes whose logits are rounded, as bfloat16 rounds them; 0 and 3 are equal on grey images."""

    def forward(self, x):
        value = x.flatten(1).mean(dim=1) - 0.5
        exact = torch.stack([1 - value, value - 4, value - 5, 1 + value, value - 6], dim=1)
        return exact + (torch.round(exact.detach() * 8) / 8 - exact.detach())


@pytest.mark.parametrize("loss", ["ce-targeted", "dlr-targeted"])
def test_the_first_target_is_another_class_where_logits_are_equal(loss):
    images, target = torch.full((4, 3, 4, 4), 0.5), torch.zeros(4, dtype=torch.int64)
    found = apgd(Tied(), images, target, "Linf", 0.1, 10, loss, targets=1)
    assert (Tied()(found).argmax(dim=1) == 3).all()


def test_apgd_refuses_half_precision():
    # 150,528 pixels are more than float16 can count.
    with pytest.raises(ValueError, match="expected float32 or float64 but got torch.float16"):
        apgd(Small(), torch.rand(1, 3, 4, 4).half(), torch.tensor([0]))


@pytest.mark.parametrize("name", ["DeepFool", "CW"])
def test_an_l2_budget_beyond_the_box_is_told(name):
    with pytest.raises(ValueError, match="more than the box"):
        ATTACKS.build(dict(type=name, eps=7.0))(Small(), torch.rand(1, 3, 4, 4), torch.tensor([0]))
