"""Published values: logit pairing, gradient projection, the training form of APGD, the L1 projection in the box."""

import pytest
import torch
import torch.nn.functional as F

from kdzoo.robust.attacks import apgd_train, project_gradients, ramp_logit_pairing
from kdzoo.robust.attacks.ascent import sparse_sign
from kdzoo.robust.attacks.budget import project
from kdzoo.robust.attacks.projections import change_norm


def doubles(values, grad=False):
    return torch.tensor(values, dtype=torch.float64, requires_grad=grad)


def test_logit_pairing_and_its_gradients(golden):
    g = golden["ramp_logit_pairing"]
    r, q, best = (doubles(g[key], True) for key in ("logits_target_L1", "logits_source_Linf", "logits_best"))
    target = torch.tensor(g["y"])
    pairing = ramp_logit_pairing(q, r, target)
    loss = F.cross_entropy(best, target) + g["lambda_"] * pairing
    loss.backward()
    assert pairing.item() == pytest.approx(g["kl"], abs=1e-12)
    assert loss.item() == pytest.approx(g["loss"], abs=1e-12)
    for x, key in ((r, "grad_target"), (q, "grad_source"), (best, "grad_best")):
        torch.testing.assert_close(x.grad, doubles(g[key]), atol=1e-10, rtol=0)
    assert r.grad.abs().max() > 0 and q.grad.abs().max() > 0  # no side is detached
    assert ramp_logit_pairing(q, r, target, "published_mse").item() == pytest.approx(g["mse_variant"], abs=1e-10)


def test_no_image_that_held_gives_zero_and_no_gradient():
    q, r = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    loss = ramp_logit_pairing(q, r, (q.argmax(1) + 1) % 4)
    loss.backward()
    assert loss.item() == 0 and not q.grad.any() and not r.grad.any()


def test_variants_by_hand():
    q, r = doubles([[2.0, 0.0], [0.0, 1.0]]), doubles([[0.0, 1.0], [0.0, 0.0]])
    target = torch.tensor([0, 0])  # only the first image held under q
    assert ramp_logit_pairing(q, r, target, "mse").item() == pytest.approx((4 + 1) / 2)
    assert ramp_logit_pairing(q, r, target, "cosine").item() == pytest.approx(1.0)
    with pytest.raises(ValueError, match="distance must be kl"):
        ramp_logit_pairing(q, r, target, "l2")
    with pytest.raises(ValueError, match=r"got \[2, 2\], \[1, 2\]"):
        ramp_logit_pairing(q, r[:1], target)


@pytest.mark.parametrize("beta", ["0.0", "0.2", "0.5", "0.7", "1.0"])
def test_gradient_projection(golden, beta):
    g = golden["ramp_gradient_projection"]
    states = [{key: doubles(value) for key, value in g[name].items()} for name in ("old", "nat", "adv")]
    merged = project_gradients(*states, beta=float(beta))
    for key, expected in g["result_by_beta"][beta].items():
        torch.testing.assert_close(merged[key], doubles(expected), atol=1e-10, rtol=0)


def test_projection_leaves_counters_and_inputs_alone():
    old = {"w": torch.zeros(2), "n": torch.tensor(1), "table": torch.tensor([1, 2])}
    natural = {"w": torch.ones(2), "n": torch.tensor(2), "table": torch.tensor([3, 4])}
    adversarial = {"w": torch.ones(2), "n": torch.tensor(3), "table": torch.tensor([5, 6])}
    merged = project_gradients(old, natural, adversarial, 0.5)
    assert merged["n"] == 3 and merged["table"].tolist() == [5, 6] and merged["w"].tolist() == [1, 1]
    assert adversarial["w"].tolist() == [1, 1] and merged["n"] is not adversarial["n"]
    with pytest.raises(ValueError, match="'x' is not in all"):
        project_gradients(old, natural | {"x": torch.zeros(1)}, adversarial)
    with pytest.raises(ValueError, match="beta must be from 0 to 1"):
        project_gradients(old, natural, adversarial, 1.5)


@pytest.mark.parametrize("run", ["Linf_it1", "Linf_it10", "L2_it1", "L2_it10", "L1_it1", "L1_it10"])
def test_apgd_train(golden, run):
    g = golden["apgd_train"]
    first, second = torch.tensor(g["W1"]), torch.tensor(g["W2"])
    images, target, case = torch.tensor(g["x"]), torch.tensor(g["y"]).long(), g["runs"][run]
    norm = run.split("_")[0]
    found = apgd_train(lambda x: torch.tanh(x.flatten(1) @ first.T) @ second.T, images, target, norm, case["eps"],
                       case["n_iter"])  # fmt: skip
    torch.testing.assert_close(found.best, torch.tensor(case["x_best"]), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.loss, torch.tensor(case["loss_best"]), atol=1e-5, rtol=0)
    assert (~found.broken).float().tolist() == case["acc"]
    assert change_norm(found.best.double() - images.double(), norm).max() <= case["eps"]
    assert found.best.min() >= 0 and found.best.max() <= 1


@pytest.mark.parametrize("eps", ["0.5", "1.0", "3.0"])
def test_l1_projection_within_the_box(golden, eps):
    g = golden["l1_projection"]
    images, step, expected = (doubles(x)[:, None, None] for x in (g["x"], g["y"], g["by_eps"][eps]["exact"]))
    found = project(images, images + step, "L1", float(eps)) - images
    torch.testing.assert_close(found, expected, atol=1e-8, rtol=0)
    assert (found.abs().sum((1, 2, 3)) <= float(eps) + 1e-12).all()


def test_sparse_step(golden):
    g, case = golden["l1_apgd_step"], golden["apgd_train"]
    gradient = doubles(case["grad_at_x"])
    step = g["step"] * sparse_sign(gradient, torch.full((len(gradient),), g["topk"], dtype=torch.float64))
    torch.testing.assert_close(step.flatten(1), doubles(g["sparse_sign_step"]), atol=1e-8, rtol=0)
    moved = project(doubles(case["x"]), doubles(case["x"]) + step, "L1", g["eps"])
    torch.testing.assert_close(moved.flatten(1), doubles(g["x_next"]), atol=1e-8, rtol=0)


def test_apgd_refuses():
    image = torch.rand(1, 3, 2, 2)
    for arguments, words in (
        (dict(norm="L3"), "norm is expected to be one of Linf, L2, L1"),
        (dict(eps=0.0), "eps is expected to be above 0"),
        (dict(steps=0), "steps is expected to be at least 1"),
    ):
        with pytest.raises(ValueError, match=words):
            apgd_train(lambda x: x.flatten(1), image, torch.tensor([0]), **arguments)
