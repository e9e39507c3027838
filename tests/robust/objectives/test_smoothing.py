"""Objectives of randomized smoothing: the papers' defaults, M copies, modes and statistics, a run of the tool each."""

import copy
import json
import signal
from pathlib import Path

import pytest
import torch
from torch import nn

from kdzoo.config import Config
from kdzoo.distill import Distiller, build_terms
from kdzoo.errors import UserError
from kdzoo.models import create_model
from kdzoo.registry import OBJECTIVES
from kdzoo.robust.certify.training import noisy_logits, smooth_adv_attack
from kdzoo.robust.objectives.noisy import smoothed
from kdzoo.tools.train import main

NAMES = ("SmoothAdv", "MACER", "Consistency", "SmoothTeacher")
COPIES = dict(SmoothAdv=2, MACER=4, Consistency=3, SmoothTeacher=2)


@pytest.fixture
def networks():
    torch.manual_seed(0)
    make = lambda: create_model("resnet8", num_classes=5, widths=(8, 8, 8, 8))  # noqa: E731
    return make().train(), make().eval()


@pytest.fixture
def batch():
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 3, 4, 0])


def build(name, **options):
    more = dict(steps=2) if name == "SmoothAdv" else {}
    return OBJECTIVES.get(name)(sigma=0.25, copies=COPIES[name], **more, **options)


def test_defaults_are_the_papers():
    adversarial, macer = OBJECTIVES.get("SmoothAdv")(0.25), OBJECTIVES.get("MACER")(0.25)
    consistency, taught = OBJECTIVES.get("Consistency")(0.25), OBJECTIVES.get("SmoothTeacher")(0.25)
    assert (adversarial.copies, adversarial.eps, adversarial.steps) == (1, 64 / 255, 10)
    assert (macer.copies, macer.options) == (16, dict(strength=12.0, beta=16.0, gamma=8.0))
    assert (consistency.copies, consistency.options) == (2, dict(strength=10.0, entropy=0.5))
    assert (taught.copies, taught.temperature, taught.ce_weight, taught.kd_weight) == (2, 4.0, 0.1, 0.9)
    assert [OBJECTIVES.get(name)(0.25).needs_teacher for name in ("SmoothTeacher",)] == [True]


class Spy:
    """A model's face that keeps what each pass saw."""

    def __init__(self, model):
        self.model, self.seen, self.modes = model, [], []

    def outputs(self, images, features=False):
        self.seen.append(images.detach().clone())
        self.modes.append(self.model.training)
        return self.model.outputs(images, features)

    def __getattr__(self, name):
        return getattr(self.model, name)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_finite_and_copies_are_m_with_noise_of_sigma(networks, batch, name):
    student, teacher = Spy(networks[0]), Spy(networks[1])
    images, target = batch
    loss, logits = build(name)(student, teacher, images, target)
    assert loss.ndim == 0 and loss.dtype == torch.float32 and logits.shape == (6, 5) and not logits.requires_grad
    loss.backward()
    gradients = [p.grad for p in networks[0].parameters()]
    assert all(g is not None and g.isfinite().all() for g in gradients) and gradients[0].abs().max() > 0
    assert all(p.grad is None for p in networks[1].parameters())
    assert {len(x) for x in student.seen} == {6 * COPIES[name]}
    noise = student.seen[0].view(COPIES[name], 6, 3, 8, 8) - images
    assert float(noise.std()) == pytest.approx(0.25, rel=0.05) and not torch.equal(noise[0], noise[1])
    if name == "SmoothTeacher":
        assert torch.equal(teacher.seen[0], student.seen[0])


@pytest.mark.parametrize("name", NAMES)
def test_noise_hangs_on_the_seed_of_the_step_alone(networks, batch, name):
    objective, values = build(name), []
    for seed in (3, 4, 3):
        torch.manual_seed(seed)
        values.append(objective(copy.deepcopy(networks[0]), networks[1], *batch)[0])
    assert torch.equal(values[0], values[2]) and not torch.equal(values[0], values[1])


@pytest.mark.parametrize("name", NAMES)
def test_statistics_move_by_the_training_pass_alone_and_modes_are_restored(networks, batch, name):
    student, teacher = networks
    frozen = next(module for module in student.modules() if isinstance(module, nn.BatchNorm2d))
    frozen.eval()  # one layer in evaluation mode has to stay in it
    modes = [module.training for module in student.modules()]
    norms = [module for module in student.modules() if isinstance(module, nn.BatchNorm2d)]
    before = copy.deepcopy(teacher.state_dict())
    build(name)(student, teacher, *batch)
    assert [module.training for module in student.modules()] == modes
    assert [int(norm.num_batches_tracked) for norm in norms] == [0] + [1] * (len(norms) - 1)
    assert all(torch.equal(value, before[key]) for key, value in teacher.state_dict().items())


def test_smooth_adv_trains_on_what_the_attack_found(networks, batch):
    images, target = batch
    objective = OBJECTIVES.get("SmoothAdv")(sigma=0.25, copies=2, eps=0.5, steps=2, warmup_eps=4)
    objective.set_epoch(1)
    spy = Spy(networks[0])
    torch.manual_seed(5)
    loss, _ = objective(spy, None, images, target)
    assert spy.modes == [False, False, True]
    torch.manual_seed(5)
    noise = objective.noise(images)
    reference = copy.deepcopy(networks[0]).eval()
    state = {k: v for k, v in reference.state_dict().items() if "running" not in k and "tracked" not in k}
    fresh = create_model("resnet8", num_classes=5, widths=(8, 8, 8, 8))
    fresh.load_state_dict(state, strict=False)  # the statistics from before the training pass
    attacked = smooth_adv_attack(fresh.eval(), images, target, noise, eps=0.25, steps=2)  # half way of the warm-up
    torch.testing.assert_close(spy.seen[-1].view(2, 6, 3, 8, 8), attacked + noise)
    logits = noisy_logits(fresh.train(), attacked, noise)
    by_hand = sum(nn.functional.cross_entropy(part, target) for part in logits) / 2
    torch.testing.assert_close(loss, by_hand)


def test_the_smoothed_class_is_that_of_the_mean_vote():
    logits = torch.tensor([[[4.0, 0.0, 0.0]], [[0.0, 3.0, 2.9]], [[0.0, 2.9, 3.0]]])
    assert torch.allclose(smoothed(logits).softmax(-1), logits.softmax(-1).mean(0))


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("SmoothAdv", dict(sigma=0.0), "sigma must be positive"),
        ("SmoothAdv", dict(sigma=0.25, steps=0), "steps and warmup_eps at least 1"),
        ("MACER", dict(sigma=0.25, copies=0), "copies must be at least 1"),
        ("MACER", dict(sigma=0.25, beta=0.0), "beta and gamma positive"),
        ("Consistency", dict(sigma=0.25, copies=1), "copies must be at least 2"),
        ("Consistency", dict(sigma=0.25, entropy=-1.0), "entropy must be at least 0"),
        ("SmoothTeacher", dict(sigma=0.25, temperature=0.0), "temperature must be positive"),
    ],
)
def test_bad_values_are_told(name, options, words):
    with pytest.raises(ValueError, match=words):
        OBJECTIVES.get(name)(**options)


def test_soft_labels_are_refused_in_words(networks, batch):
    terms = build_terms([dict(type="MACER", sigma=0.25, copies=2)])
    with pytest.raises(UserError, match="remove Mixup and CutMix"):
        Distiller(networks[0], terms)(batch[0], torch.full((6, 5), 0.2))


@pytest.mark.parametrize("name", NAMES)
def test_the_tool_trains_with_each(tiny, name):
    more = dict(steps=1) if name == "SmoothAdv" else {}
    loss = dict(type=name, sigma=0.25, copies=2, **more)
    config = tiny | dict(epochs=2, losses=[loss])
    if name == "SmoothTeacher":
        config["teacher"] = dict(name="resnet8", options=dict(widths=(8, 8, 8, 8)), checkpoint="run:teacher")
        plain = dict(name="teacher", teacher=None, losses=[dict(type="CrossEntropy")], epochs=1)
        config["runs"] = [plain, dict(name="student", losses=[loss])]
        del config["losses"]
    Path("config.py").write_text(Config(config).dump())
    assert main(["config.py", "--work-dir", "out", "--device", "cpu"]) == 0
    (path,) = (
        Path("out").rglob("metrics.json") if name != "SmoothTeacher" else Path("out/student").rglob("metrics.json")
    )
    assert json.loads(path.read_text())


@pytest.mark.parametrize("name", ["SmoothAdv", "MACER", "Consistency"])
def test_an_interrupted_run_goes_on_bit_for_bit(tiny, monkeypatch, name):
    from safetensors.torch import load_file

    from kdzoo.engine import loop, train

    more = dict(steps=1) if name == "SmoothAdv" else {}
    config = Config(tiny | dict(epochs=2, losses=[dict(type=name, sigma=0.25, copies=2, **more)]), "tiny.py")
    train(config, "whole", device="cpu")
    genuine, count = loop.train_step, [0]

    def step(*arguments):
        count[0] += 1
        if count[0] == 4:
            signal.raise_signal(signal.SIGINT)
        genuine(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(loop, "train_step", step)
        with pytest.raises(loop.Interrupted):
            train(config, "broken", device="cpu")
    train(config, "broken", device="cpu", resume=True)
    whole, broken = (load_file(f"{folder}/last.safetensors") for folder in ("whole", "broken"))
    assert all(torch.equal(whole[key], broken[key]) for key in whole)
