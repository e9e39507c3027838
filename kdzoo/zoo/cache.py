"""The cache of downloaded weights: where it is, what may be written into it, and what its files hash to."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from kdzoo.errors import UserError


def cache_folder() -> Path:
    """``KDZOO_CACHE``, or ``kdzoo`` in the user's cache folder (``XDG_CACHE_HOME``, else ``~/.cache``)."""
    home = os.environ.get("KDZOO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "kdzoo"
    return Path(home).expanduser()


def is_offline() -> bool:
    """Whether ``KDZOO_OFFLINE`` is set to anything but 0, no or false."""
    return os.environ.get("KDZOO_OFFLINE", "").lower() not in ("", "0", "no", "false")


@contextmanager
def offline() -> Iterator[None]:
    """No server is asked inside, by any source; the environment is as it was afterwards."""
    before = os.environ.get("KDZOO_OFFLINE")
    os.environ["KDZOO_OFFLINE"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["KDZOO_OFFLINE"]
        else:
            os.environ["KDZOO_OFFLINE"] = before


def check_relative(name: str) -> None:
    """Refuse a file name that is not a plain path below a folder.

    Raises:
        ValueError: absolute, empty, with ``..``, backslashes, a drive or a control character.
    """
    parts = PurePosixPath(name).parts
    plain = bool(parts) and not name.startswith("/") and ".." not in parts and not set(name) & set('\\:\0\n\r')
    if not plain:
        raise ValueError(f"{name!r} is no plain path below a folder; expected one like 'digits/resnet20.safetensors'")


def inside(folder: Path, name: str) -> Path:
    """``folder/name``, refused where it climbs out, be it by its name or by a link in the folder.

    Raises:
        UserError: the path would lie outside ``folder``.
    """
    try:
        check_relative(name)
    except ValueError as error:
        raise UserError(f"refused: {error}") from error
    path = folder / name
    if not path.parent.resolve().is_relative_to(folder.resolve()) or path.is_symlink():
        raise UserError(f"refused: {path} leads out of {folder} by a link; remove the link")
    return path


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, as 64 hexadecimal digits."""
    import pooch

    return pooch.file_hash(str(path), alg="sha256")


def set_aside(path: Path, sha256: str) -> Path:
    """Rename a file whose hash is wrong, so that nothing loads it and it can still be looked at."""
    name = path.name.removeprefix(".").removesuffix(".part")
    kept = path.with_name(f"{name}.wrong-{sha256[:8]}")
    os.replace(path, kept)
    return kept
