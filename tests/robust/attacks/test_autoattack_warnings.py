"""Signs that a robust accuracy can't be taken at face value, and how long an evaluation will take."""

from dataclasses import replace

import pytest
import torch
from autoattack_case import SHORT, example
from torch import nn

from kdzoo.robust.attacks.autoattack import AutoAttack, runner
from kdzoo.robust.attacks.autoattack.estimate import Outlook, Speed, seconds
from kdzoo.robust.attacks.autoattack.network import SearchNetwork
from kdzoo.robust.attacks.autoattack.versions import Part, parts_of
from kdzoo.robust.attacks.autoattack.warnings import look_at, square_gain


class Around(nn.Module):
    """A network with something done to its logits or images."""

    def __init__(self, network, after=lambda logits: logits, before=lambda images: images):
        super().__init__()
        self.network, self.after, self.before = network, after, before

    def forward(self, images):
        return self.after(self.network(self.before(images)))


def adapts(images):
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(x.square().sum(), x)
    return images + 1e-6 * gradient


def kinds(model, version="standard") -> list[str]:
    _, x, y = example()
    return [caution.kind for caution in look_at(model.eval(), x, y, version)]


def test_an_ordinary_network_gives_no_sign():
    model, _, _ = example()
    assert kinds(model) == []


def test_each_sign_alone():
    model, _, _ = example()
    noisy = Around(model, before=lambda x: x + 0.01 * torch.randn_like(x))
    assert kinds(noisy) == ["randomness"] and kinds(noisy, "rand") == []
    assert "probabilities" in kinds(Around(model, after=lambda logits: logits.softmax(dim=1)))
    assert kinds(Around(model, before=adapts)) == ["autograd in forward"]
    assert kinds(Around(model, before=lambda x: (x * 8).round() / 8)) == ["zero gradient"]
    assert kinds(Around(model, before=lambda x: x.detach())) == ["zero gradient"]


def test_the_signs_are_in_the_result_and_nothing_stops():
    model, x, y = example()
    masked = Around(model, before=lambda x: (x * 16).round() / 16)
    parts = [dict(name="apgd-ce", steps=3), dict(name="square", queries=80)]
    result = AutoAttack("Linf", 0.06, "custom", parts).evaluate(masked.eval(), x, masked(x).argmax(dim=1))
    assert result.after["square"] < result.after["apgd-ce"] - 0.1
    assert [caution.kind for caution in result.warnings] == ["zero gradient", "gradient masking"]
    assert result.record()["warnings"][1]["message"].startswith("Square") and "warning (gradient" in result.table()


def test_square_must_not_gain_over_the_gradient_attacks():
    assert square_gain(dict(clean=0.9, square=0.1)) is None, "nothing to compare with"
    assert square_gain({"clean": 0.9, "apgd-ce": 0.5, "square": 0.499}) is None
    assert "1.00%" in square_gain({"clean": 0.9, "apgd-ce": 0.5, "square": 0.49}).message
    plus = {"clean": 0.9, "apgd-ce": 0.5, "fab": 0.5, "square": 0.2, "apgd-t": 0.2, "fab-t": 0.19}
    assert "30.00%" in square_gain(plus).message, "what runs after Square says nothing of what it gained"
    assert square_gain({"clean": 0.9, "square": 0.2, "apgd-ce": 0.1}) is None


def test_random_networks_under_version_rand():
    model, x, y = example()
    noisy = Around(model, before=lambda x: x + 0.01 * torch.randn_like(x)).eval()
    parts = [Part("apgd-ce", steps=3, eot=2), Part("apgd-dlr", steps=3, eot=2)]
    result = AutoAttack("L2", 0.3, "custom", parts).evaluate(noisy, x, y)
    assert result.robust_accuracy < result.clean_accuracy
    assert [caution.kind for caution in result.warnings] == ["randomness"]


def test_the_search_network_is_the_same_function_frozen_and_folded():
    model, x, _ = example()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    search = SearchNetwork(model, x)
    assert search.folded and not any(isinstance(module, nn.BatchNorm2d) for module in search.modules())
    assert not any(parameter.requires_grad for parameter in search.parameters())
    torch.testing.assert_close(search(x), model(x), rtol=1e-4, atol=1e-4)
    half = SearchNetwork(model, x, bf16=True)(x)
    assert half.dtype == torch.float32 and 0 < (half - model(x)).abs().max() < 0.1
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    branches = Around(model, before=lambda x: x if x.sum() > 0 else -x)
    assert not SearchNetwork(branches.eval(), x).folded, "a network that torch.fx can't trace is taken as it is"


def test_the_estimate_counts_passes():
    speed = Speed(forward=1.0, gradient=3.0)
    passes = [seconds(part, speed, 2, 10) for part in parts_of("standard", "Linf")]
    assert passes == [2 * 100 * 3, 2 * 900 * 3, 2 * 900 * 4, 2 * 5000]
    assert seconds(Part("fab", steps=1), speed, 1, 10) == 22 and seconds(Part("apgd-ce", eot=20), speed, 1, 9) == 6000
    outlook = Outlook(parts_of("standard", "Linf"), speed, 10)
    outlook.learn(3, 1, 500.0)
    assert outlook.left(3, 4) == pytest.approx(2000) and outlook.left(0, 1) == 300


def test_progress_counts_down():
    model, x, y = example()
    told = []
    AutoAttack("Linf", 0.012, "custom", SHORT[:2], chunk=8).evaluate(model, x, y, progress=told.append)
    assert [seen.stage for seen in told] == ["clean"] + ["apgd-ce"] * 3 + ["apgd-t"] * 3
    assert [seen.done for seen in told] == [23, 8, 16, 23, 8, 16, 23] and {seen.total for seen in told} == {23}
    assert told[0].robust == 22 and told[-1].robust < 22 and told[-1].seconds_left == 0 < told[-2].seconds_left


def test_where_folding_changes_the_class_the_network_itself_is_attacked(monkeypatch):
    model, x, y = example()

    class Shifted(SearchNetwork):
        def forward(self, images):
            logits = super().forward(images)
            return logits.roll(1, dims=1) if self.folded else logits

    monkeypatch.setattr(runner, "SearchNetwork", Shifted)
    attack = AutoAttack("Linf", 0.012, "custom", SHORT[:2])
    folded, plain = attack.evaluate(model, x, y), replace(attack, fold=False).evaluate(model, x, y)
    assert folded.outcomes() == plain.outcomes() and folded.robust_accuracy < folded.clean_accuracy
