"""Certification logs: the field's tab-separated lines, and a side file with settings and counts.

The log is the state. A line of ``NAME.counts.jsonl`` is written before the image's line of ``NAME.tsv``; a run that
was killed goes on after the last image that has both.
"""

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kdzoo.errors import UserError
from kdzoo.files import write_text
from kdzoo.robust.certify.binomial import round_down

COLUMNS = ("idx", "label", "predict", "radius", "correct", "time")
HEADER = "\t".join(COLUMNS)
_CLOCK = re.compile(r"(?:(\d+) days?, )?(\d+):(\d\d):(\d\d(?:\.\d+)?)$")


@dataclass(frozen=True)
class Row:
    """One image of a log.

    Args:
        index: its place in the test set.
        label: the true class.
        predict: the certified class, -1 where the classifier abstained.
        radius: L2; as printed, which is rounded down in our logs.
        seconds: the time it took.
    """

    index: int
    label: int
    predict: int
    radius: float
    seconds: float

    @property
    def correct(self) -> bool:
        return self.predict == self.label

    def line(self, digits: int = 3) -> str:
        """In the field's format, the radius rounded down to three digits."""
        fields = (self.index, self.label, self.predict, round_down(self.radius, digits), int(self.correct))
        return "\t".join(map(str, fields)) + f"\t{self.seconds:.3f}\n"


def read_log(path: str | Path, allow_cut: bool = False) -> list[Row]:
    """The rows of any log of this format, whoever wrote it.

    Times may be seconds (``15.4``) or clock times (``0:00:13.736080``). The ``correct`` column is not read: some
    programs write a running count there; it is computed from ``predict`` and ``label``.

    Args:
        path: the TSV file.
        allow_cut: leave out a last line that a killed run did not finish.

    Raises:
        UserError: no such file, another header, or a line that is none; it names the line.

    Example:
        >>> read_log("certify_cohen.tsv")[0].radius
        0.378
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as a certification log ({error}); give a .tsv file") from None
    lines = text.split("\n")
    whole, cut = lines[:-1], lines[-1]
    if cut and not allow_cut:
        whole.append(cut)  # a last line without its line break may well be whole: the parser tells
    if not whole or tuple(whole[0].split()) != COLUMNS:
        raise UserError(f"{path} does not begin with the header {' '.join(COLUMNS)}; it is no certification log")
    return [_row(path, number, line) for number, line in enumerate(whole[1:], start=2) if line.strip()]


def _row(path: Path, number: int, line: str) -> Row:
    fields = line.rstrip("\r").split("\t")
    try:
        if len(fields) != len(COLUMNS):
            raise ValueError
        index, label, predict = (int(field) for field in fields[:3])
        row = Row(index, label, predict, float(fields[3]), _seconds(fields[5]))
        if not (0 <= row.radius < float("inf") and predict >= -1 and row.seconds >= 0):
            raise ValueError
        return row
    except ValueError:
        raise UserError(
            f"{path}, line {number}: expected {' '.join(COLUMNS)} between tabs, got {line!r}; mend or delete the line"
        ) from None


def _seconds(text: str) -> float:
    clock = _CLOCK.match(text)
    if clock is None:
        return float(text)
    days, hours, minutes, seconds = (float(part or 0) for part in clock.groups())
    return ((days * 24 + hours) * 60 + minutes) * 60 + seconds


class CertificationLog:
    """A log that is being written, and its side file.

    Args:
        path: the ``.tsv`` file.
        settings: everything the certificates depend on; a log of other settings is refused.

    Raises:
        UserError: the log is there with other settings, without its side file, or damaged.

    Example:
        >>> log = CertificationLog("out/certify_cohen.tsv", settings)
        >>> log.append(Row(0, 3, 3, 0.378, 15.4), {"selection": [...], "votes": [...]})
    """

    def __init__(self, path: str | Path, settings: dict[str, Any]):
        self.path, self.side = Path(path), side_file(path)
        self.settings = json.loads(json.dumps(settings))
        self.rows: list[Row] = []
        self.records: list[dict[str, Any]] = []
        if self.path.exists() or self.side.exists():
            self._recover()
        write_text(self.side, _side_text(self.settings, self.records))
        self._digits = radius_digits(self.settings)
        write_text(self.path, HEADER + "\n" + "".join(row.line(self._digits) for row in self.rows))

    def _recover(self) -> None:
        """Take over the images that both files have whole."""
        records = records_of(self.path, self.settings)
        rows = read_log(self.path, allow_cut=True) if self.path.exists() else []
        for row, record in zip(rows, records, strict=False):
            if row.index != record["idx"]:
                raise UserError(
                    f"{self.path} and {self.side.name} are not of one run: image {row.index} against "
                    f"{record['idx']}; delete both, or choose another --out"
                )
            self.rows.append(row)
            self.records.append(record)

    def append(self, row: Row, record: dict[str, Any]) -> None:
        """Add one image: its counts, then its line.

        Raises:
            UserError: the disk is full, or the folder is gone.
        """
        record = dict(idx=row.index, label=row.label, **record)
        for path, text in ((self.side, json.dumps(record) + "\n"), (self.path, row.line(self._digits))):
            try:
                with open(path, "a", encoding="utf-8") as file:
                    file.write(text)
            except OSError as error:
                raise UserError(
                    f"can't write {path}: {error.strerror}; mend that and run the same command again, it goes on there"
                ) from error
        self.rows.append(row)
        self.records.append(record)


def records_of(path: Path, settings: dict[str, Any]) -> list[dict[str, Any]]:
    """The side file's records of a log that is there.

    Raises:
        UserError: there is no side file, or it has other settings and the log holds an image.
    """
    side = side_file(path)
    if not side.exists():
        raise UserError(f"{path} has no {side.name} that says its settings; choose another --out")
    before, records = read_side_file(side, allow_cut=True)
    if records or path.exists() and read_log(path, allow_cut=True):  # a command that failed at once binds nobody
        check_settings(side, before, json.loads(json.dumps(settings)))
    return records


def radius_digits(settings: dict[str, Any]) -> int:
    """Digits of a log's radii: three, but a radius that was asked for is written whole."""
    return 17 if "radii" in settings else 3


def side_file(path: str | Path) -> Path:
    """``NAME.counts.jsonl`` beside ``NAME.tsv``."""
    return Path(path).with_suffix(".counts.jsonl")


def read_side_file(path: str | Path, allow_cut: bool = False) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The settings (first line) and one record an image.

    Raises:
        UserError: a line is no JSON object.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        whole = lines[:-1] if allow_cut or not lines[-1] else lines
        objects = [json.loads(line) for line in whole]
        if not objects or not all(isinstance(value, dict) for value in objects):
            raise ValueError("a line is no JSON object")
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); delete it and its log, or mend it") from None
    return objects[0], objects[1:]


def _side_text(settings: dict[str, Any], records: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(value) + "\n" for value in (settings, *records))


def check_settings(path: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to mix certificates of two settings in one log."""
    for key in sorted(before.keys() | now.keys()):
        if before.get(key) != now.get(key):
            raise UserError(
                f"{path} was written with {key} = {before.get(key)!r}, now it is {now.get(key)!r}; "
                "go on with the settings it began with, or choose another --out"
            )


def shard_path(path: Path, shard: int, shards: int) -> Path:
    """``NAME.shard0of4.tsv``."""
    return path.with_name(f"{path.stem}.shard{shard}of{shards}.tsv")


def merge_shards(path: Path, shards: int, wanted: Sequence[int]) -> bool:
    """Write the log of one process from the shards' logs, once they hold all images.

    Args:
        path: of the merged log.
        shards: how many there are.
        wanted: the images in their order; image ``wanted[k]`` is in shard ``k % shards``.

    Returns:
        Whether all images were there and the log was written.

    Raises:
        UserError: the shards were run with different settings.
    """
    parts = [shard_path(path, shard, shards) for shard in range(shards)]
    if not all(part.exists() and side_file(part).exists() for part in parts):
        return False
    rows: dict[int, Row] = {}
    records: dict[int, dict[str, Any]] = {}
    first = None
    for part in parts:
        settings, found = read_side_file(side_file(part), allow_cut=True)
        first = first or settings
        check_settings(side_file(part), settings, first)
        rows |= {row.index: row for row in read_log(part, allow_cut=True)}
        records |= {record["idx"]: record for record in found}
    if any(index not in rows or index not in records for index in wanted):
        return False
    write_text(side_file(path), _side_text(first, [records[index] for index in wanted]))
    digits = radius_digits(first)
    write_text(path, HEADER + "\n" + "".join(rows[index].line(digits) for index in wanted))
    return True
