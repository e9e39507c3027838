"""What of the zoo is on this disk, and whether it is what the index says."""

from dataclasses import dataclass

from kdzoo.errors import UserError
from kdzoo.zoo.cache import sha256_of
from kdzoo.zoo.index import Entry
from kdzoo.zoo.origin import cached_file, expected_hash, local_file


@dataclass(frozen=True)
class State:
    """What was found of one entry: a line for the user, and whether a file is not what it should be."""

    told: str
    wrong: bool = False


def verify(entry: Entry) -> State:
    """Compare the entry's file, in the package, the checkout or the cache, with its hash; asks no server."""
    try:
        path = local_file(entry)
    except UserError as error:
        return State(f"WRONG: {error}", wrong=True)
    if path is not None:
        return State(f"ok, {path}")
    path, expected = cached_file(entry), expected_hash(entry)
    if not path.is_file():
        return State("not here")
    found = sha256_of(path)
    if expected is None:
        return State(f"unverified, sha256 {found}, {path}")
    if not found.startswith(expected):
        return State(f"WRONG: {path} has sha256 {found}, expected {expected}", wrong=True)
    if entry.sha256 is None:
        return State(f"as recorded on first use (no hash is published), {path}")
    return State(f"ok, {path}")
