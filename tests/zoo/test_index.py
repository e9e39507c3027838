"""The index: every entry checked, wrong ones refused with the place."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from zoo_server import ENTRY

from kdzoo.errors import UserError
from kdzoo.zoo.index import INDEX, find_entry, parse_index, read_index, write_index


def test_the_shipped_index_is_valid_and_sorted():
    names = list(read_index())
    assert names == sorted(names) and "digits/resnet20" in names
    assert INDEX.read_text() == json.dumps([entry.asdict() for entry in read_index().values()], indent=1) + "\n"


def test_what_is_ours_is_verified_whole_and_measured():
    for entry in read_index().values():
        if set(entry.sources) & {"package", "zoo_files"}:
            assert entry.verified == "sha256" and entry.size and entry.file.endswith(".safetensors")
            assert all(metric.measured for metric in entry.metrics) and entry.config


def test_every_entry_names_a_network_and_a_config_there_is():
    import timm

    import kdzoo.configs
    import kdzoo.models

    for entry in read_index().values():
        assert timm.is_model(entry.architecture), entry.name
        config = entry.config and Path(kdzoo.configs.__file__).parent / entry.config.removeprefix("configs/")
        assert config is None or config.is_file(), entry.name


def test_shipped_files_are_small_and_none_is_left_over():
    folder = INDEX.with_name("weights")
    shipped = {e.file for e in read_index().values() if "package" in e.sources}
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*.safetensors")}
    assert shipped == there and all((folder / f).stat().st_size < 1_000_000 for f in there)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (dict(nmae="x"), "unknown 'nmae' .did you mean 'name'"),
        (dict(classes="10"), "expects int for 'classes'"),
        (dict(classes=1), "classes must be 2 or more"),
        (dict(name="tiny"), "name must look like"),
        (dict(name="digits/../tiny"), "name must look like"),
        (dict(file="../tiny.safetensors"), "no plain path"),
        (dict(file="/tmp/tiny.safetensors"), "no plain path"),
        (dict(file="c:\\tiny.safetensors"), "no plain path"),
        (dict(file="digits/tiny.pkl"), "file must end in"),
        (dict(sha256="12345"), "8 to 64"),
        (dict(sha256="Z" * 64), "8 to 64"),
        (dict(size=0), "at least 1 byte"),
        (dict(mean=[0.1, 0.2, 0.3]), "one number a channel"),
        (dict(sources=[]), "at least one place"),
        (dict(sources=["file:///etc/passwd"]), "http"),
        (dict(sources=["https://example.org/a.tar#../../x"]), "no plain path"),
        (dict(metrics=[dict(name="top1", value="high", protocol="p")]), "expects float for 'value'"),
        (dict(parent="digits/gone"), "parent of digits/tiny"),
    ],
)
def test_a_wrong_entry_is_refused(change, told):
    with pytest.raises(UserError, match=told):
        parse_index([ENTRY | change])


def test_missing_keys_and_doubles():
    with pytest.raises(UserError, match="needs 'licence'"):
        parse_index([{k: v for k, v in ENTRY.items() if k != "licence"}])
    with pytest.raises(UserError, match="twice"):
        parse_index([ENTRY, ENTRY])
    with pytest.raises(UserError, match="expected a list"):
        parse_index({"digits": ENTRY})


def test_round_trip():
    entries = parse_index([ENTRY])
    write_index(entries, Path("index.json"))
    assert read_index(Path("index.json")) == entries
    Path("index.json").write_text("{")
    read_index.cache_clear()
    with pytest.raises(UserError, match="can't be read"):
        read_index(Path("index.json"))


def test_an_unknown_name_tells_the_nearest():
    with pytest.raises(UserError, match=re.escape("the zoo has no 'digits/resnet2' (did you mean 'digits/resnet20'")):
        find_entry("digits/resnet2")


def test_how_far_an_entry_is_verified():
    entry = parse_index([ENTRY])["digits/tiny"]
    assert [replace(entry, sha256=h).verified for h in ("0" * 64, "0" * 8, None)] == [
        "sha256", "first 8 digits", "unverified",
    ]
