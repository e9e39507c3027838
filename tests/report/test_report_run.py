"""Reading one run: whole, cut off, unfinished, damaged."""

import json

import numpy as np
import pytest

from kdzoo.report import write_report
from kdzoo.report.run import Scores, read_run


def test_reads_a_finished_run(tmp_path, make_run, study):
    run = read_run(study / "distilled" / "seed1")
    assert (run.finished, run.status, run.seed, run.epochs) == (True, "finished", 1, 3)
    assert (run.network, run.parameters, run.teacher, run.teacher_top1) == ("resnet8", 78042, "resnet20", 92.0)
    assert run.last == Scores(3, 84.0, 99.0, 0.5, 2.5)
    assert run.best.top1 == 84.5
    assert [epoch.test_top1 for epoch in run.log] == [82.0, 83.0, 84.0]
    assert run.log[1].terms == {"CrossEntropy": 1.0}
    assert (run.seconds, run.device, run.data) == (61.0, "cpu", "CIFAR10")
    assert run.facts["git revision"] == "abc1234"
    assert run.evaluation.classes == ["class0", "class1"]
    assert (run.broken_lines, run.problems) == (0, [])


def test_a_run_without_a_teacher_has_none(tmp_path, make_run):
    run = read_run(make_run(tmp_path / "run"))
    assert (run.teacher, run.teacher_top1) == ("", None)


def test_a_cut_off_last_line_is_counted_and_said(tmp_path, make_run, make_line):
    folder = make_run(tmp_path / "run", finished=False, epochs=15, log=[make_line(e) for e in range(1, 8)])
    with open(folder / "log.jsonl", "a") as log:
        log.write('{"epoch": 8, "step": 80, "lo')
    run = read_run(folder)
    assert run.log[-1].epoch == 7
    assert run.broken_lines == 1
    assert run.status == "unfinished, epoch 7 of 15"
    assert len(run.problems) == 1 and "1 broken line in log.jsonl" in run.problems[0]


def test_an_unfinished_run_takes_its_settings_from_the_config_and_its_time_from_the_log(tmp_path, make_run, make_line):
    run = read_run(make_run(tmp_path / "run", finished=False, log=[make_line(1), make_line(2)]))
    assert (run.network, run.data, run.epochs, run.seconds) == ("resnet8", "CIFAR10", 3, 8.0)
    assert run.losses == [{"type": "CrossEntropy"}]
    assert run.last == Scores()


def test_a_run_that_has_just_begun(tmp_path, make_run):
    run = read_run(make_run(tmp_path / "run", finished=False, log=[]))
    assert (run.status, run.seconds) == ("unfinished, epoch 0 of 3", None)


@pytest.mark.parametrize(
    "line",
    ["{", "[]", "3", '{"step": 4}', '{"epoch": "4"}', '{"epoch": 4, "loss": "low"}', '{"epoch": 4, "terms": [1]}'],
)
def test_lines_that_are_no_epochs_are_broken(tmp_path, make_run, make_line, line):
    folder = make_run(tmp_path / "run")
    text = (folder / "log.jsonl").read_text()
    (folder / "log.jsonl").write_text(f"{line}\n\n{text}")
    run = read_run(folder)
    assert run.broken_lines == 1
    assert [epoch.epoch for epoch in run.log] == [1, 2, 3]


def test_epochs_without_evaluation_have_no_test_scores(tmp_path, make_run):
    log = [{"epoch": 1, "loss": 2.0}, {"epoch": 2, "loss": 1.0, "test_top1": 9.0}]
    run = read_run(make_run(tmp_path / "run", log=log))
    assert [epoch.test_top1 for epoch in run.log] == [None, 9.0]


def test_the_config_is_never_executed(tmp_path, make_run):
    folder, proof = make_run(tmp_path / "run", finished=False, log=[]), tmp_path / "proof"
    (folder / "config.py").write_text(f"open({str(proof)!r}, 'w')\nepochs = 9\nlosses = print('x')\n")
    run = read_run(folder)
    assert run.epochs == 9
    assert not proof.exists()


def test_a_config_that_is_no_python_is_told(tmp_path, make_run):
    folder = make_run(tmp_path / "run")
    (folder / "config.py").write_text("epochs = = 3")
    assert "config.py is no Python" in read_run(folder).problems[0]


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"last": {"top1": "high"}}', '{"epochs": "15"}', '{"student": "resnet8"}']
)
def test_damaged_metrics_leave_the_run_unfinished_and_are_told(tmp_path, make_run, text):
    folder = make_run(tmp_path / "run")
    (folder / "metrics.json").write_text(text)
    run = read_run(folder)
    assert not run.finished
    assert "metrics.json is damaged" in run.problems[0]


def test_top5_may_be_missing(tmp_path, make_run):
    metrics = {"last": {"epoch": 3, "top1": 80.0, "top5": None, "nll": 1.0, "ece": 1.0}, "git": None}
    run = read_run(make_run(tmp_path / "run", metrics=metrics))
    assert run.finished and run.last.top5 is None


@pytest.mark.parametrize(
    "changes, reason",
    [
        ({"confusion": np.zeros((3, 3), np.int64)}, "2 classes"),
        ({"confusion": np.zeros((2, 2))}, "whole numbers"),
        ({"mistakes_images": np.zeros((2, 8, 8, 3))}, "uint8"),
        ({"mistakes_images": np.zeros((2, 8, 8, 4), np.uint8)}, "uint8"),
        ({"mistakes_true": np.array([0])}, "differ in length"),
        ({"mistakes_true": np.array([0, 2])}, "beyond the 2"),
        ({"mistakes_predicted": np.array([-1, 0])}, "beyond the 2"),
        ({"classes": np.array(["a", {}], dtype=object)}, "allow_pickle"),
    ],
)
def test_an_evaluation_that_does_not_fit_is_left_out_and_told(tmp_path, make_run, changes, reason):
    run = read_run(make_run(tmp_path / "run", evaluation=changes))
    assert run.finished and run.evaluation is None
    assert "evaluation.npz was left out" in run.problems[0] and reason in run.problems[0]


@pytest.mark.parametrize("kept", [0, 40, 0.5, 0.99])
def test_a_truncated_evaluation_is_left_out_and_told(tmp_path, make_run, kept):
    folder = make_run(tmp_path / "run")
    whole = (folder / "evaluation.npz").read_bytes()
    (folder / "evaluation.npz").write_bytes(whole[: int(kept * len(whole)) if kept < 1 else kept])
    run = read_run(folder)
    assert run.evaluation is None and "evaluation.npz was left out" in run.problems[0]


def test_an_evaluation_with_flipped_bytes_is_left_out_and_told(tmp_path, make_run):
    folder = make_run(tmp_path / "run")
    content = bytearray((folder / "evaluation.npz").read_bytes())
    content[60:120] = bytes(60)
    (folder / "evaluation.npz").write_bytes(content)
    run = read_run(folder)
    assert run.evaluation is None and "evaluation.npz was left out" in run.problems[0]


def test_an_evaluation_without_an_array_names_it(tmp_path, make_run, make_evaluation):
    folder = make_run(tmp_path / "run")
    arrays = make_evaluation(2)
    del arrays["classes"]
    np.savez(folder / "evaluation.npz", **arrays)
    assert "no array" in read_run(folder).problems[0] and "classes" in read_run(folder).problems[0]


def test_metrics_with_nan_are_read(tmp_path, make_run):
    folder = make_run(tmp_path / "run")
    values = json.loads((folder / "metrics.json").read_text())
    values["last"]["nll"] = float("nan")
    (folder / "metrics.json").write_text(json.dumps(values))
    assert np.isnan(read_run(folder).last.nll)


def test_a_folder_of_evaluations_alone_is_read_and_drawn(tmp_path):
    folder = tmp_path / "evaluated"
    folder.mkdir()
    record = {"task": "ood", "network": "resnet20", "checkpoint": "zoo:cifar10/resnet20-12e"}
    (folder / "robust_certify_cohen_sigma0.25.json").write_text(json.dumps(record))
    (folder / "robust_pgd.json").write_text("{")
    run = read_run(folder)
    assert (run.status, run.network, run.finished, run.log) == ("evaluated only", "resnet20", False, [])
    assert run.facts["weights evaluated"] == "zoo:cifar10/resnet20-12e"
    assert len(run.problems) == 1 and run.problems[0].startswith("robust_pgd.json is damaged")
    text = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "evaluated only" in text and "1 run" in text and "0 of 1 run" not in text
