"""Published values of logit pairing and gradient projection."""

import pytest
import torch
import torch.nn.functional as F

from kdzoo.robust.attacks import project_gradients, ramp_logit_pairing


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
