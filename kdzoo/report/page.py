"""The page: a plain list of sections, wrapped into one self-contained file."""

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from datetime import datetime, timezone
from html import escape
from pathlib import Path

from kdzoo import __version__
from kdzoo.errors import UserError
from kdzoo.files import write_text
from kdzoo.report.adversarial import adversarial
from kdzoo.report.attacks import attacks
from kdzoo.report.confusion import confusion
from kdzoo.report.corruptions import corruptions
from kdzoo.report.curves import curves
from kdzoo.report.epsilon import epsilon
from kdzoo.report.groups import Group, read_groups
from kdzoo.report.mistakes import mistakes
from kdzoo.report.ood import ood
from kdzoo.report.settings import settings
from kdzoo.report.style import SCRIPT, STYLE
from kdzoo.report.table import summary

# Title and function: the groups in, HTML out, "" where a section has nothing to show.
SECTIONS = [
    ("Results", summary),
    ("Curves", curves),
    ("Confusion", confusion),
    ("Most confident mistakes", mistakes),
    ("Out of distribution", ood),
    ("Adversarial detection", adversarial),
    ("Corruptions", corruptions),
    ("Accuracy against epsilon", epsilon),
    ("Under attack", attacks),
    ("Settings", settings),
]


def write_report(paths: Iterable[str | Path], out: str | Path) -> Path:
    """Write the report of the runs at or below ``paths``.

    Args:
        paths: folders of runs, of several seeds or of studies.
        out: the HTML file; it is written whole or not at all.

    Returns:
        ``out``.

    Raises:
        UserError: no run is found, or ``out`` can't be written.

    Example:
        >>> write_report(["work_dirs/quickstart"], "report.html")
        PosixPath('report.html')
    """
    out = Path(out)
    if out.is_dir():
        raise UserError(f"{out} is a folder; name a file to write, for example {out / 'report.html'}")
    write_text(out, page(read_groups(paths)))
    return out


def page(groups: Sequence[Group]) -> str:
    """The whole page, as text."""
    parts = [(title, content) for title, section in SECTIONS if (content := section(groups))]
    links = "".join(f'<a href="#{_anchor(title)}">{title}</a>' for title, _ in parts)
    body = "".join(f'<section id="{_anchor(title)}"><h2>{title}</h2>{content}</section>' for title, content in parts)
    title = escape(_title(groups))
    # Even if something slipped through the escaping, the browser loads nothing and runs no other script.
    digest = base64.b64encode(hashlib.sha256(SCRIPT.encode("utf-8")).digest()).decode("ascii")
    policy = f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    return (
        "<!DOCTYPE html>\n"
        '<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{title} · kdzoo report</title><style>{STYLE}</style></head>\n"
        f"<body><header><p class=brand>kdzoo report</p><h1>{title}</h1><p class=muted>{_scope(groups)}</p>"
        f"<nav>{links}</nav></header>\n<main>{body}</main>\n"
        f"<footer>Written {datetime.now(timezone.utc):%Y-%m-%d %H:%M} UTC by kdzoo {__version__}.</footer>"
        f"<script>{SCRIPT}</script></body></html>\n"
    )


def _anchor(title: str) -> str:
    return re.sub(r"\W+", "-", title.lower())


def _title(groups: Sequence[Group]) -> str:
    """The study's name, the group's where there is one only, or a count."""
    if len(groups) == 1:
        return groups[0].name
    studies = {group.folder.parent for group in groups}
    return studies.pop().name if len(studies) == 1 else f"{len(groups)} groups of runs"


def _scope(groups: Sequence[Group]) -> str:
    """On which data, and how many runs."""
    runs = [run for group in groups for run in group.runs]
    data = dict.fromkeys(
        f"{run.data}, {run.train_images:,} training and {run.test_images:,} test images"
        for run in runs
        if run.data and run.train_images and run.test_images
    )
    finished = sum(run.finished or not run.trained for run in runs)
    total = f"{len(runs)} run{'s' * (len(runs) > 1)}"
    done = total if finished == len(runs) else f"{finished} of {total} finished"
    return escape(" · ".join([*data, done]))
