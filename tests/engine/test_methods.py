"""Every method of the recipes trains from its own config, and what they need of the engine works."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine import train
from kdzoo.errors import UserError
from kdzoo.registry import DATASETS
from kdzoo.tools.make_configs import METHODS

CONFIGS = Path(__file__).parents[2] / "configs" / "cifar100"
WIDE = dict(name="resnet8", options=dict(widths=(8, 8, 8, 16)))


def run(cfg, folder="out", **keywords):
    return train(Config(cfg, "tiny.py"), folder, device="cpu", **keywords)


@pytest.fixture
def taught(tiny):
    """The tiny config with a trained teacher."""
    run(tiny | dict(student=WIDE, epochs=2), "teacher")
    return tiny | dict(epochs=2, teacher=WIDE | dict(checkpoint="teacher/last.safetensors"))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_from_its_config(taught, method):
    recipe = Config.from_file(CONFIGS / method / "resnet56-resnet20.py")
    keys = ("losses", "augment_second", "align_gradients")
    cfg = taught | {k: recipe[k] for k in keys if k in recipe}
    cfg["optimizer"] = dict(type="SGD", lr=1e-3)
    metrics = run(cfg)
    lines = [json.loads(line) for line in open("out/log.jsonl")]
    assert all(math.isfinite(line["loss"]) for line in lines) and metrics["last"]["epoch"] == 2
    kept = load_file("out/last.safetensors")
    assert kept.keys() == load_file("teacher/last.safetensors").keys()  # no adapter, no auxiliary head
    state = torch.load("out/last/state.pt", weights_only=True)
    assert all(v.isfinite().all() for v in state["model"].values() if v.is_floating_point())


def test_warm_up_and_switch_off_follow_the_epochs(taught):
    losses = [
        dict(type="CrossEntropy"),
        dict(type="KD", weight=2.0, warmup_epochs=2),
        dict(type="KD", temperature=1.0, until_epoch=1),
    ]
    run(taught | dict(losses=losses, epochs=3))
    terms = [json.loads(line)["terms"] for line in open("out/log.jsonl")]
    assert terms[0]["KD#2"] > 0 and terms[1]["KD#2"] == terms[2]["KD#2"] == 0
    run(taught | dict(losses=losses[:1] + [dict(type="KD", weight=1.0)], epochs=1), "half")
    assert json.loads(open("half/log.jsonl").readline())["terms"]["KD"] == pytest.approx(terms[0]["KD"], rel=0.2)


def test_a_second_view_leaves_the_first_as_it_was(taught):
    second = [dict(type="PadCrop", padding=2), dict(type="Flip")]
    silent = [dict(type="CrossEntropy"), dict(type="CrossEntropy", view="second", weight=0.0)]
    # A network without batch norm, whose statistics would see both views.
    gru = dict(name="gru_rows", options=dict(img_size=8, drop_rate=0.0))
    one = run(taught | dict(student=gru, losses=silent[:1]), "one")
    two = run(taught | dict(student=gru, losses=silent, augment_second=second), "two")
    assert one["last"]["nll"] == pytest.approx(two["last"]["nll"], rel=1e-6)


def test_mixed_images_leave_crds_classes_the_images_own(taught):
    losses = [dict(type="CrossEntropy"), dict(type="CRD", dim=8, negatives=16)]
    run(taught | dict(losses=losses, augment=[dict(type="Mixup", alpha=1.0)]))
    known = torch.load("out/last/state.pt", weights_only=True)["model"]["losses.1.labels"]
    assert known.tolist() == DATASETS.build(taught["data"]).part("train").labels.tolist()


def test_several_teachers_are_fused(taught):
    run(taught | dict(student=WIDE, teacher=None, seed=1), "other")
    teachers = [WIDE | dict(checkpoint=f"{name}/last.safetensors") for name in ("teacher", "other")]
    metrics = run(taught | dict(teacher=teachers, losses=[dict(type="KD")]))
    assert metrics["teacher"]["name"] == "resnet8 + resnet8" and metrics["last"]["epoch"] == 2


@pytest.mark.parametrize("extra", [dict(orthograd=True), dict(step_cap=1e-3), dict(step_cap=1e-3, orthograd=True)])
def test_optimizer_wrappers_change_the_steps(tiny, extra):
    plain = run(tiny | dict(epochs=1), "plain")
    wrapped = run(tiny | dict(epochs=1, optimizer=tiny["optimizer"] | extra), "wrapped")
    assert math.isfinite(wrapped["last"]["nll"]) and wrapped["last"]["nll"] != plain["last"]["nll"]


def test_a_step_cap_out_of_reach_changes_nothing(tiny):
    plain = run(tiny | dict(epochs=1), "plain")
    assert (
        run(tiny | dict(epochs=1, optimizer=tiny["optimizer"] | dict(step_cap=1e9)), "capped")["last"] == plain["last"]
    )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (dict(optimizer=dict(type="SGD", lr=0.1, step_cap=-1)), "step_cap must be True or a number"),
        (
            dict(losses=[dict(type="KD")], align_gradients=True),
            "aligning gradients takes a loss with a teacher and one without",
        ),
        (
            dict(losses=[dict(type="AT")], runtime=dict(teacher_cache=True)),
            "runtime.teacher_cache: a loss needs the teacher's features",
        ),
        (
            dict(augment=[dict(type="Mixup", alpha=1.0)], augment_second=[dict(type="Flip")]),
            "augment_second: images can't be mixed",
        ),
        (dict(augment_second=[dict(type="Flip")]), "augment_second: no loss is taken on a second view"),
    ],
)
def test_what_does_not_go_together_is_told(taught, change, words):
    with pytest.raises(UserError) as error:
        run(taught | change)
    assert words in str(error.value)


def test_nan_logits_are_one_line_with_the_step(taught, monkeypatch):
    from kdzoo.models import Classifier

    genuine, calls = Classifier.outputs, [0]

    def outputs(self, images, features=False):
        output = genuine(self, images, features)
        calls[0] += self.training
        if calls[0] == 2 and self.training:
            output.logits = output.logits * float("nan")
        return output

    monkeypatch.setattr(Classifier, "outputs", outputs)
    with pytest.raises(UserError, match=r"step 2: .*NaN in row 0; lower optimizer\.lr"):
        run(taught | dict(losses=[dict(type="KD")]))
