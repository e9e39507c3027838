"""Schedules against their formulas, optimizers by name."""

import math

import pytest
import torch
from torch import nn

from kdzoo.engine.optim import build_optimizer, build_schedule
from kdzoo.errors import ConfigError

EPOCHS, STEPS = 12, 5


def rates(cfg, lr=0.1):
    """The learning rate of each step of a run."""
    optimizer = torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=lr)
    schedule = build_schedule(cfg, optimizer, EPOCHS, STEPS)
    found = []
    for _ in range(EPOCHS * STEPS):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    return found


def test_constant():
    assert rates(dict(type="Constant")) == [0.1] * (EPOCHS * STEPS)


def test_multi_step_divides_after_the_milestone_epochs():
    # The literature: epochs counted from 1, divided by ten for each milestone that the epoch exceeds.
    expected = [0.1 * 0.1 ** sum(step // STEPS + 1 > m for m in (4, 8)) for step in range(EPOCHS * STEPS)]
    assert rates(dict(type="MultiStep", milestones=[4, 8])) == pytest.approx(expected, rel=1e-12)


def test_cosine_reaches_its_end():
    total = EPOCHS * STEPS
    expected = [0.01 + 0.09 * (1 + math.cos(math.pi * step / total)) / 2 for step in range(total)]
    assert rates(dict(type="Cosine", final_factor=0.1)) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("cfg", [dict(type="Cosine"), dict(type="MultiStep", milestones=[6]), dict(type="Constant")])
def test_warm_up_rises_linearly_to_the_rate(cfg):
    found = rates(cfg | dict(warmup_epochs=2))
    warm = 2 * STEPS
    expected = [0.1 * (0.001 + 0.999 * step / warm) for step in range(warm)]
    assert found[:warm] == pytest.approx(expected, rel=1e-9)
    assert found[warm] == pytest.approx(0.1)


def test_multi_step_milestones_count_from_the_start_despite_warm_up():
    found = rates(dict(type="MultiStep", milestones=[6], warmup_epochs=2))
    assert found[6 * STEPS - 1] == pytest.approx(0.1) and found[6 * STEPS] == pytest.approx(0.01)


def test_one_cycle_peaks_at_the_rate():
    found = rates(dict(type="OneCycle", peak=0.25))
    assert max(found) == pytest.approx(0.1, rel=1e-3) and found[0] == pytest.approx(0.004)
    assert found.index(max(found)) == pytest.approx(0.25 * EPOCHS * STEPS, abs=1)
    assert found[-1] < 0.002


def test_one_cycle_may_end_at_zero():
    found = rates(dict(type="OneCycle", final_factor=0.0))
    assert max(found) == pytest.approx(0.1, rel=1e-3) and 0 <= found[-1] < 0.002


def test_optimizers_of_torch_and_timm():
    model = nn.Linear(2, 2)
    adamw = build_optimizer(dict(type="AdamW", lr=0.1, weight_decay=0.5), model)
    assert isinstance(adamw, torch.optim.AdamW) and adamw.param_groups[0]["weight_decay"] == 0.5
    assert type(build_optimizer(dict(type="lamb", lr=0.1), model)).__name__ == "Lamb"


def test_optimizers_that_the_loop_or_the_machine_does_not_suit_are_told(monkeypatch):
    with pytest.raises(ConfigError, match="unknown optimizer 'adahessian'"):  # needs create_graph
        build_optimizer(dict(type="adahessian", lr=0.1), nn.Linear(2, 2))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ConfigError, match="fusedadam can't be used here .*; choose another optimizer"):
        build_optimizer(dict(type="fusedadam", lr=0.1), nn.Linear(2, 2))


def test_decay_all_spares_nothing_and_its_opposite_biases_and_norms():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))
    (group,) = build_optimizer(dict(type="SGD", lr=0.1, weight_decay=0.5), model).param_groups
    assert len(group["params"]) == 4
    decayed, spared = build_optimizer(dict(type="SGD", lr=0.1, weight_decay=0.5, decay_all=False), model).param_groups
    assert [p.ndim for p in decayed["params"]] == [4] and decayed["weight_decay"] == 0.5
    assert [p.ndim for p in spared["params"]] == [1, 1, 1] and spared["weight_decay"] == 0


def test_frozen_parameters_are_left_out():
    model = nn.Linear(2, 2)
    model.bias.requires_grad_(False)
    assert build_optimizer(dict(type="SGD", lr=0.1), model).param_groups[0]["params"] == [model.weight]


@pytest.mark.parametrize("kind", ["Cosine", "Constant"])
def test_a_negative_warm_up_is_told(kind):
    with pytest.raises(ConfigError, match="warmup_epochs must be 0 or more"):
        rates(dict(type=kind, warmup_epochs=-1))
