"""``index.json``: what the zoo holds, one entry a model, and who may say so."""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from kdzoo.errors import ConfigError, UserError, did_you_mean
from kdzoo.files import write_text
from kdzoo.registry import construct
from kdzoo.zoo.cache import check_relative

INDEX = Path(__file__).with_name("index.json")
NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)+")
# Where a file may come from beside http(s): the package itself, and the zoo's own files.
OWN_SOURCES = ("package", "zoo_files")


@dataclass(frozen=True)
class Metric:
    """One number of a model.

    Args:
        name: ``"top1"`` (percent), ``"nll"`` (nats), ``"ece"`` (percent), ...
        value: the number.
        protocol: how it is measured: which images, and the command or the publication.
        seed: of the run; ``None`` where the publication does not say.
        measured: by kdzoo on this very file (tests reproduce it); else as published.
    """

    name: str
    value: float
    protocol: str
    seed: int | None = None
    measured: bool = False


@dataclass(frozen=True)
class Entry:
    """One model of the zoo.

    Args:
        name: ``"DATA/MODEL"``, as in ``zoo:digits/resnet20``.
        architecture: a name for ``create_model``.
        options: further keywords of it.
        data: the data set trained on, as configs name it.
        classes, in_chans: of logits and images.
        mean, std: per channel, of images in [0, 1].
        config: whose student and test images reproduce the metrics; ``None`` where there is none.
        recipe: how it was trained, in one line.
        parent: the teacher: another entry's name, or ``None``.
        metrics: see Metric.
        file: path in the zoo, the package and the cache.
        size: bytes; ``None`` where unknown.
        sha256: of the file (of the member, where it comes in an archive): 64 digits, or the first 8 or
            more where only those are published, or ``None``: unverified, the hash is recorded on
            first use and held to from then on.
        licence: of the weights.
        sources: tried in turn: ``"package"``, ``"zoo_files"``, or an http(s) address;
            ``"ADDRESS#MEMBER"`` is a member of an archive.
        note: what a user should know.
    """

    name: str
    architecture: str
    data: str
    classes: int
    mean: list
    std: list
    recipe: str
    metrics: list
    file: str
    licence: str
    sources: list
    options: dict = field(default_factory=dict)
    in_chans: int = 3
    config: str | None = None
    parent: str | None = None
    size: int | None = None
    sha256: str | None = None
    note: str = ""

    def __post_init__(self):
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name must look like 'digits/resnet20', got {self.name!r}")
        check_relative(self.file)
        if Path(self.file).suffix not in (".safetensors", ".pth", ".pt"):
            raise ValueError(f"file must end in .safetensors, .pth or .pt, got {self.file!r}")
        if self.sha256 is not None and not re.fullmatch("[0-9a-f]{8,64}", self.sha256):
            raise ValueError(f"sha256 must be 8 to 64 lower-case hexadecimal digits or None, got {self.sha256!r}")
        if self.size is not None and self.size < 1:
            raise ValueError(f"size must be at least 1 byte, got {self.size}")
        if self.classes < 2 or not len(self.mean) == len(self.std) == self.in_chans:
            raise ValueError("classes must be 2 or more, mean and std must hold one number a channel")
        if not self.sources:
            raise ValueError("sources must hold at least one place to take the file from")
        for source in self.sources:
            if source not in OWN_SOURCES and not re.match("https?://[^/]+/.", source):
                raise ValueError(f"a source is {', '.join(OWN_SOURCES)} or an http(s) address, got {source!r}")
            if "#" in source:
                check_relative(source.partition("#")[2])
        metrics = [m if isinstance(m, Metric) else construct(Metric, m, label="a metric") for m in self.metrics]
        object.__setattr__(self, "metrics", metrics)

    @property
    def verified(self) -> str:
        """``"sha256"``, ``"first 8 digits"`` (of it) or ``"unverified"``."""
        if self.sha256 is None:
            return "unverified"
        return "sha256" if len(self.sha256) == 64 else f"first {len(self.sha256)} digits"

    def asdict(self) -> dict[str, Any]:
        """For the file; what is as the default is left out."""
        defaults = {"options": {}, "in_chans": 3, "config": None, "parent": None, "size": None, "note": ""}
        values = {key: value for key, value in asdict(self).items() if key not in defaults or value != defaults[key]}
        # Seed 0 stays, though it equals False.
        values["metrics"] = [{k: v for k, v in m.items() if not (v is None or v is False)} for m in values["metrics"]]
        return values


def parse_index(entries: Any, path: str | Path = INDEX) -> dict[str, Entry]:
    """Name -> entry, each checked.

    Raises:
        UserError: with the entry and what is wrong with it.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, Mapping) for entry in entries):
        raise UserError(f"{path} is damaged: expected a list of entries")
    found: dict[str, Entry] = {}
    for number, values in enumerate(entries):
        try:
            entry = construct(Entry, values, f"entry {number} ({values.get('name')})", label="a zoo entry")
        except ConfigError as error:
            raise UserError(f"{path}: {error}") from error
        if entry.name in found or entry.file in {other.file for other in found.values()}:
            raise UserError(f"{path}: {entry.name} or its file is there twice")
        found[entry.name] = entry
    for entry in found.values():
        if entry.parent is not None and entry.parent not in found:
            raise UserError(f"{path}: the parent of {entry.name}, {entry.parent!r}, is not there")
    return found


@cache
def read_index(path: Path = INDEX) -> dict[str, Entry]:
    """The zoo's entries by name; see :func:`parse_index`."""
    try:
        return parse_index(json.loads(path.read_text(encoding="utf-8")), path)
    except (OSError, ValueError) as error:
        raise UserError(f"the zoo's index {path} can't be read ({error}); install kdzoo again") from error


def write_index(entries: Mapping[str, Entry], path: Path = INDEX) -> None:
    """Write the entries, sorted by name; what is written has been checked."""
    values = [entries[name].asdict() for name in sorted(entries)]
    parse_index(values, path)
    write_text(path, json.dumps(values, indent=1) + "\n")
    read_index.cache_clear()


def find_entry(name: str) -> Entry:
    """The entry of that name.

    Raises:
        UserError: no such entry; the nearest names are told.
    """
    entries = read_index()
    if name not in entries:
        raise UserError(f"the zoo has no {name!r}{did_you_mean(name, entries)}; tools/download.py --list shows all")
    return entries[name]
