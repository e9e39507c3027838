"""Seeds and studies."""

import json
from statistics import mean, stdev

import pytest

from kdzoo.config import Config
from kdzoo.engine import train
from kdzoo.errors import ConfigError


def run(cfg, folder="out", **keywords):
    return train(Config(cfg, "tiny.py"), folder, device="cpu", **keywords)


def test_seeds_are_aggregated(tiny):
    summary = run(tiny | dict(epochs=1), seeds=[0, 3])
    values = [json.loads(open(f"out/seed{s}/metrics.json").read())["last"]["top1"] for s in (0, 3)]
    assert summary["runs"]["out"]["last"] == dict(mean=mean(values), deviation=stdev(values), values=values)
    assert summary["runs"]["out"]["seeds"] == [0, 3]


@pytest.fixture
def study(tiny):
    small = tiny["student"]
    runs = [
        dict(name="teacher", student=dict(name="resnet8", options=dict(widths=(8, 8, 8, 8)))),
        dict(name="alone"),
        dict(
            name="distilled",
            teacher=dict(name="resnet8", options=dict(widths=(8, 8, 8, 8)), checkpoint="run:teacher"),
            losses=[dict(type="CrossEntropy", weight=0.5), dict(type="KD", weight=0.5)],
        ),
    ]
    return tiny | dict(student=small, epochs=1, seeds=[0, 1], runs=runs)


def test_a_study_hands_each_seed_its_own_teacher(study):
    summary = run(study)
    assert list(summary["runs"]) == ["teacher", "alone", "distilled"]
    assert json.loads(open("out/summary.json").read()) == summary
    for seed in (0, 1):
        metrics = json.loads(open(f"out/distilled/seed{seed}/metrics.json").read())
        assert metrics["teacher"]["checkpoint"].endswith(f"teacher/seed{seed}/last.safetensors")
        teacher = json.loads(open(f"out/teacher/seed{seed}/metrics.json").read())
        assert metrics["teacher"]["top1"] == pytest.approx(teacher["last"]["top1"])
    assert run(study, resume=True) == summary


def test_a_study_goes_on_where_it_stopped(study):
    summary = run(study)
    import shutil

    shutil.rmtree("out/distilled/seed1")
    assert run(study, resume=True) == summary


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda runs: runs[2]["teacher"].update(checkpoint="run:techer"), ["runs[2].teacher.checkpoint", "'teacher'?"]),
        (lambda runs: runs[2]["losses"].append(dict(type="KDD")), ["runs[2].losses[2]", "unknown loss 'KDD'"]),
        (lambda runs: runs[1].update(epoch=3), ["runs[1]", "unknown 'epoch'", "'epochs'?"]),
        (lambda runs: runs[1].pop("name"), ["runs[1]", "name"]),
        (lambda runs: runs[1].update(name="teacher"), ["runs[1].name", "taken"]),
        (lambda runs: runs[1].update(name="../up"), ["runs[1].name"]),
        (lambda runs: runs[1].update(seeds=["x"]), ["runs[1]", "seed"]),
        (lambda runs: runs[1].update(augment=["Flip"]), ["runs[1].augment[0]", "'Flip'"]),
        (lambda runs: runs[1].update(augment=[dict(type="Flip", q=1)]), ["runs[1].augment[0]", "'q'"]),
        (lambda runs: runs[1].update(data=dict(limit=1)), ["runs[1].data", "'limit'"]),
        (lambda runs: runs[1].update(student=dict(name="resnt8")), ["runs[1].student", "'resnet8'"]),
        (lambda runs: runs[1].update(schedule=dict(type="Cosin")), ["runs[1].schedule", "'Cosine'?"]),
    ],
)
def test_mistakes_are_told_before_anything_runs(study, tmp_path, change, words):
    change(study["runs"])
    with pytest.raises(ConfigError) as error:
        run(study)
    for word in words:
        assert word in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_study_goes_on_under_another_spelling_of_its_folder(study, tmp_path):
    run(study)
    again = train(Config(study, "study.py"), tmp_path / "out", device="cpu", resume=True)
    assert set(again["runs"]) == {entry["name"] for entry in study["runs"]}


def test_a_run_reference_outside_a_study_is_refused(tiny):
    with pytest.raises(ConfigError, match="no earlier run of that name"):
        run(tiny | dict(teacher=dict(name="resnet8", checkpoint="run:teacher")))
