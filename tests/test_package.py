"""The package: every room is in setup.cfg, every name of the front is there."""

import configparser
import importlib
from pathlib import Path

import kdzoo

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed_in_setup_cfg():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    listed = set(setup["options"]["packages"].split())
    inside = {".".join(p.parent.relative_to(ROOT).parts) for p in (ROOT / "kdzoo").rglob("__init__.py")}
    beside = {
        ".".join(("kdzoo", *p.parent.relative_to(ROOT).parts))
        for folder in ("kernels", "tools", "configs")
        for p in (ROOT / folder).rglob("__init__.py")
    }
    assert listed == inside | beside


def test_front_names_resolve():
    for name in kdzoo.__all__:
        assert getattr(kdzoo, name) is not None


def test_kernels_are_the_checkouts():
    assert Path(importlib.import_module("kdzoo.kernels").__file__).parent == ROOT / "kernels"
