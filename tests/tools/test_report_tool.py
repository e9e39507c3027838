"""tools/report.py: one page, the table, and one line for a mistake."""

import json
import subprocess
import sys

import pytest

from kdzoo.tools.report import main


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "kd"
    folder.mkdir()
    (folder / "log.jsonl").write_text(json.dumps({"epoch": 1, "loss": 1.0, "test_top1": 40.0}) + "\n")
    return folder


def test_writes_the_page_and_prints_the_table(run, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main([str(run), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-2:] == ["kd: unfinished, epoch 1", f"wrote {out}"]
    assert printed.err == ""


@pytest.mark.parametrize("words", ["no folder", "no run"])
def test_a_mistake_is_one_line_on_stderr(words, tmp_path, capsys):
    folder = tmp_path / "runs"
    if words == "no run":
        folder.mkdir()
    out = tmp_path / "page.html"
    assert main([str(folder), "--out", str(out)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert len(printed.err.splitlines()) == 1 and printed.err.startswith("error: ") and words in printed.err
    assert not out.exists()


def test_an_out_that_is_a_folder_is_told(run, tmp_path, capsys):
    assert main([str(run), "--out", str(tmp_path)]) == 2
    assert "is a folder" in capsys.readouterr().err


def test_help_does_not_load_torch():
    code = "import sys; from kdzoo.tools.report import main\ntry:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
    code += "assert not {'torch', 'matplotlib'} & set(sys.modules), 'heavy'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "RUN" in done.stdout
