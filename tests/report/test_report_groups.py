"""Finding runs, grouping them by seed, and their order."""

import json
import os

import pytest

from kdzoo.errors import UserError
from kdzoo.report import read_groups


def names(groups):
    return [group.name for group in groups]


def test_a_study_in_the_order_of_its_summary(study):
    groups = read_groups([study])
    assert names(groups) == ["teacher", "alone", "distilled"]
    assert [run.seed for run in groups[1].runs] == [0, 1, 2]
    assert groups[2].label(groups[2].runs[1]) == "distilled/seed1"


def test_a_summary_may_list_names_and_leave_some_out(study):
    (study / "summary.json").write_text(json.dumps({"runs": ["distilled", "teacher"]}))
    assert names(read_groups([study])) == ["distilled", "teacher", "alone"]


def test_without_a_summary_the_order_of_creation(study):
    (study / "summary.json").unlink()
    for age, name in enumerate(["distilled", "teacher", "alone"]):
        for seed in range(3):
            os.utime(study / name / f"seed{seed}" / "config.py", (1000 + age, 1000 + age))
    assert names(read_groups([study])) == ["distilled", "teacher", "alone"]


def test_given_folders_keep_their_order_and_count_once(study):
    groups = read_groups([study / "distilled", study / "alone" / "seed1", study / "alone", study])
    assert names(groups) == ["distilled", "alone", "teacher"]
    assert [run.seed for run in groups[1].runs] == [0, 1, 2]


def test_seeds_are_sorted_as_numbers(tmp_path, make_run):
    for seed in (10, 2, 0):
        make_run(tmp_path / "kd" / f"seed{seed}", seed=seed)
    (group,) = read_groups([tmp_path / "kd"])
    assert [run.seed for run in group.runs] == [0, 2, 10]


def test_a_single_run_is_a_group_and_its_subfolders_are_left_alone(tmp_path, make_run):
    run = make_run(tmp_path / "kd", seed=5)
    make_run(run / "last" / "old")
    (group,) = read_groups([run])
    assert (group.name, group.runs[0].seed, group.label(group.runs[0])) == ("kd", 5, "kd")
    assert len(group.runs) == 1


def test_one_seed_folder_is_named_by_its_parent(study):
    (group,) = read_groups([study / "alone" / "seed2"])
    assert names([group]) == ["alone"] and len(group.runs) == 1


def test_equal_names_are_told_apart_by_their_parents(tmp_path, make_run):
    make_run(tmp_path / "a" / "kd" / "seed0")
    make_run(tmp_path / "b" / "kd" / "seed0")
    assert names(read_groups([tmp_path / "b", tmp_path / "a"])) == ["b/kd", "a/kd"]


def test_runs_side_by_side_that_are_no_seeds_stay_apart(tmp_path, make_run):
    make_run(tmp_path / "seedling")
    make_run(tmp_path / "seed1x")
    assert sorted(names(read_groups([tmp_path]))) == ["seed1x", "seedling"]


def test_the_first_finished_run_stands_for_the_group(tmp_path, make_run):
    make_run(tmp_path / "kd" / "seed0", finished=False)
    make_run(tmp_path / "kd" / "seed1", seed=1)
    (group,) = read_groups([tmp_path])
    assert group.first.seed == 1
    assert len(group.finished) == 1


@pytest.mark.parametrize("paths, words", [(["nowhere"], "no folder"), (["empty"], "no run"), ([], "no run given")])
def test_nothing_to_read_is_one_clear_line(tmp_path, paths, words):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=words) as caught:
        read_groups([tmp_path / path for path in paths])
    assert "\n" not in str(caught.value)
    assert all(path in str(caught.value) for path in paths)


@pytest.mark.parametrize("text", ["{", "{}", "[]", '{"runs": 3}', '{"runs": [1]}'])
def test_a_damaged_summary_is_named(study, text):
    (study / "summary.json").write_text(text)
    with pytest.raises(UserError, match="summary.json is damaged"):
        read_groups([study])
