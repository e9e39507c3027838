"""Atomic writing: a file is either the old one or the whole new one, whatever happens in between."""

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from kdzoo.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}\.tmp")  # as mkstemp names them below; the group is the file's own name

UNWRITABLE = (
    errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOENT, errno.EISDIR,
    errno.ENAMETOOLONG, errno.EBUSY,
)  # fmt: skip


@contextmanager
def told(path: str | Path) -> Iterator[None]:
    """Turn what keeps ``path`` from being written into a UserError.

    Raises:
        UserError: the disk is full, or the path can't be written.

    Example:
        >>> with told("log.jsonl"), open("log.jsonl", "a") as file:
        ...     file.write("{}")
    """
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise UserError(
                f"the disk is full: {path} was not written, what stood there is intact; free space"
            ) from error
        if error.errno in UNWRITABLE:
            raise UserError(f"can't write {path}: {error.strerror}; choose a folder you may write to") from error
        raise


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary path beside ``path`` to write to; it takes ``path``'s place when the block ends well.

    What a killed process left half written for the same ``path`` is removed; another process that is
    writing to it now holds a lock on its own.

    Raises:
        UserError: the disk is full or the folder can't be written; the old file is untouched.

    Example:
        >>> with atomic_path("metrics.json") as temporary:
        ...     temporary.write_text("{}")
    """
    path = Path(path)
    temporary = handle = None
    try:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_left_behind(path)
            handle, temporary = _claim(path)
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())
            umask = os.umask(0)
            os.umask(umask)
            os.chmod(temporary, 0o666 & ~umask)  # mkstemp's 0600 would hide results from the user's group
            os.replace(temporary, path)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
            if handle is not None:
                os.close(handle)


def _claim(path: Path) -> tuple[int | None, Path]:
    """A new temporary file beside ``path``, locked while the handle is open; no handle where there are no locks."""
    while True:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        if not _lock(handle):
            os.close(handle)
            return None, Path(name)
        if os.path.exists(name):  # else another process found it before it was locked, and removed it
            return handle, Path(name)
        os.close(handle)


def _lock(handle: int) -> bool:
    """Whether this process now holds the file; the system lets go of it when the process ends, however it ends."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:  # held by another, or a file system without locks
        return False
    return True


def _remove_left_behind(path: Path) -> None:
    """Remove the temporary files of ``path`` whose process is gone."""
    left = []
    with suppress(OSError), os.scandir(path.parent) as entries:
        left = [e.path for e in entries if (own := TEMPORARY.fullmatch(e.name)) and own[1] == path.name]
    for name in left:
        with suppress(OSError):  # it is gone already, or is another user's
            handle = os.open(name, os.O_RDWR)
            try:
                if _lock(handle):
                    os.unlink(name)
            finally:
                os.close(handle)


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
