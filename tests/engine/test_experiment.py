"""The config's keys: what is told about a mistake, and the networks a pair stands for."""

import pytest

from kdzoo.config import Config
from kdzoo.engine import train
from kdzoo.engine.experiment import read_experiment
from kdzoo.errors import ConfigError


def changed(tiny, **values):
    return Config(tiny | values, "some.py")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(optimzer=dict(type="SGD")), ["unknown 'optimzer'", "did you mean 'optimizer'?"]),
        (dict(losses=[dict(type="KD", temprature=2.0)]), ["losses[0]: KD got unknown 'temprature'", "'temperature'?"]),
        (dict(losses=[dict(type="CrossEntropie")]), ["losses[0]: unknown loss", "'CrossEntropy'"]),
        (dict(losses=[]), ["losses", "at least one loss"]),
        (dict(losses=[dict(type="KD")]), ["losses[0]", "KD needs a teacher", "teacher = dict(checkpoint=...)"]),
        (dict(losses=[dict(type="CrossEntropy", weight="a")]), ["losses[0]", "'weight'"]),
        (dict(runtime=dict(precison="bf16")), ["runtime", "unknown 'precison'", "'precision'?"]),
        (dict(runtime=dict(precision="fp16")), ["runtime.precision", "fp16 needs a GPU"]),
        (dict(losses=[dict(type="MLKD")], teacher="resnet20"), ["second view", "augment_second"]),
        (dict(runtime=dict(precision="fp8")), ["runtime", "'precision'", "'fp8'"]),
        (dict(optimizer=dict(type="SGDD", lr=1)), ["optimizer", "unknown optimizer 'SGDD'", "'SGD'"]),
        (
            dict(optimizer=dict(type="SGD", lr=0.1, momentun=0.9)),
            ["optimizer: SGD got unknown 'momentun'", "'momentum'?"],
        ),
        (dict(schedule=dict(type="Cosin")), ["schedule", "'Cosine'?"]),
        (dict(schedule=dict(type="MultiStep", milestones=[0])), ["schedule: MultiStep", "milestone"]),
        (dict(augment=[dict(type="PadCrp")]), ["augment[0]", "'PadCrop'?"]),
        (dict(data=dict(type="Digit")), ["data", "'Digits'?"]),
        (dict(student="resnet8x5"), ["resnet8x5", "resnet8x4"]),
        (dict(student=dict(name="resnet8", chekpoint="x")), ["student", "'checkpoint'?"]),
        (dict(student=None), ["student", "no network to train"]),
        (dict(pair="resnet32x4-resnet8x3"), ["pair", "'resnet32x4-resnet8x4'"]),
        (dict(student="vit_tiny_patch16_224"), ["student: vit_tiny", "images of 1 x 8 x 8 (Input height", "img_size"]),
        (dict(student="torchvision:alexnet"), ["student: torchvision:alexnet does not take images", "too small"]),
        (dict(epochs=0), ["epochs must be at least 1"]),
        (dict(epochs="ten"), ["'epochs'", "'ten'"]),
        (dict(teacher=dict(checkpoint="t.safetensors")), ["teacher", "no name"]),
        (dict(teacher=dict(name="resnet20", checkpoint="gone.pt")), ["gone.pt"]),
        (dict(runtime=dict(cuda_graph=True)), ["runtime.cuda_graph", "GPU"]),
        (dict(student="resnet8x5"), ["student: unknown model"]),
        (dict(teacher=[["resnet8"]]), ["teacher", "'name'"]),
        (dict(optimizer=dict(type="SGD", lr="fast")), ["optimizer: SGD expects float", "for 'lr'", "'fast'"]),
        (dict(optimizer=dict(type="AdamW", lr=0.1, betas=[0.9])), ["optimizer: AdamW expects", "'betas'", "[0.9]"]),
        (dict(optimizer=dict(type="LBFGS", lr=0.1)), ["optimizer: unknown optimizer 'LBFGS'"]),
        (dict(schedule=dict(type=["Cosine"])), ["schedule: unknown schedule"]),
        (dict(schedule=dict(type="MultiStep", milestones=["a"])), ["schedule: MultiStep expects list[float]", "['a']"]),
        (dict(schedule=dict(type="OneCycle", start_factor=0.0)), ["schedule: OneCycle", "must be above 0"]),
        (dict(schedule=dict(type="Cosine", optimizer=3)), ["schedule: Cosine takes 'optimizer' from the run"]),
        (dict(augment=[dict(type="Mixup", alpha=1.0, num_classes=3)]), ["augment[0]: num_classes is 3", "has 10"]),
        (dict(clip_grad=0.0), ["clip_grad must be above 0"]),
        (dict(clip_grad=-1.0), ["clip_grad must be above 0"]),
        (dict(ema_decay=1.5), ["ema_decay must be from 0 to below 1"]),
        (dict(ema_decay=-0.5), ["ema_decay must be from 0 to below 1"]),
        (dict(seed=2**63), ["seed", "below 2**63"]),
        (dict(seeds=[0, -1]), ["seed", "from 0"]),
        (dict(seeds=["a"]), ["seed", "whole number", "'a'"]),
        (dict(seeds=[0, 0]), ["seeds must differ"]),
    ],
)
def test_mistakes_are_one_line_with_place_and_file(tiny, values, words):
    from kdzoo.errors import UserError

    with pytest.raises(UserError) as error:
        train(changed(tiny, **values), "out", device="cpu")
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message
    if isinstance(error.value, ConfigError):
        assert "some.py" in message


def test_an_unknown_key_is_told_with_the_file_that_set_it(tmp_path):
    (tmp_path / "base.py").write_text("optimzer = dict(type='SGD')\n")
    (tmp_path / "leaf.py").write_text("_base_ = 'base.py'\ndata = dict(type='Digits')\nlosses = []\nepochs = 1\n")
    with pytest.raises(ConfigError, match=r"base\.py: .*optimzer"):
        train(Config.from_file(tmp_path / "leaf.py"))


def test_a_wrong_type_is_told_with_the_file_that_set_it(tmp_path, tiny):
    (tmp_path / "leaf.py").write_text(Config(tiny).dump())
    for word in ("epochs=ten", "runtime.compile=yes"):
        with pytest.raises(ConfigError, match=r"^--cfg-options: .*expects"):
            train(Config.from_file(tmp_path / "leaf.py", [word]), device="cpu")


def test_a_pair_names_student_and_teacher(tiny):
    experiment = read_experiment(changed(tiny, pair="vgg13-vgg8", student=None, teacher=dict(checkpoint="t.pth")))
    student, (teacher,) = experiment.networks()
    assert (student.name, teacher.name, teacher.checkpoint) == ("vgg8", "vgg13_cifar", "t.pth")
    plain = read_experiment(changed(tiny, pair="vgg13-vgg8", student=None))
    assert plain.networks()[1] == []  # teacher=None trains plainly
