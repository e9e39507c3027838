"""One file out of a tar or zip archive, and the archives that are refused."""

import lzma
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import IO

from kdzoo.errors import UserError
from kdzoo.files import atomic_path
from kdzoo.zoo.cache import check_relative

# Weights hardly compress; what unpacks to a hundred times its size was made to fill a disk.
LARGEST_RATIO = 100
LARGEST_MEMBER = 8 << 30
CHUNK = 1 << 20
# What the archives' readers raise, and the decompressors below them, which pass their own errors through.
DAMAGED = (
    tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, OSError, EOFError, NotImplementedError,
    RuntimeError,
)  # fmt: skip


def extract(archive: Path, member: str, target: Path) -> None:
    """Write one member of an archive to ``target``, whole or not at all.

    Args:
        archive: ``.tar`` (compressed or not) or ``.zip``, ``.whl``.
        member: its name inside. Only this member is written; the others are looked at.
        target: the file.

    Raises:
        UserError: no archive, no such member; a link or device anywhere in it, a name that climbs
            out, or more bytes than an honest archive of its size holds.
    """
    try:
        if zipfile.is_zipfile(archive):
            check_zip(archive)
            with zipfile.ZipFile(archive) as file:
                _write(file.open(_named(member, file.namelist(), archive)), target, archive)
        else:
            with tarfile.open(archive) as file:
                check_tar(file, archive)
                names = [info.name for info in file if info.isfile()]
                _write(file.extractfile(_named(member, names, archive)), target, archive)
    except DAMAGED as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; gzip's and bz2's have no number
            raise
        line = (str(error).splitlines() or [type(error).__name__])[0].rstrip(":")
        raise UserError(f"{archive} is damaged or no archive ({line}); remove it and download it again") from error


def check_zip(path: Path) -> None:
    """Refuse a zip with links, names that climb out, or a bomb; for torch files too, which are zips.

    Raises:
        UserError: with what was found.
    """
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            if (info.external_attr >> 16) & 0o170000 == 0o120000:
                raise UserError(f"refused: {path} holds a link, {info.filename}")
            _check_name(info.filename, path)
        _check_size(sum(info.file_size for info in file.infolist()), path)


def check_tar(file: tarfile.TarFile, path: Path) -> None:
    """Refuse a tar with links, devices, names that climb out, or a bomb, before it is read through."""
    unpacked = 0
    for info in file:
        if not (info.isfile() or info.isdir()):
            kind = "a link" if info.issym() or info.islnk() else "a device"
            raise UserError(f"refused: {path} holds {kind}, {info.name}")
        _check_name(info.name, path)
        unpacked += info.size
        _check_size(unpacked, path)


def _check_name(name: str, path: Path) -> None:
    try:
        check_relative(name)
    except ValueError as error:
        raise UserError(f"refused: {path} holds {error}") from error


def _check_size(unpacked: int, path: Path) -> None:
    if unpacked > LARGEST_RATIO * path.stat().st_size + (1 << 20):
        raise UserError(f"refused: {path} unpacks to {unpacked:,} bytes or more from {path.stat().st_size:,}")


def _named(member: str, names: list[str], archive: Path) -> str:
    if member not in names:
        raise UserError(f"{archive} has no file {member!r}; it holds {', '.join(sorted(names)[:5])}")
    return member


def _write(source: IO[bytes], target: Path, archive: Path) -> None:
    # The sizes an archive declares may lie; what comes out is counted as well.
    limit, written = min(LARGEST_MEMBER, LARGEST_RATIO * archive.stat().st_size + (1 << 20)), 0
    with source, atomic_path(target) as temporary, open(temporary, "wb") as file:
        while chunk := source.read(CHUNK):
            written += len(chunk)
            if written > limit:
                raise UserError(f"refused: a file in {archive} unpacks to more than {limit:,} bytes")
            file.write(chunk)
