"""Results as rows of a CSV file that grows: one row a variant, with date and versions."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.files import write_text


def check_columns(path: Path, columns: Sequence[str]) -> None:
    """Tell before the measurement that the file can't take its rows.

    Raises:
        UserError: the file holds other columns, or can't be read.
    """
    if not path.exists():
        return
    try:
        header = next(csv.reader(io.StringIO(path.read_text(encoding="utf-8"))), [])
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} can't be read as a CSV file ({error}); give --csv another file") from None
    if header and header != list(columns):
        raise UserError(f"{path} has other columns than this benchmark writes; give --csv another file")


def append_rows(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Add rows of one set of keys, under a header where the file is new."""
    columns = list(rows[0])
    check_columns(path, columns)
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    if not before:
        writer.writeheader()
    writer.writerows(rows)
    write_text(path, before + ("\n" if before and not before.endswith("\n") else "") + text.getvalue())
