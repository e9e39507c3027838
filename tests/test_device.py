"""On a GPU, everything stays there, and the host waits for it only where it is said to."""

from pathlib import Path

import pytest
import torch
from pretended_cuda import OnCuda, pretended_cuda
from torch.utils._python_dispatch import TorchDispatchMode

from kdzoo import create_model
from kdzoo.config import Config
from kdzoo.engine.evaluate import predict
from kdzoo.engine.experiment import read_experiment
from kdzoo.engine.meters import Meters
from kdzoo.engine.setup import build_training
from kdzoo.engine.step import train_step
from kdzoo.registry import ATTACKS
from kdzoo.robust.certify import SmoothedClassifier, gram_bound
from kdzoo.robust.certify.lipschitz import AOLLinear
from kdzoo.robust.certify.lvm import certify_soft
from kdzoo.robust.certify.simplex import SimplexMap
from kdzoo.robust.ood import KNN
from kdzoo.tools.make_configs import METHODS

CONFIGS = Path(__file__).parents[1] / "configs"
WIDE = dict(name="resnet8", options=dict(widths=(8, 8, 8, 16)))


def steps(tiny: dict, waited, count: int = 3):
    """Train for some steps; what waited after the first of them, which sets things up."""
    training = build_training(read_experiment(Config(tiny, "tiny.py")), "cuda")
    meters = Meters(training.names, training.accelerator.device)
    training.distiller.train()
    training.raw.set_epoch(0)
    for number, batch in zip(range(count), training.data.train.epoch(0, 0), strict=False):
        if number == 1:
            waited.clear()
        train_step(training, batch, meters, number + 1)
    left = dict(waited)
    assert all(isinstance(p, OnCuda) for p in training.student.parameters())
    assert all(value == value for value in meters.read().terms.values())
    return left, training


def test_the_pretended_device_sees_mixtures_and_waits():
    with pretended_cuda() as waited:
        x = torch.ones(3, device="cuda", requires_grad=True)
        (x * 2).sum().backward()
        assert x.grad.is_cuda and x.device.type == "cuda" and not waited
        with pytest.raises(RuntimeError, match="same device"):
            x + torch.ones(3)
        with pytest.raises(TypeError, match="numpy"):
            x.detach().numpy()
        assert x.cpu().device.type == "cpu"


@pytest.mark.parametrize("method", METHODS)
def test_no_step_of_a_method_waits_for_the_device(tiny, method):
    recipe = Config.from_file(CONFIGS / "cifar100" / method / "resnet56-resnet20.py")
    keys = ("losses", "augment_second", "align_gradients")
    cfg = tiny | dict(teacher=WIDE, optimizer=dict(type="SGD", lr=1e-3)) | {k: recipe[k] for k in keys if k in recipe}
    with pretended_cuda() as waited:
        left, _ = steps(cfg, waited)
    assert not left


@pytest.mark.parametrize(
    "recipe", ["ramp", "max", "msd", "avg", "sat", "trades", "at_linf", "comp_sum", "ard", "rslad", "iad"]
)
def test_no_step_of_robust_training_waits(tiny, recipe):
    cfg = Config.from_file(CONFIGS / "ramp" / f"{recipe}.py")
    losses = [entry | (dict(steps=2) if "steps" not in entry else {}) for entry in cfg["losses"]]
    with pretended_cuda() as waited:
        left, _ = steps(tiny | dict(teacher=cfg.get("teacher") and WIDE, losses=losses), waited)
    assert not left


def test_e_at_waits_once_a_step_to_draw_its_norm(tiny):
    with pretended_cuda() as waited:
        left, _ = steps(tiny | dict(losses=[dict(type="E-AT", steps=2)]), waited)
    assert list(left.values()) == [2] and "eat.py" in next(iter(left))  # two steps were looked at


@pytest.mark.parametrize("name", ["adv", "consistency", "macer", "teacher"])
def test_no_step_of_training_for_certificates_waits(tiny, name):
    cfg = Config.from_file(CONFIGS / "cifar10" / f"smooth_{name}_0.25.py")
    losses = cfg.get("losses") or cfg["runs"][-1]["losses"]
    with pretended_cuda() as waited:
        left, _ = steps(tiny | dict(teacher=WIDE if name == "teacher" else None, losses=losses), waited)
    assert not left


@pytest.mark.parametrize(
    "extra",
    [
        dict(augment=[dict(type="RandAugment"), dict(type="Cutout", size=3), dict(type="Mixup", alpha=1.0)]),
        dict(augment=[dict(type="Flip"), dict(type="GaussianNoise", sigma=0.25), dict(type="CutMix", alpha=1.0)]),
        dict(ema_decay=0.9, clip_grad=1.0, runtime=dict(accumulate=2)),
        dict(losses=[dict(type="KD")], teacher=WIDE, runtime=dict(teacher_cache=True, cache_dir="cache")),
        dict(head=dict(type="ArcFaceHead"), losses=[dict(type="HeadLoss")]),
        dict(head=dict(type="VQHead"), losses=[dict(type="HeadLoss")]),
        dict(head=dict(type="SparseMoEHead"), losses=[dict(type="HeadLoss")]),
        dict(optimizer=dict(type="SGD", lr=1e-3, orthograd=True)),
        dict(optimizer=dict(type="AdamW", lr=1e-3)),
    ],
    ids=["randaugment", "noise", "ema", "cache", "arcface", "vq", "moe", "orthograd", "adamw"],
)
def test_no_other_part_of_a_step_waits(tiny, extra):
    with pretended_cuda() as waited:
        left, training = steps(tiny | extra, waited)
        predict(training.student, training.data.test.epoch(0), training.accelerator.autocast)
    assert not left


def small(classes: int = 5):
    torch.manual_seed(0)
    model = create_model("resnet8", num_classes=classes, widths=(8, 8, 8, 8)).eval().cuda()
    images = torch.rand(6, 3, 8, 8).cuda()
    return model, images, model(images).argmax(dim=1)


@pytest.mark.parametrize(
    "attack", [dict(type="PGD"), dict(type="BIM"), dict(type="CW", searches=1), dict(type="APGDTrain")]
)
def test_no_step_of_an_attack_waits(attack):
    counts = []
    for number in (2, 6):
        with pretended_cuda() as waited:
            found = ATTACKS.build(attack | dict(steps=number))(*small())
            assert found.is_cuda
            counts.append(sum(waited.values()))
    assert counts[0] == counts[1]


def test_certification_waits_once_an_image():
    with pretended_cuda() as waited:
        model, x, _ = small()
        smoothed = SmoothedClassifier(model, 5, 0.25, batch_size=50)
        x = x.cpu()  # as the tool has them: to check pixels on the device is to wait for it
        smoothed.certify(x[0], 10, 200, 0.01, 0)
        waited.clear()
        smoothed.certify(x[1], 10, 200, 0.01, 1)
    assert sum(waited.values()) == 1


def test_soft_certification_waits_twice_an_image():
    with pretended_cuda() as waited:
        model, x, _ = small()
        smoothed = SmoothedClassifier(model, 5, 0.25, batch_size=50)
        certify_soft(smoothed, SimplexMap("softmax", 4.0), x[0].cpu(), 10, 200, 0.01, 0)
        waited.clear()
        certify_soft(smoothed, SimplexMap("softmax", 4.0), x[1].cpu(), 10, 200, 0.01, 1)
    assert sum(waited.values()) == 2


def test_nearest_neighbours_are_looked_for_where_the_features_are():
    with pretended_cuda() as waited:
        detector = KNN(k=3).fit_features(torch.randn(50, 8))
        x = torch.randn(4, 8).cuda()
        detector.score_features(x)
        waited.clear()
        detector._score(x)
    assert not waited


class Products(TorchDispatchMode):
    """Types that matrices had when they were multiplied."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            self.types |= {matrix.dtype for matrix in args}
        return function(*args, **kwargs or {})


@pytest.mark.parametrize(
    "layer", [lambda: AOLLinear(4, 5).rescaled(), lambda: gram_bound(torch.ones(5, 4))], ids=["AOL", "Gram"]
)
def test_lipschitz_bounds_take_no_float32_products_on_a_gpu(layer):  # which TF32 may round
    torch.manual_seed(0)
    with Products() as host:
        expected = layer()
    torch.manual_seed(0)
    with pretended_cuda(), torch.device("cuda"), Products() as device:
        found = layer()
    assert host.types == {torch.float32} and device.types == {torch.float64}
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.detach().value, expected.detach())
