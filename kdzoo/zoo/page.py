"""``model_zoo.md``: written from the index and from sections written by hand, so that the two never differ."""

from collections.abc import Sequence
from pathlib import Path

from kdzoo.zoo.index import Entry, read_index

SECTIONS = Path(__file__).with_name("sections")


def zoo_page(entries: Sequence[Entry] | None = None, sections: Path = SECTIONS) -> str:
    """The page: each file of ``sections`` by name, the index's table in the place of ``<!-- index -->``.

    A new measured section is a new file in ``kdzoo/zoo/sections/``; ``python tools/make_zoo.py`` writes the page.
    """
    entries = list(read_index().values()) if entries is None else list(entries)
    texts = [path.read_text(encoding="utf-8").strip() for path in sorted(sections.glob("*.md"))]
    return "\n\n".join(texts).replace("<!-- index -->", index_tables(entries)) + "\n"


def index_tables(entries: Sequence[Entry]) -> str:
    """Two tables: what kdzoo trained and measured, and what others publish."""
    ours = [entry for entry in entries if any(metric.measured for metric in entry.metrics)]
    others = [entry for entry in entries if entry not in ours]
    texts = []
    if ours:
        head = ["name", "network", "parent", "metrics", "test", "seed", "size", "licence"]
        texts.append(_table(head, [_own_row(entry) for entry in ours]))
    if others:
        head = ["name", "network", "published top-1", "hash", "licence", "from"]
        texts.append("Published by others, not measured here:\n\n" + _table(head, [_other_row(e) for e in others]))
    return "\n\n".join(texts)


def _own_row(entry: Entry) -> list[str]:
    metrics = ", ".join(f"{m.name} {m.value:.2f}" for m in entry.metrics)
    seeds = ", ".join(sorted({str(m.seed) for m in entry.metrics}))
    test = f"`python tools/test.py {entry.config} zoo:{entry.name}`"
    size = f"{entry.size / 1000:,.0f} kB"
    network = entry.architecture + "".join(f", {key} = {value}" for key, value in entry.options.items())
    return [f"`zoo:{entry.name}`", network, entry.parent or "", metrics, test, seeds, size, entry.licence]


def _other_row(entry: Entry) -> list[str]:
    top1 = next((f"{m.value:.2f}" for m in entry.metrics if m.name == "top1"), "")
    hosts = sorted({source.split("/")[2] for source in entry.sources})
    return [f"`zoo:{entry.name}`", entry.architecture, top1, entry.verified, entry.licence, ", ".join(hosts)]


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
