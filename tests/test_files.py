"""Atomic writing: the old file or the whole new one, and no litter."""

import errno
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kdzoo import files
from kdzoo.errors import UserError
from kdzoo.files import atomic_path, write_text

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}


def test_the_new_file_takes_the_old_ones_place(tmp_path):
    path = tmp_path / "deep" / "file.txt"
    write_text(path, "one")
    write_text(path, "zwei \N{SNOWMAN}")
    assert path.read_text(encoding="utf-8") == "zwei \N{SNOWMAN}" and os.listdir(path.parent) == ["file.txt"]
    assert path.stat().st_mode & 0o044 == 0o044 & ~current_umask()


def current_umask():
    umask = os.umask(0)
    os.umask(umask)
    return umask


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "the disk is full"),
        (OSError(errno.EROFS, "Read-only file system"), "can't write .* choose a folder"),
    ],
)
def test_a_failed_write_leaves_the_old_file(tmp_path, error, expected):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(UserError, match=expected), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_other_errors_pass_and_leave_the_old_file(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "old")
    with pytest.raises(KeyError), atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyError("x")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["file.txt"]


def test_what_a_killed_process_left_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "file.txt"
    script = "import os\nfrom kdzoo.files import atomic_path\nwith atomic_path('file.txt') as t:\n    os._exit(9)\n"
    assert subprocess.run([sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT).returncode == 9
    others = [".file.txt.bak", ".other.file.txt.abcdefgh.tmp", ".file.txt.x.abcdefgh.tmp"]
    for name in others:
        (tmp_path / name).touch()
    assert len(os.listdir(tmp_path)) == 4
    write_text(path, "whole")
    assert sorted(os.listdir(tmp_path)) == sorted([*others, "file.txt"])


def test_what_another_process_is_writing_is_left_to_it(tmp_path):
    script = (
        "import sys\nfrom kdzoo.files import atomic_path\nwith atomic_path('file.txt') as t:\n"
        "    t.write_text('half')\n    print('writing', flush=True)\n"
        "    sys.stdin.readline()\n    t.write_text('theirs')\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", script], cwd=tmp_path, env=ENVIRONMENT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert other.stdout.readline() == "writing\n"
    write_text(tmp_path / "file.txt", "ours")
    assert len(os.listdir(tmp_path)) == 2
    other.communicate("go on\n")
    assert other.returncode == 0 and (tmp_path / "file.txt").read_text() == "theirs"
    assert os.listdir(tmp_path) == ["file.txt"]


def test_a_temporary_file_another_process_took_for_left_behind_is_made_anew(tmp_path, monkeypatch):
    genuine, made = tempfile.mkstemp, []

    def mkstemp(**keywords):
        handle, name = genuine(**keywords)
        made.append(name)
        if len(made) == 1:
            os.unlink(name)
        return handle, name

    monkeypatch.setattr(tempfile, "mkstemp", mkstemp)
    write_text(tmp_path / "file.txt", "whole")
    assert len(made) == 2 and os.listdir(tmp_path) == ["file.txt"]


@pytest.mark.parametrize("how", ["no module", "no locks"])
def test_without_locks_files_are_written_and_nothing_is_removed(tmp_path, monkeypatch, how):
    def refuse(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    if how == "no module":
        monkeypatch.setattr(files, "fcntl", None)
    else:
        monkeypatch.setattr(files.fcntl, "flock", refuse)
    (tmp_path / ".file.txt.abcdefgh.tmp").touch()
    write_text(tmp_path / "file.txt", "whole")
    assert sorted(os.listdir(tmp_path)) == [".file.txt.abcdefgh.tmp", "file.txt"]
