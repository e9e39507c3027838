"""Atomic writing: the old file or the whole new one, and no litter."""

import errno
import os

import pytest

from kdzoo.errors import UserError
from kdzoo.files import atomic_path, write_text


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
