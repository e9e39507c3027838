"""From an entry of the index to a verified safetensors file on this disk."""

import json
import os
from pathlib import Path

import kdzoo
from kdzoo.errors import UserError
from kdzoo.files import atomic_path, write_text
from kdzoo.zoo.archive import extract
from kdzoo.zoo.cache import cache_folder, inside, is_offline, set_aside, sha256_of
from kdzoo.zoo.convert import to_safetensors
from kdzoo.zoo.download import download, matches, wrong_hash
from kdzoo.zoo.index import Entry

PACKAGE = Path(__file__).with_name("weights")
# In a checkout the larger weights lie beside the package; a wheel has no such folder.
CHECKOUT = Path(kdzoo.__file__).parents[1] / "zoo_files"


def fetch(entry: Entry, offline: bool | None = None) -> Path:
    """The entry's weights as a local safetensors file whose origin has been verified.

    Args:
        entry: of the index.
        offline: ask no server; default: what ``KDZOO_OFFLINE`` says.

    Raises:
        UserError: it can't be had, or is not what the index says.

    Example:
        >>> path = fetch(find_entry("digits/resnet20"))
    """
    path = local_file(entry)
    if path is None:
        path = _download(entry, is_offline() if offline is None else offline)
    if path.suffix == ".safetensors":
        return path
    normalisation = {"mean": json.dumps(list(entry.mean)), "std": json.dumps(list(entry.std))}
    return to_safetensors(path, normalisation, on_read=lambda: record(entry, path))


def local_file(entry: Entry) -> Path | None:
    """The verified file in the package or the checkout; ``None`` where neither has it.

    Raises:
        UserError: it is there and has another hash.
    """
    for source, folder in (("package", PACKAGE), ("zoo_files", CHECKOUT)):
        path = folder / entry.file
        if source in entry.sources and path.is_file():
            if not matches(path, entry.sha256):
                raise UserError(
                    f"{path} has sha256 {sha256_of(path)}, expected {entry.sha256}; it is not loaded, "
                    "restore it (git checkout) or install kdzoo again"
                )
            return path
    return None


def cached_file(entry: Entry) -> Path:
    """Where the entry's file is, or would be, in the cache."""
    return inside(cache_folder() / "zoo", entry.file)


def expected_hash(entry: Entry) -> str | None:
    """The index's hash; of an unverified entry the one recorded on first use, if there is one."""
    recorded = _record_file(entry)
    if entry.sha256 is None and recorded.is_file():
        return recorded.read_text(encoding="utf-8").strip() or None
    return entry.sha256


def record(entry: Entry, path: Path) -> None:
    """Write down the hash of an unverified file that has turned out to hold weights, and say so."""
    if entry.sha256 is not None or expected_hash(entry) is not None:
        return
    found = sha256_of(path)
    write_text(_record_file(entry), found + "\n")
    print(f"zoo:{entry.name} is unverified: nobody publishes its hash. Recorded sha256 {found}; held to from now on")


def web_addresses(entry: Entry) -> list[str]:
    """The entry's http(s) addresses in turn: ``KDZOO_ZOO_URL`` stands for the zoo's own files."""
    base = os.environ.get("KDZOO_ZOO_URL", "").rstrip("/")
    found = []
    for source in entry.sources:
        if source == "zoo_files":
            found += [f"{base}/{entry.file}"] if base else []
        elif source != "package":
            found.append(source)
    return found


def _download(entry: Entry, offline: bool) -> Path:
    path, sha256 = cached_file(entry), expected_hash(entry)
    if path.is_file() and matches(path, sha256):
        return path
    if offline:
        looked = [f"{PACKAGE / entry.file}"] if "package" in entry.sources else []
        looked += [f"{CHECKOUT / entry.file}"] if "zoo_files" in entry.sources else []
        if path.is_file():
            found = sha256_of(path)
            raise UserError(f"offline, and {wrong_hash(path.name, sha256, found, set_aside(path, found))}")
        raise UserError(
            f"offline, and zoo:{entry.name} is not here; looked for {', '.join([*looked, str(path)])}; run "
            f"tools/download.py {entry.name} where there is a network, or unset KDZOO_OFFLINE"
        )
    addresses = web_addresses(entry)
    plain = [address for address in addresses if "#" not in address]
    told = []
    for address in [a for a in addresses if "#" in a]:
        try:
            return _from_archive(address, path, sha256)
        except UserError as error:
            if not plain:
                raise
            told.append(str(error))
    try:
        return download(plain, path, sha256, entry.size, offline=False)
    except UserError as error:
        raise UserError("; ".join([*told, str(error)])) from error


def _from_archive(address: str, path: Path, sha256: str | None) -> Path:
    """A member of a published archive; the archive stays in the cache, since it holds further models."""
    url, _, member = address.partition("#")
    archive = inside(cache_folder() / "zoo" / "archives", url.rpartition("/")[2])
    download([url], archive, None, offline=False)
    with atomic_path(path) as temporary:
        extract(archive, member, temporary)
        if not matches(temporary, sha256):
            found = sha256_of(temporary)
            kept = path.with_name(f"{path.name}.wrong-{found[:8]}")
            temporary.rename(kept)
            told = wrong_hash(path.name, sha256, found, kept)
            raise UserError(f"{told}; it comes out of {archive}, remove that to download it again")
    return path


def _record_file(entry: Entry) -> Path:
    path = cached_file(entry)
    return path.with_name(f"{path.name}.sha256")
