"""The step-size cap of Ghosts of Softmax: radii, and the shortened steps of real optimizers."""

import json
import math
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler

from kdzoo.engine.orthograd import orthograd
from kdzoo.engine.step_cap import LogitGapScale, StepCap, convergence_radius
from kdzoo.errors import UserError

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "heads.json").read_text())


def float64(x):
    return torch.tensor(x, dtype=torch.float64)


def test_radius_golden():
    golden = GOLDEN["ghosts_radius"]
    radius = convergence_radius(float64(golden["a"]))
    torch.testing.assert_close(radius, float64(golden["rho_a_per_sample"]), rtol=1e-6, atol=0)  # a has 6 digits
    assert radius.min().item() == pytest.approx(golden["rho_a_batch_min"], rel=1e-6)


def test_binary_radius_golden():
    golden = GOLDEN["ghosts_binary"]
    delta, slope = float64(golden["delta"]), float64(golden["Delta_a"])
    rows = torch.stack([slope, torch.zeros_like(slope)], dim=1), torch.stack([delta, torch.zeros_like(delta)], dim=1)
    torch.testing.assert_close(convergence_radius(*rows), float64(golden["rho_star"]), rtol=1e-9, atol=0)
    assert (convergence_radius(rows[0]) <= convergence_radius(*rows)).all()


def test_equal_slopes_set_no_bound():
    assert convergence_radius(torch.ones(2, 3)).isinf().all()


def linear(golden, direction):
    """The golden file's linear classifier with a gradient along -direction."""
    model = nn.Linear(3, 5, bias=False).double()
    with torch.no_grad():
        model.weight.copy_(float64(golden["W"]).T)
    model.weight.grad = -direction.T.contiguous()
    return model


@pytest.mark.parametrize(("lr", "limit"), [(0.01, 1.0), (10.0, 1.0), (10.0, 0.3)])
def test_step_is_shortened_to_the_radius(lr, limit):
    golden = GOLDEN["ghosts_radius"]
    direction = float64(golden["V"])
    model = linear(golden, direction)
    start = model.weight.detach().clone()
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    cap = StepCap(optimizer, model, limit)
    cap.watch(float64(golden["X"]))
    optimizer.step()
    radius = golden["rho_a_batch_min"]  # in lengths of the direction
    assert cap.ratio.item() == pytest.approx(lr / radius, rel=1e-5)
    torch.testing.assert_close(model.weight - start, min(lr, limit * radius) * direction.T, rtol=1e-5, atol=1e-9)


def test_golden_radius_along_the_negative_gradient():
    golden = GOLDEN["ghosts_radius"]
    model = linear(golden, float64(golden["V"]))
    images, labels = float64(golden["X"]), torch.tensor(golden["labels"])
    model.zero_grad()
    nn.functional.cross_entropy(model(images), labels).backward()
    unit = -(model.weight.grad / model.weight.grad.norm()).T
    torch.testing.assert_close(unit, float64(golden["unit_neg_grad_dir"]), rtol=1e-8, atol=1e-8)
    optimizer = torch.optim.SGD(model.parameters(), lr=1 / model.weight.grad.norm().item())
    cap = StepCap(optimizer, model)
    cap.watch(images)
    optimizer.step()
    assert 1 / cap.ratio.item() == pytest.approx(golden["rho_a_neg_grad_batch"], rel=1e-8)


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.GELU(), nn.Flatten(), nn.Linear(16, 3))


def batch(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(8, 1, 4, 4, generator=generator), torch.randint(3, (8,), generator=generator)


def train(model, optimizer, cap=None, steps=4):
    for seed in range(steps):
        images, target = batch(seed)
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), target).backward()
        if cap is not None:
            cap.watch(images)
        optimizer.step()


OPTIMIZERS = {
    "momentum": lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=5e-4),
    "AdamW": lambda p: torch.optim.AdamW(p, lr=0.01),
}


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_steps_below_the_radius_stay_as_they_are_to_the_bit(make):
    model, twin = network(), network()
    optimizer = make(model.parameters())
    cap = StepCap(optimizer, model, limit=1e6)
    train(model, optimizer, cap)
    train(twin, make(twin.parameters()))
    assert cap.scale == 1 and cap.ratio > 0
    for (name, x), (_, y) in zip(model.state_dict().items(), twin.state_dict().items(), strict=True):
        assert torch.equal(x, y), name  # weights and the statistics of batch normalisation


@pytest.mark.parametrize("make", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_ratio_is_the_change_of_the_logits_by_finite_differences(make):
    model = network().double()
    optimizer = make(model.parameters())
    cap = StepCap(optimizer, model, limit=1e-3)
    images, target = batch()
    images = images.double()
    nn.functional.cross_entropy(model(images), target).backward()
    before, state = [p.detach().clone() for p in model.parameters()], model.state_dict()
    cap.watch(images)
    optimizer.step()
    assert cap.scale < 1
    step = [(p.detach() - old) / cap.scale for p, old in zip(model.parameters(), before, strict=True)]

    def logits_at(distance):
        with torch.no_grad():
            for p, old, s in zip(model.parameters(), before, step, strict=True):
                p.copy_(old + distance * s)
            return model(images)

    slopes = (logits_at(1e-6) - logits_at(-1e-6)) / 2e-6
    spread = (slopes.amax(dim=1) - slopes.amin(dim=1)).max().item()
    assert cap.ratio.item() == pytest.approx(spread / math.pi, rel=1e-6)
    assert state.keys() == model.state_dict().keys()


def test_parameters_outside_the_model_and_frozen_ones():
    model, adapter = network(), nn.Linear(2, 2)
    model[0].requires_grad_(False)
    parameters = [p for p in model.parameters() if p.requires_grad] + list(adapter.parameters())
    optimizer = torch.optim.SGD(parameters, lr=100.0)
    cap = StepCap(optimizer, model)
    images, target = batch()
    frozen, start = model[0].weight.clone(), adapter.weight.detach().clone()
    (nn.functional.cross_entropy(model(images), target) + adapter(torch.ones(1, 2)).sum()).backward()
    cap.watch(images)
    optimizer.step()
    assert cap.scale < 1 and torch.equal(frozen, model[0].weight)
    torch.testing.assert_close(start - adapter.weight, 100.0 * cap.scale * torch.ones(2, 2))


def test_attention_has_a_product_too():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 12)
            self.out = nn.Linear(4, 3)

        def forward(self, images):
            q, k, v = self.inner(images.flatten(1, 2)).unsqueeze(1).chunk(3, dim=-1)
            return self.out(nn.functional.scaled_dot_product_attention(q, k, v).mean(dim=(1, 2)))

    model = Tokens()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cap = StepCap(optimizer, model)
    train(model, optimizer, cap)
    assert 0 < cap.scale <= 1


@pytest.mark.parametrize("kind", [StepCap, LogitGapScale])
def test_a_step_without_its_images_is_refused(kind):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    cap = kind(optimizer, model)
    train(model, optimizer, cap, steps=1)
    with pytest.raises(UserError, match="watch"):
        optimizer.step()


def test_schedule_and_state_dict_are_the_optimizers_own():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    cap = StepCap(orthograd(optimizer), model)
    schedule = lr_scheduler.StepLR(optimizer, 1, 0.5)
    train(model, optimizer, cap, steps=2)
    schedule.step()
    copy = torch.optim.SGD(network().parameters(), lr=1.0)
    copy.load_state_dict(optimizer.state_dict())
    assert copy.param_groups[0]["lr"] == 0.05


def test_an_absurd_learning_rate_is_survived():
    def final(lr, capped):
        model = nn.Sequential(nn.Flatten(), nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 3))
        torch.manual_seed(0)
        for layer in (model[1], model[3]):
            layer.reset_parameters()
        optimizer = torch.optim.SGD(model.parameters(), lr=lr)
        cap = StepCap(optimizer, model) if capped else None
        images, target = batch()
        for _ in range(100):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), target).backward()
            if cap is not None:
                cap.watch(images)
            optimizer.step()
        return nn.functional.cross_entropy(model(images), target).item()

    assert final(1e3, True) < 0.1 < final(1e3, False)


def test_logit_gap_scales_by_the_published_rule():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    gap = LogitGapScale(optimizer, model, floor=0.05)
    with torch.no_grad():
        model[-1].weight.mul_(40)
    images, target = batch()
    logits = model(images)
    nn.functional.cross_entropy(logits, target).backward()
    start, grad = model[-1].weight.detach().clone(), model[-1].weight.grad.clone()
    gap.watch(images)
    optimizer.step()
    expected = min(max(math.pi / (logits.amax(1) - logits.amin(1)).mean().item(), 0.05), 1.0)
    assert expected < 1 and gap.scale.item() == pytest.approx(expected, rel=1e-5)
    torch.testing.assert_close(start - model[-1].weight, 0.1 * expected * grad)


@pytest.mark.parametrize(
    ("call", "words"),
    [(lambda o, m: StepCap(o, m, limit=0.0), "limit"), (lambda o, m: LogitGapScale(o, m, floor=0.0), "floor")],
)
def test_bad_arguments_are_named(call, words):
    model = network()
    with pytest.raises(ValueError, match=words):
        call(torch.optim.SGD(model.parameters(), lr=0.1), model)
