"""The natural copy beside the student: the epoch's projection, resuming, and what it refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine import loop, train
from kdzoo.engine.experiment import read_experiment
from kdzoo.engine.interrupt import Interrupted
from kdzoo.engine.optim import build_optimizer, build_schedule
from kdzoo.engine.setup import build_training
from kdzoo.errors import ConfigError, UserError
from kdzoo.robust.attacks import project_gradients


@pytest.fixture
def robust(tiny) -> dict:
    """Adversarial training with the projection, on very few digits."""
    attack = dict(type="AdversarialTraining", steps=1)
    tiny["data"] |= dict(train_limit=64, test_limit=30)
    return tiny | dict(losses=[attack], project_gradients=dict(beta=0.3), schedule=dict(type="Constant"))


def run(cfg, folder, **keywords):
    return train(Config(cfg, "tiny.py"), folder, device="cpu", **keywords)


def test_an_epoch_is_the_projection_of_two_separate_ones(robust):
    robust |= dict(epochs=1)
    start = build_training(read_experiment(Config(robust)), "cpu").student.state_dict()
    start = {key.removeprefix("network."): value.clone() for key, value in start.items()}
    alone = robust | dict(project_gradients=None)
    run(alone, "adversarial")
    run(alone | dict(losses=[dict(type="CrossEntropy")]), "natural")
    run(robust, "both")
    natural, adversarial, both = (
        {key: value for key, value in load_file(f"{folder}/last.safetensors").items() if key in start}
        for folder in ("natural", "adversarial", "both")
    )
    expected = project_gradients({key: start[key] for key in both}, natural, adversarial, 0.3)
    assert all(torch.equal(both[key], expected[key]) for key in both)
    assert any("running_var" in key for key in both) and not torch.equal(both["fc.weight"], adversarial["fc.weight"])


def test_both_momenta_go_on_and_the_copy_starts_anew(robust):
    training = build_training(read_experiment(Config(robust)), "cpu")
    natural = training.natural
    natural.begin(training, 0)
    meters = loop.Meters(training.names, torch.device("cpu"))
    for batch in training.data.train.epoch(0):
        loop.train_step(training, batch, meters, 1)
        loop.train_step(natural.training, batch, natural.meters, 1)
    before = [natural.training.optimizer.state_dict(), training.optimizer.state_dict()]
    assert before[0]["state"][0]["momentum_buffer"].abs().max() > 0
    natural.merge(training)
    natural.begin(training, 0)
    ours, copy = training.student.state_dict(), natural.training.student.state_dict()
    assert all(torch.equal(ours[key], copy[key]) for key in ours)
    for state, optimizer in zip(before, (natural.training.optimizer, training.optimizer), strict=True):
        torch.testing.assert_close(optimizer.state_dict()["state"][0], state["state"][0], rtol=0, atol=0)


@pytest.mark.parametrize("steps", [3, 4])
def test_an_interrupted_run_ends_the_same(robust, monkeypatch, steps):
    # E-AT has running accuracies of its own to keep; two steps an epoch.
    robust |= dict(losses=[dict(type="E-AT", steps=1)], optimizer=robust["optimizer"] | dict(nesterov=True),
                   schedule=dict(type="MultiStep", milestones=[1]))  # fmt: skip
    whole, genuine, done = run(robust, "whole"), loop.train_step, [0]

    def step(training, *rest):
        genuine(training, *rest)
        done[0] += training.natural is not None
        if done[0] == steps:
            raise KeyboardInterrupt

    robust["runtime"] |= dict(log_every=1)
    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises((Interrupted, KeyboardInterrupt)):
            run(robust, "broken")
    metrics = run(robust, "broken", resume=True)
    a, b = (load_file(f"{folder}/last.safetensors") for folder in ("whole", "broken"))
    assert metrics["last"] == whole["last"] and all(torch.equal(a[key], b[key]) for key in a)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(project_gradients=dict(beta=2.0)), "beta must be from 0 to 1"),
        (dict(project_gradients=dict(bta=0.5)), "did you mean 'beta'"),
        (dict(project_gradients=dict(losses=[dict(type="KD")])), "needs a teacher"),
        (dict(ema_decay=0.9), "together with ema_decay"),
        (dict(optimizer=dict(type="SGD", lr=0.1, step_cap=True)), "together with optimizer.step_cap"),
        (dict(optimizer=dict(type="SGD", lr=0.1, legacy_bn_lr=1.0)), "beside decay_all=False"),
    ],
)
def test_mistakes_are_told(robust, values, words):
    with pytest.raises(UserError, match=words):
        run(robust | values, "out")


def test_legacy_bn_lr_keeps_its_rate_and_the_default_schedules_all():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.BatchNorm1d(2))
    for legacy, expected in ((dict(legacy_bn_lr=1.0), [0.01, 1.0]), ({}, [0.01, 0.01])):
        cfg = dict(type="SGD", lr=0.1, weight_decay=0.5, decay_all=False) | legacy
        optimizer = build_optimizer(cfg, model)
        schedule = build_schedule(dict(type="MultiStep", milestones=[1]), optimizer, 2, 1)
        rates = []
        for _ in range(2):
            model(torch.randn(4, 2)).square().sum().backward()
            before = model[1].bias.detach().clone()
            optimizer.step()
            rates.append([group["lr"] for group in optimizer.param_groups])
            torch.testing.assert_close(before - model[1].bias, rates[-1][1] * model[1].bias.grad)
            optimizer.zero_grad()
            schedule.step()
        assert rates[1] == pytest.approx(expected)
        assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    with pytest.raises(ConfigError, match="legacy_bn_lr must be a learning rate above 0"):
        build_optimizer(dict(type="SGD", lr=0.1, decay_all=False, legacy_bn_lr=0), model)


@pytest.mark.slow
def test_two_processes(robust):
    # Batch statistics are each process's own, so only agreement of the two is asked, and of the norm that is drawn.
    robust |= dict(losses=[dict(type="E-AT", steps=1), dict(type="SAT", steps=1)], epochs=2)
    Path("tiny.py").write_text(Config(robust).dump())
    program = """
import torch
from kdzoo.config import Config
from kdzoo.engine import loop, train
drawn = []
genuine = loop.save
def save(training, path, progress, meters):
    eat = training.raw.losses[0]
    own = torch.cat([eat.held, eat.seen, training.student.network.fc.weight.detach().double().flatten()])
    other = own.clone()
    torch.distributed.broadcast(other, 0)
    assert torch.equal(own, other) and eat.seen.sum() > 0
    return genuine(training, path, progress, meters)
loop.save = save
train(Config.from_file("tiny.py"), "two", device="cpu")
"""
    Path("program.py").write_text(program)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true"}
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2", "--master_port=29537", "program.py"]
    done = subprocess.run(launch, capture_output=True, text=True, timeout=300, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(Path("two/metrics.json").read_text())["processes"] == 2
