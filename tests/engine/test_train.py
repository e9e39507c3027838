"""Whole runs on a few digits: what they write and what they repeat."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_run import run, same_weights

from kdzoo.config import Config
from kdzoo.engine import train
from kdzoo.errors import UserError


def test_a_run_writes_its_folder(tiny, tmp_path):
    tiny["runtime"]["tensorboard"] = True
    metrics = run(tiny)
    out = tmp_path / "out"
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3] and lines[-1]["step"] == 9
    assert lines[-1]["test_top1"] == metrics["last"]["top1"]
    assert max(line["test_top1"] for line in lines) == metrics["best"]["top1"]
    assert metrics["student"]["init"] == "random, seed 0" and metrics["teacher"] is None
    assert metrics["train_images"] == 96 and metrics["seed"] == 0 and metrics["versions"]["torch"]
    assert np.load(out / "evaluation.npz")["confusion"].sum() == 60
    assert list((out / "tensorboard").iterdir())
    assert not list(out.rglob("*.tmp"))
    again = train(Config.from_file(out / "config.py"), "again", device="cpu")  # the resolved config trains again
    assert again["last"] == metrics["last"] and same_weights(out, tmp_path / "again")


def test_best_weights_score_what_the_metrics_say(tiny, tmp_path):
    from kdzoo.engine.testing import test_checkpoint

    metrics = run(tiny)
    for which in ("best", "last"):
        result = test_checkpoint(Config(tiny), str(tmp_path / "out" / f"{which}.safetensors"), "cpu", "tested")
        assert result.scores.top1 == pytest.approx(metrics[which]["top1"])
        assert result.scores.nll == pytest.approx(metrics[which]["nll"], rel=1e-5)
    assert json.loads((tmp_path / "tested" / "test.json").read_text())["top1"] == pytest.approx(metrics["last"]["top1"])
    assert sum(count for count, *_ in result.most_confused(100)) == 60 - round(result.scores.top1 * 0.6)


def test_the_seed_decides(tiny, tmp_path):
    run(tiny, "a")
    run(tiny, "b")
    run(tiny | dict(seed=1), "c")
    assert same_weights(tmp_path / "a", tmp_path / "b") and not same_weights(tmp_path / "a", tmp_path / "c")


def test_the_teacher_changes_nothing_of_the_students_start(tiny, tmp_path):
    run(tiny, "teacher")
    checkpoint = str(tmp_path / "teacher" / "last.safetensors")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint=checkpoint)
    silent = [dict(type="CrossEntropy"), dict(type="KD", weight=0.0)]
    metrics = run(tiny | dict(teacher=teacher, losses=silent), "silent")
    run(tiny, "alone")
    assert same_weights(tmp_path / "silent", tmp_path / "alone")
    assert metrics["teacher"]["top1"] > 0 and len(metrics["teacher"]["sha256"]) == 64


def test_accumulation_changes_rounding_only_where_nothing_looks_across_the_batch(tiny, tmp_path):
    tiny["student"] = dict(name="gru_rows", options=dict(img_size=8, drop_rate=0.0))  # no batch norm
    run(tiny, "whole")
    run(tiny | dict(runtime=tiny["runtime"] | dict(accumulate=3)), "parts")
    a, b = load_file("whole/last.safetensors"), load_file("parts/last.safetensors")
    assert all(torch.allclose(a[k], b[k], atol=1e-5) for k in a)


def test_the_cache_spares_the_teacher_and_changes_rounding_only(tiny, tmp_path):
    run(tiny, "teacher")
    checkpoint = str(tmp_path / "teacher" / "last.safetensors")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint=checkpoint)
    distil = tiny | dict(teacher=teacher, losses=[dict(type="CrossEntropy"), dict(type="KD")], epochs=4)
    plain = run(distil, "plain")
    cached = distil | dict(runtime=tiny["runtime"] | dict(teacher_cache=True))
    first, second = run(cached, "first"), run(cached, "second")
    assert first["teacher_cache"]["computed"] > 0 and second["teacher_cache"] == dict(computed=0, served=4 * 96)
    a, b = load_file("plain/last.safetensors"), load_file("first/last.safetensors")
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-4) for k in a)
    assert same_weights(tmp_path / "first", tmp_path / "second")
    assert plain["last"]["top1"] == pytest.approx(first["last"]["top1"], abs=2)


def test_the_cache_tells_teachers_of_equal_weights_apart(tiny):
    head = dict(type="CosFaceHead", scale=10.0)
    run(tiny | dict(head=head, losses=[dict(type="HeadLoss")]), "teacher")
    save_file(load_file("teacher/last.safetensors"), "teacher/last.safetensors")  # without word of the head's scale
    cfg = tiny | dict(losses=[dict(type="KD")], epochs=1, runtime=tiny["runtime"] | dict(teacher_cache=True))
    served = []
    for scale in (10.0, 2.0, 2.0):
        head = dict(type="CosFaceHead", scale=scale)
        teacher = dict(
            name="resnet8", options=tiny["student"]["options"], checkpoint="teacher/last.safetensors", head=head
        )
        served.append(run(cfg | dict(teacher=teacher), "student")["teacher_cache"]["served"])
    assert served == [0, 0, 96]  # another scale, another teacher


def test_the_cache_is_refused_where_views_are_unbounded(tiny):
    run(tiny, "teacher")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint="teacher/last.safetensors")
    cfg = tiny | dict(teacher=teacher, losses=[dict(type="KD")], runtime=dict(teacher_cache=True))
    with pytest.raises(UserError, match=r"runtime\.teacher_cache: the views of Mixup"):
        run(cfg | dict(augment=[dict(type="Mixup", alpha=1.0)]), "x")


def test_soft_targets_and_every_option_train(tiny):
    cfg = tiny | dict(
        augment=[dict(type="PadCrop", padding=1), dict(type="CutMix", alpha=1.0)],
        ema_decay=0.9,
        clip_grad=1.0,
        epochs=2,
        runtime=tiny["runtime"] | dict(precision="bf16", accumulate=2, evaluate_every=2),
    )
    metrics = run(cfg)
    assert metrics["last"]["epoch"] == 2 and metrics["precision"] == "bf16"
    assert [("test_top1" in json.loads(x)) for x in open("out/log.jsonl")] == [False, True]


@pytest.mark.slow
def test_compiled_training_gives_the_same_curve(tiny):
    plain = run(tiny, "plain")
    compiled = run(tiny | dict(runtime=tiny["runtime"] | dict(compile=True)), "compiled")
    assert compiled["last"]["nll"] == pytest.approx(plain["last"]["nll"], rel=1e-2)


def test_an_image_folder_with_a_corrupt_file_trains_and_counts_it(tiny, tmp_path, caplog):
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4)):
        for name, shade in (("dark", 60), ("light", 190)):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(shade - 40, shade + 40, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "pictures" / "train" / "dark" / "3.png").write_bytes(b"not a picture")
    cfg = tiny | dict(
        data=dict(type="ImageFolder", path="pictures", size=16, resize=18),
        augment=[dict(type="RandomResizedCrop"), dict(type="Flip")],
        batch_size=5,
        runtime=tiny["runtime"] | dict(workers=0),
    )
    metrics = run(cfg)
    assert metrics["unreadable_images"] == 1 and metrics["last"]["epoch"] == 3
    assert "3.png" in caplog.text


def test_the_last_batch_is_split_into_parts_that_batch_norm_can_take(tiny):
    tiny |= dict(student="resnet18", epochs=1, data=dict(type="Digits", train_limit=22, test_limit=10), batch_size=16)
    tiny["runtime"] |= dict(accumulate=4)  # a last batch of 6, whose maps end at 1 x 1
    assert run(tiny)["last"]["epoch"] == 1
