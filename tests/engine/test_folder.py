"""A run's folder: where it is, and what is never written over."""

import json

import pytest
from tiny_run import run

from kdzoo.config import Config
from kdzoo.errors import UserError


@pytest.mark.parametrize("folder", [".", "..", "mine"])
def test_a_folder_of_other_things_is_never_renamed(tiny, tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="current folder|holds files and no earlier run"):
        run(tiny, folder)
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_a_config_named_configs_has_a_folder_of_its_own():
    from kdzoo.engine.folder import default_folder

    assert str(default_folder(Config({}, "configs.py"))) == "work_dirs/configs"
    assert str(default_folder(Config({}, "a/configs/b/c.py"))) == "work_dirs/b/c"


def test_the_revision_is_the_checkouts_own(tmp_path, monkeypatch):
    import subprocess

    from kdzoo.engine import folder

    project = tmp_path / "project"
    (project / "site-packages" / "kdzoo").mkdir(parents=True)
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git[:3], "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    monkeypatch.setattr(folder.kdzoo, "__file__", str(project / "site-packages" / "kdzoo" / "__init__.py"))
    assert folder.git_revision() is None  # a wheel in an environment within somebody's repository
    monkeypatch.setattr(folder.kdzoo, "__file__", str(project / "kdzoo" / "__init__.py"))
    assert folder.git_revision()


def test_an_earlier_run_is_set_aside_not_overwritten(tiny, capsys):
    first = run(tiny)
    run(tiny | dict(seed=3))
    assert "it is now out.1" in capsys.readouterr().out
    assert json.loads(open("out.1/metrics.json").read())["last"] == first["last"]
    assert json.loads(open("out/metrics.json").read())["seed"] == 3


def test_a_mistake_in_the_config_leaves_an_earlier_run_where_it_is(tiny, tmp_path):
    first = run(tiny | dict(epochs=1))
    for mistake in (dict(losses=[dict(type="Cross")]), dict(augment=[dict(type="Cutout", size=2, mean=["a"])])):
        with pytest.raises(UserError, match="losses|augment"):
            run(tiny | mistake)
    assert not (tmp_path / "out.1").exists()
    assert json.loads(open("out/metrics.json").read())["last"] == first["last"]


@pytest.mark.parametrize("left", [["log.jsonl"], ["log.jsonl", "config.py"]])
def test_a_run_stopped_as_it_began_can_be_begun_again(tiny, tmp_path, monkeypatch, left):
    """Killed while the last of these files was written: the folder holds what is no file of a run, or a log alone."""
    (tmp_path / "out").mkdir()
    for name in left[:-1]:
        (tmp_path / "out" / name).touch()
    (tmp_path / "out" / f".{left[-1]}.abcdefgh.tmp").touch()
    assert run(tiny | dict(epochs=1))["last"]["epoch"] == 1
    assert not list((tmp_path / "out").rglob(".*"))


def test_the_log_is_the_first_file_of_a_run(tiny, tmp_path, monkeypatch):
    from kdzoo.engine import folder

    genuine, written = folder.write_text, []
    monkeypatch.setattr(folder, "write_text", lambda path, text: (written.append(path.name), genuine(path, text)))
    run(tiny | dict(epochs=1))
    assert written[:2] == ["log.jsonl", "config.py"]
