"""model_zoo.md is what the index and the sections say."""

from pathlib import Path

from zoo_server import ENTRY

from kdzoo.zoo.index import parse_index, read_index
from kdzoo.zoo.page import SECTIONS, index_tables, zoo_page

ROOT = Path(__file__).parents[2]


def test_the_page_is_the_generated_one():
    assert (ROOT / "model_zoo.md").read_text() == zoo_page(), "run python tools/make_zoo.py"


def test_every_entry_and_every_section_is_on_it():
    page = (ROOT / "model_zoo.md").read_text()
    assert all(f"`zoo:{name}`" in page for name in read_index())
    for section in SECTIONS.glob("*.md"):
        assert section.read_text().splitlines()[0] in page


def test_what_is_published_is_not_shown_as_measured():
    published = parse_index([ENTRY | dict(sources=["https://example.org/net"], sha256=None)])
    measured = parse_index([ENTRY | dict(metrics=[dict(name="top1", value=50.0, protocol="t", seed=3, measured=True)])])
    assert "not measured here" in index_tables(list(published.values())) and "unverified" in index_tables(
        list(published.values())
    )
    table = index_tables(list(measured.values()))
    assert "not measured here" not in table and "| top1 50.00 |" in table and "| 3 |" in table
