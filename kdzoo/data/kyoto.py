"""Network traffic of the Kyoto honeypots as sequences of one-hot features, after the GRU-SVM's preparation."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np

from kdzoo.data.arrays import ArraySource, Part
from kdzoo.errors import UserError
from kdzoo.registry import DATASETS

# The 24 columns, in the files' order.
COLUMNS = (
    "duration", "service", "source_bytes", "destination_bytes", "count", "same_srv_rate", "serror_rate",
    "srv_serror_rate", "dst_host_count", "dst_host_srv_count", "dst_host_same_src_port_rate", "dst_host_serror_rate",
    "dst_host_srv_serror_rate", "flag", "ids_detection", "malware_detection", "ashula_detection", "label",
    "source_ip", "source_port", "destination_ip", "destination_port", "start_time", "protocol",
)  # fmt: skip
DETECTIONS = ("ids_detection", "malware_detection", "ashula_detection")
CATEGORIES = ("service", "flag", "protocol")
DROPPED = ("source_ip", "destination_ip", "label")
FEATURES = tuple(name for name in COLUMNS if name not in DROPPED)  # 21, the steps of the sequence
CONTINUOUS = tuple(name for name in FEATURES if name not in (*DETECTIONS, *CATEGORIES))  # 15
BINNED = (*CONTINUOUS, "service", "flag")
DEPTH = 10


@DATASETS.register()
def Kyoto(
    path: str,
    bins: Literal["quantile", "width"] = "quantile",
    fit: Literal["train", "each"] = "train",
    train_limit: int | None = None,
    test_limit: int | None = None,
) -> ArraySource:
    """The Kyoto 2006+ traffic data (Song et al., BADGERS 2011): normal or attack, 21 features as a sequence.

    Reads every ``*.txt`` and ``*.csv`` of ``path/train`` and ``path/test``: lines of 24 values, apart by tabs or
    commas. A record becomes an image [21, 10, 1]: a row a feature, one-hot to depth 10, so that ``gru_rows`` with
    ``img_size=(21, 10)`` takes a feature a step. The 15 continuous features are standardised and put into ten bins,
    and so are the codes of service and flag; detections are 0 or 1; a code beyond the depth, or a category the
    training part does not have, is a row of zeros. Addresses are dropped.

    Args:
        path: the folder.
        bins: ``"quantile"`` (deciles; equal ones are one bin) or ``"width"`` (ten of equal width).
        fit: what scale, codes and bins are fitted on: ``"train"``, or as in the paper's code ``"each"`` part on
            its own, so that a bin does not mean the same in both.
        train_limit: take only a stratified subset of that many training records.
        test_limit: likewise of the test records.

    Raises:
        UserError: a missing folder, or a line that is no record, with file and line.

    Source: Agarap, A Neural Network Architecture Combining Gated Recurrent Unit and Support Vector Machine for
    Intrusion Detection, 2017; the steps of its code's preparation.

    Example:
        >>> DATASETS.build(dict(type="Kyoto", path="data/kyoto2013"))
    """
    folder = Path(path).expanduser()
    records = cache(lambda split: read_records(folder / split))
    fitted = cache(lambda split: Preparation.fit(records(split).values, bins))

    def read(split: str) -> Part:
        part = records(split)
        return Part(fitted("train" if fit == "train" else split).apply(part.values), part.labels)

    return ArraySource(["normal", "attack"], read, train_limit, test_limit, ((0.0,), (1.0,)))


@dataclass
class Records:
    """Columns of FEATURES by name (numbers, or text for categories), and labels [N] (0 normal, 1 attack)."""

    values: dict[str, np.ndarray]
    labels: np.ndarray


def read_records(folder: Path) -> Records:
    """All records of a folder's files, in the order of their names."""
    files = sorted(file for file in folder.glob("*") if file.suffix in (".txt", ".csv")) if folder.is_dir() else []
    if not files:
        raise UserError(f"there are no .txt or .csv files in {folder.absolute()}; put Kyoto records there")
    rows, labels = [], []
    for file in files:
        for number, row in _lines(file):
            try:
                rows.append(_parse(row))
                labels.append({"1": 0, "-1": 1, "-2": 1}[row[COLUMNS.index("label")].strip()])
            except (ValueError, KeyError) as error:
                raise UserError(
                    f"{file}:{number} is no Kyoto record ({error}); expected {len(COLUMNS)} values"
                ) from None
    if not rows:
        raise UserError(f"the files in {folder.absolute()} hold no record; put Kyoto records there")
    return Records(
        {name: np.array(column) for name, column in zip(FEATURES, zip(*rows, strict=True), strict=True)},
        np.array(labels, dtype=np.int64),
    )


def _lines(file: Path) -> Iterator[tuple[int, list[str]]]:
    with file.open(newline="", encoding="utf-8") as text:
        first = text.readline()
        text.seek(0)
        for number, row in enumerate(csv.reader(text, delimiter="\t" if "\t" in first else ","), 1):
            if row:
                yield number, row


def _parse(row: list[str]) -> list[float | str]:
    """The 21 features of a line; ValueError where they are not there."""
    if len(row) != len(COLUMNS):
        raise ValueError(f"{len(row)} values")
    values: list[float | str] = []
    for name, text in zip(COLUMNS, row, strict=True):
        if name in DETECTIONS:
            values.append(float(text.strip() != "0"))
        elif name == "start_time":
            hours, minutes, seconds = (float(part) for part in text.split(":"))
            values.append(hours + minutes / 60 + seconds / 3600)
        elif name in CATEGORIES:
            values.append(text.strip())
        elif name not in DROPPED:
            number = float(text)
            if not np.isfinite(number):
                raise ValueError(f"{name} is {text}")
            values.append(number)
    return values


@dataclass
class Preparation:
    """What is fitted on a part: categories, scales and bin edges, by feature."""

    categories: dict[str, np.ndarray]
    scales: dict[str, tuple[float, float]]
    edges: dict[str, np.ndarray]

    @classmethod
    def fit(cls, values: dict[str, np.ndarray], bins: str) -> "Preparation":
        preparation = cls({name: np.unique(values[name]) for name in CATEGORIES}, {}, {})
        for name in CONTINUOUS:
            preparation.scales[name] = (float(values[name].mean()), float(values[name].std()) or 1.0)
        for name in BINNED:
            x = preparation.numbers(name, values[name])
            if bins == "quantile":
                preparation.edges[name] = np.unique(np.quantile(x, np.linspace(0, 1, DEPTH + 1)))[1:-1]
            else:
                preparation.edges[name] = np.linspace(x.min(), x.max(), DEPTH + 1)[1:-1]
        return preparation

    def numbers(self, name: str, column: np.ndarray) -> np.ndarray:
        """Standardised values, or codes of categories (-1 for one that is not known)."""
        if name in self.categories:
            known = self.categories[name]
            codes = np.minimum(np.searchsorted(known, column), len(known) - 1)
            return np.where(known[codes] == column, codes, -1)
        mean, std = self.scales.get(name, (0.0, 1.0))
        return (column - mean) / std

    def apply(self, values: dict[str, np.ndarray]) -> np.ndarray:
        """uint8 [N, 21, 10, 1], 255 where one-hot."""
        columns = []
        for name in FEATURES:
            x = self.numbers(name, values[name])
            # Bins are closed on the right, as pandas' are.
            code = np.searchsorted(self.edges[name], x, side="left") if name in self.edges else x.astype(np.int64)
            columns.append(np.where(x < 0, -1, code) if name in self.categories else code)
        codes = np.stack(columns, axis=1)  # [N, 21]
        return ((codes[:, :, None] == np.arange(DEPTH)) * np.uint8(255))[..., None]
