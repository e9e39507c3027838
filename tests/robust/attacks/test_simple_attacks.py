"""FGSM, BIM, DeepFool and CW: closed forms on linear networks, budgets, pixels in [0, 1], registered by name."""

import pytest
import torch
from torch import nn

from kdzoo.models import create_model
from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks import bim, cw, deepfool, fgsm


class Linear(nn.Module):
    """Two classes; class 1 where <w, x> > offset."""

    def __init__(self, weight, offset):
        super().__init__()
        self.weight, self.offset = weight, offset

    def forward(self, x):
        value = x.flatten(1) @ self.weight - self.offset
        return torch.stack([-value / 2, value / 2], dim=1)


@pytest.fixture
def linear():
    torch.manual_seed(0)
    weight = torch.randn(48)
    images = 0.5 + 0.02 * torch.randn(9, 3, 4, 4)
    model = Linear(weight, 0.5 * weight.sum())
    return model, images, model(images).argmax(dim=1)


def test_fgsm_and_bim_go_the_whole_budget_against_a_linear_network(linear):
    model, images, target = linear
    direction = torch.where(target == 1, -1.0, 1.0).view(-1, 1, 1, 1) * model.weight.sign().view(1, 3, 4, 4)
    expected = images + 0.03 * direction
    torch.testing.assert_close(fgsm(model, images, target, 0.03), expected)
    torch.testing.assert_close(bim(model, images, target, 0.03, steps=8), expected)


def test_deepfool_is_the_projection_onto_a_linear_boundary(linear):
    model, images, target = linear
    distance = (images.flatten(1) @ model.weight - model.offset).abs() / model.weight.norm()
    found = deepfool(model, images, target, overshoot=0.02)
    assert (model(found).argmax(dim=1) != target).all()
    length = (found - images).flatten(1).norm(dim=1)
    torch.testing.assert_close(length, 1.02 * distance, rtol=0.02, atol=1e-4)


def test_cw_comes_near_the_shortest_change(linear):
    model, images, target = linear
    distance = (images.flatten(1) @ model.weight - model.offset).abs() / model.weight.norm()
    found = cw(model, images, target, steps=80, searches=6)
    assert (model(found).argmax(dim=1) != target).all()
    length = (found - images).flatten(1).norm(dim=1)
    assert (length >= distance * (1 - 1e-3)).all() and (length <= 1.3 * distance + 5e-3).all()


@pytest.mark.parametrize("steps", [30, 100])
def test_cw_moves_pixels_at_the_ends_within_few_steps(steps):
    """As in MNIST's images; 100 steps of 0.01 alone leave 0 at 0.000004."""
    torch.manual_seed(0)
    weight, images = torch.randn(48), torch.randint(0, 2, (6, 3, 4, 4)).float()
    model = Linear(weight, 0.5 * weight.sum())
    target = model(images).argmax(dim=1)
    found, near = cw(model, images, target, steps=steps), deepfool(model, images, target)
    assert (model(found).argmax(dim=1) != target).all() and (model(near).argmax(dim=1) != target).all()
    lengths = [(x - images).flatten(1).norm(dim=1) for x in (found, near)]
    assert (lengths[0] <= 1.2 * lengths[1]).all()
    alone = cw(model, images[:1], target[:1], steps=steps)
    torch.testing.assert_close(alone, found[:1], rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_cw_refuses_half_precision_where_it_changed_nothing(linear, dtype):
    model, images, target = linear
    model = Linear(model.weight.to(dtype), model.offset.to(dtype))
    with pytest.raises(ValueError, match=f"{dtype} has no room for 0 and 1; expected float32"):
        cw(model, images.to(dtype), target)


CASES = [
    (dict(type="FGSM", eps=0.05), float("inf"), 0.05),
    (dict(type="BIM", eps=0.05, steps=3, step_size=0.04), float("inf"), 0.05),
    (dict(type="DeepFool", eps=0.1, steps=5), 2, 0.1),
    (dict(type="CW", eps=0.8, steps=30, searches=3, lr=0.05), 2, 0.8),
]


@pytest.mark.parametrize("cfg, norm, eps", CASES)
@pytest.mark.parametrize("batch", [1, 5])
def test_budgets_and_pixels(cfg, norm, eps, batch):
    torch.manual_seed(0)
    model = create_model("resnet8", 10, mean=[0.5] * 3, std=[0.25] * 3).eval()
    images = torch.rand(batch, 3, 8, 8)
    images[:, :, :2] = images[:, :, :2].round()  # pixels on the border of [0, 1]
    before, target = images.clone(), model(images).argmax(dim=1)
    with torch.inference_mode():
        found = ATTACKS.build(cfg)(model, images, target)
    change = (found - images).flatten(1).double()
    assert found.shape == images.shape and 0 <= found.min() and found.max() <= 1
    assert change.norm(p=norm, dim=1).max() <= eps + 1e-7
    assert change.abs().max() > 0 or cfg["type"] == "CW"  # an untrained network may not be worth its budget
    assert torch.equal(images, before) and all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("name", ["DeepFool", "CW"])
def test_what_is_wrong_already_or_cannot_be_changed_comes_back(linear, name):
    model, images, target = linear
    if name == "DeepFool":
        assert torch.equal(ATTACKS.build(dict(type=name))(model, images, 1 - target), images)
    small = ATTACKS.build(dict(type=name, eps=1e-6))(model, images, target)
    assert (small - images).flatten(1).norm(dim=1).max() <= 1e-6


@pytest.mark.parametrize(
    "cfg",
    [
        dict(type="FGSM", eps=-1.0),
        dict(type="FGSM", eps=0.0),
        dict(type="BIM", eps=8.0),
        dict(type="BIM", steps=0),
        dict(type="DeepFool", eps=0.0),
        dict(type="CW", eps=0.0),
        dict(type="DeepFool", candidates=1),
        dict(type="CW", lr=0.0),
    ],
)
def test_mistakes(cfg):
    from kdzoo.errors import ConfigError

    with pytest.raises(ConfigError, match="expected|more than the box"):
        ATTACKS.build(cfg)
