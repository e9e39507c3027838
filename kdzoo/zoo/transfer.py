"""One file over HTTP: resumed where it broke off, tried again with growing pauses. pooch does the transfer."""

import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdzoo.errors import UserError

ATTEMPTS, FIRST_PAUSE = 5, 0.5  # seconds; doubled each time
CHUNK = 1 << 16
# Where the index knows no size, nothing larger is taken: no published classifier comes near.
LARGEST = 8 << 30
# Worth another try at the same address: time-outs, too many requests, and the server's own faults.
PASSING = (408, 425, 429, 500, 502, 503, 504)


class Refused(Exception):
    """This address does not give the file; another may."""


class Broken(Exception):
    """The transfer broke off; worth another try."""


@dataclass
class Part:
    """The unfinished file, as pooch writes to it: counts, and starts over where the server sends the whole.

    Args:
        path: the file.
        limit: bytes that may come.
        resume: go on with what an earlier call left; the tries of one call go on either way, where the
            server names the version it sends.
        version: the server's ETag.
        total: bytes of the whole file, as the server says.
    """

    path: Path
    limit: int
    resume: bool
    version: str | None = None
    total: int | None = None
    file: Any = None
    progress: Any = None

    def open(self) -> int:
        """Open for appending, or from nothing; returns the bytes that are there."""
        self.file = open(self.path, "ab" if self.resume or self.version else "wb")
        return self.file.tell()

    def restart(self) -> None:
        self.file.truncate(0)
        self.file.seek(0)

    def write(self, chunk: bytes) -> None:
        if self.file.tell() + len(chunk) > self.limit:
            raise Refused(f"sends more than the {self.limit:,} bytes expected at most")
        self.file.write(chunk)
        self.progress.update(len(chunk))

    def flush(self) -> None:
        self.file.flush()


def transfer(
    url: str, path: Path, size: int | None = None, resume: bool = True, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Write what ``url`` sends to ``path``.

    Args:
        url: http or https; redirects are followed.
        path: the unfinished file.
        size: bytes of the whole file where known; more than twice as much ends the transfer.
        resume: what stands in ``path`` is not asked for again. Only sensible where the whole is checked
            against a hash afterwards.
        sleep: waits so many seconds between two tries.

    Raises:
        Refused: the address does not give the file: no such file, an error page, too large, or every
            try broke off. Bytes that have come stay in ``path``.
        UserError: the disk is full (``path`` is gone then) or the folder can't be written.
    """
    part = Part(path, LARGEST if size is None else 2 * size + (1 << 20), resume)
    for attempt in range(ATTEMPTS):
        try:
            return _once(url, part)
        except Broken as error:
            if attempt == ATTEMPTS - 1:
                raise Refused(f"{error}, {ATTEMPTS} times") from error
            sleep(FIRST_PAUSE * 2**attempt)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise disk_error(error, path) from error


def _once(url: str, part: Part) -> None:
    import pooch
    from requests import exceptions as http
    from tqdm import tqdm

    there = part.open()
    # Compressed on the way, byte ranges would count other bytes than the file's.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={there}-"} if there else {})
    if there and part.version:
        headers["If-Range"] = part.version
    hooks = {"response": lambda response, *args, **kwargs: _check(response, part, there)}
    get = pooch.HTTPDownloader(chunk_size=CHUNK, headers=headers, hooks=hooks, timeout=(10, 60))
    label = part.path.name.removeprefix(".").removesuffix(".part")
    try:
        with part.file, tqdm(initial=there, desc=label, unit="B", unit_scale=True, disable=None) as part.progress:
            get(url, part, None)
            part.flush()
            os.fsync(part.file.fileno())
            held = part.file.tell()
    except http.HTTPError as error:
        told = f"answers {error.response.status_code} {error.response.reason}"
        raise (Broken if error.response.status_code in PASSING else Refused)(told) from error
    except (http.InvalidURL, http.InvalidSchema, http.MissingSchema, http.TooManyRedirects) as error:
        raise Refused(f"leads to no usable address ({_first_line(error)})") from error
    except http.RequestException as error:
        raise Broken(f"breaks off ({_first_line(error)})") from error
    if part.total is not None and held != part.total:
        raise Broken(f"sent {held:,} of {part.total:,} bytes")


def _check(response: Any, part: Part, there: int) -> None:
    """Before any byte is written: is this the file, and from where on?"""
    if response.is_redirect:
        return
    if response.status_code == 416:  # nothing after what is here: whole already, or another file
        part.restart()
        raise Broken("has no bytes after those here")
    response.raise_for_status()
    if "text/html" in response.headers.get("Content-Type", ""):
        raise Refused("answers with a web page, not with a file")
    tag = response.headers.get("ETag", "")
    part.version = tag if tag.startswith('"') else None  # a weak one promises no equal bytes
    begins = response.headers.get("Content-Range", "").startswith(f"bytes {there}-")
    if there and not (response.status_code == 206 and begins):
        part.restart()
        part.progress.reset()
        there = 0
    length = response.headers.get("Content-Length", "")
    part.total = there + int(length) if length.isdigit() else None
    part.progress.total = part.total


def disk_error(error: OSError, path: Path) -> UserError:
    """What an error of the file system means to the user."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"the disk is full: no room in {path.parent}; free space or set KDZOO_CACHE")
    return UserError(f"can't write {path} ({error.strerror}); set KDZOO_CACHE to a folder you may write to")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
