"""A verified file in the cache: mirrors in turn, one download for all processes, nothing half-written."""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.zoo.cache import is_offline, set_aside, sha256_of
from kdzoo.zoo.transfer import Refused, disk_error, transfer


def download(
    urls: Sequence[str], path: Path, sha256: str | None, size: int | None = None, offline: bool | None = None
) -> Path:
    """The file at ``path``, downloaded where it is not there yet.

    It appears under its name only after its hash matched; until then it is ``.NAME.part``, which the
    next call goes on with. Two processes share one download by a lock file beside it.

    Args:
        urls: mirrors, tried in turn.
        path: where the file is to be.
        sha256: 64 hexadecimal digits, or the first 8 or more where no more is published. ``None``: the
            file can't be verified, is never resumed, and its hash is for the caller to record.
        size: bytes, where known.
        offline: ask no server; default: what ``KDZOO_OFFLINE`` says.

    Raises:
        UserError: offline and not here; no mirror gives it; a wrong hash (the file is kept aside); a
            full disk; a cache that can't be written.

    Example:
        >>> download(["https://example.org/net.safetensors"], Path("net.safetensors"), sha256="9f86d081...")
    """
    if path.is_file() and matches(path, sha256):
        return path
    offline = is_offline() if offline is None else offline
    if offline and not path.is_file():
        raise UserError(
            f"offline, and {path.name} is not here; looked for {path}; fetch it with "
            "tools/download.py where there is a network, or unset KDZOO_OFFLINE"
        )
    from filelock import FileLock

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not os.access(path.parent, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with FileLock(path.with_name(f".{path.name}.lock")):
            return _locked(urls, path, sha256, size, offline)
    except OSError as error:
        raise disk_error(error, path) from error


def _locked(urls: Sequence[str], path: Path, sha256: str | None, size: int | None, offline: bool) -> Path:
    if path.is_file():  # another process was faster, or the file is not what it should be
        if matches(path, sha256):
            return path
        found = sha256_of(path)
        kept = set_aside(path, found)
        if offline:
            raise UserError(wrong_hash(path.name, sha256, found, kept))
    room = shutil.disk_usage(path.parent).free
    if size is not None and room < size:
        raise UserError(
            f"the disk is full: {path.name} needs {size:,} bytes and {path.parent} has {room:,}; "
            "free space or set KDZOO_CACHE to another folder"
        )
    told = []
    for url in urls:
        try:
            _one_mirror(url, path.with_name(f".{path.name}.part"), path, sha256, size)
        except Refused as error:
            told.append(f"{url} {error}")
            continue
        return path
    if not told:
        told = ["no address is known; set KDZOO_ZOO_URL to the zoo's base address"]
    raise UserError(f"{path.name} could not be downloaded: {'; '.join(told)}")


def _one_mirror(url: str, part: Path, path: Path, sha256: str | None, size: int | None) -> None:
    if sha256 is None:  # nothing would tell a file pieced together from two
        part.unlink(missing_ok=True)
    resumed = part.is_file() and part.stat().st_size > 0
    if not (resumed and matches(part, sha256)):
        transfer(url, part, size, resume=sha256 is not None)
    if resumed and not matches(part, sha256):
        # The first half may be of another mirror or an older file: once more from nothing.
        part.unlink()
        transfer(url, part, size)
    if not matches(part, sha256):
        found = sha256_of(part)
        raise Refused(f"gives another file: {wrong_hash(path.name, sha256, found, set_aside(part, found))}")
    os.replace(part, path)


def matches(path: Path, sha256: str | None) -> bool:
    """Whether a file's hash is, or begins with, the one expected; true where none is known."""
    return sha256 is None or sha256_of(path).startswith(sha256)


def wrong_hash(name: str, expected: str | None, found: str, kept: Path) -> str:
    return f"{name} has sha256 {found}, expected {expected}; it is kept as {kept} and never loaded"
