"""Atomic writing: a file is either the old one or the whole new one, whatever happens in between."""

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kdzoo.errors import UserError

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

    Raises:
        UserError: the disk is full or the folder can't be written; the old file is untouched.

    Example:
        >>> with atomic_path("metrics.json") as temporary:
        ...     temporary.write_text("{}")
    """
    path = Path(path)
    temporary = None
    try:
        with told(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
            os.close(handle)
            temporary = Path(name)
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


def write_text(path: str | Path, text: str) -> None:
    """Write a text file atomically, as UTF-8."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
