"""A config's ``head`` on any backbone: it trains with the same tool, is saved, tested and resumed with it."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine import train
from kdzoo.engine.testing import load_tested
from kdzoo.errors import ConfigError, UserError
from kdzoo.heads import SVMHead
from kdzoo.models import create_model, load_weights, save_weights, weights_hash
from kdzoo.registry import HEADS

CONFIGS = Path(__file__).parents[2] / "configs" / "heads"


def run(cfg, folder="out"):
    return train(Config(cfg, "tiny.py"), folder, device="cpu")


@pytest.mark.parametrize("name", HEADS.names())
def test_every_registered_head_trains(tiny, name):
    cfg = tiny | dict(head=dict(type=name), losses=[dict(type="HeadLoss")], epochs=2)
    cfg["optimizer"] = dict(type="Adam", lr=0.01)
    metrics = run(cfg)
    losses = [json.loads(line)["loss"] for line in open("out/log.jsonl")]
    assert all(map(math.isfinite, losses)) and losses[1] < losses[0]
    model, data = load_tested(Config(cfg, "tiny.py"), "out/last.safetensors", "cpu")
    assert type(model.head).__name__ == name
    correct = sum(int((model(b.images).argmax(1) == b.target).sum()) for b in data.test.epoch(0))
    assert 100 * correct / data.test.size == pytest.approx(metrics["last"]["top1"])


def test_a_checkpoint_of_another_temperature_is_one_line_and_changes_nothing(tmp_path):
    def model(**options):
        torch.manual_seed(len(options))
        made = create_model("resnet8", 4)
        made.set_head(
            lambda width: HEADS.build(dict(type="NormalizedSoftmaxHead", **options), in_features=width, num_classes=4)
        )
        return made

    file = tmp_path / "trained.safetensors"
    trained = model(temperature=0.2)
    save_weights(trained, file)
    other = model()
    before = weights_hash(other)
    with pytest.raises(
        UserError, match=r"does not fit resnet8: .* temperature 0\.2, the head has 0\.05; set temperature=0\.2"
    ):
        load_weights(other, file)
    assert weights_hash(other) == before
    for options in (dict(temperature=0.2), dict(learn_temperature=True)):
        again, images = model(**options), torch.rand(2, 3, 32, 32)
        load_weights(again, file)
        torch.testing.assert_close(again.eval()(images), trained.eval()(images))


def test_a_teacher_may_have_a_head_and_a_student_be_distilled_with_one(tiny):
    head = dict(type="ArcFaceHead", scale=8.0, margin_rad=0.2)
    run(tiny | dict(head=head, losses=[dict(type="HeadLoss")], epochs=1), "teacher")
    assert "fc.bias" not in load_file("teacher/last.safetensors")
    teacher = dict(tiny["student"], head=head, checkpoint="teacher/last.safetensors")
    losses = [dict(type="HeadLoss"), dict(type="KD")]
    metrics = run(tiny | dict(head=dict(type="SVMHead"), teacher=teacher, losses=losses, epochs=1))
    assert math.isfinite(metrics["last"]["nll"])


@pytest.mark.parametrize("name", ["resnet8", "agarap_cnn", "vit_tiny_patch16_224", "torchvision:mobilenet_v3_small"])
def test_any_backbone(name):
    model = create_model(name, 7, **(dict(img_size=32, in_chans=3) if "agarap" in name or "vit" in name else {})).eval()
    old = model(torch.rand(1, 3, 32, 32))
    torch.manual_seed(0)
    model.set_head(lambda width: SVMHead(width, 7))
    images = torch.rand(2, 3, 32, 32)
    output = model.outputs(images, features=True)
    assert old.shape == (1, 7) and output.features
    torch.testing.assert_close(model.head(output.pooled), output.logits)
    torch.testing.assert_close(model(images), output.logits)


def test_a_linear_head_starts_from_the_networks_initialisation():
    model = create_model("agarap_cnn", 10, in_chans=1)
    weight = model.network.fc.weight.clone()
    model.set_head(lambda width: SVMHead(width, 10))
    assert torch.equal(model.head.weight, weight) and (model.head.bias == 0.1).all()


@pytest.mark.parametrize(
    ("head", "words"),
    [
        (dict(type="ArcFace"), "head: unknown head 'ArcFace' (did you mean 'ArcFaceHead'"),
        (dict(type="ArcFaceHead", margin=0.5), "head: ArcFaceHead got unknown 'margin' (did you mean 'margin_rad'?)"),
        (dict(type="ArcFaceHead", margin_rad=28.6), "head: ArcFaceHead: margin_rad must be radians"),
    ],
)
def test_mistakes_have_their_place(tiny, head, words):
    with pytest.raises(ConfigError) as error:
        run(tiny | dict(head=head))
    assert words in str(error.value)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.py")), ids=lambda p: p.stem)
def test_every_config_of_this_folder_trains(tiny, path):
    recipe = Config.from_file(path)
    small = dict(
        data=tiny["data"] | dict(type="Digits"), augment=[], epochs=1, runtime=tiny["runtime"], batch_size=32,
        schedule=dict(type="Constant"),
    )  # fmt: skip
    student = dict(recipe["student"]) if isinstance(recipe["student"], dict) else dict(name=recipe["student"])
    if student["name"] in ("agarap_cnn", "gru_rows"):
        student["options"] = dict(student.get("options", {}), img_size=8)
    assert math.isfinite(run(dict(recipe) | small | dict(student=student))["last"]["nll"])
