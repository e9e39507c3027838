"""Config files: inheritance, overrides, errors, and agreement with mmengine's reader."""

import copy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kdzoo.config import Config, merge, parse_override
from kdzoo.errors import ConfigError

ROOT = Path(__file__).parents[1]
CONFIGS = sorted(p for p in (ROOT / "configs").rglob("*.py") if p.name != "__init__.py")


def write(folder, **files):
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / f"{list(files)[-1]}.py"


def test_bases_merge_in_order_and_child_wins(tmp_path):
    path = write(
        tmp_path,
        one="a = dict(x=1, y=dict(p=1, q=2))\nb = 1\n",
        two="a = dict(z=3)\n",
        leaf="_base_ = ['one.py', 'two.py']\na = dict(y=dict(q=9))\nc = [1, 2]\n",
    )
    assert Config.from_file(path).to_dict() == {"a": {"x": 1, "y": {"p": 1, "q": 9}, "z": 3}, "b": 1, "c": [1, 2]}


def test_delete_replaces_the_bases_dict(tmp_path):
    path = write(
        tmp_path,
        one="o = dict(type='SGD', lr=1, momentum=0.9)",
        leaf="_base_ = 'one.py'\no = dict(_delete_=True, type='Adam')",
    )
    assert Config.from_file(path).to_dict() == {"o": {"type": "Adam"}}


def test_attribute_access_and_overrides(tmp_path):
    path = write(tmp_path, leaf="a = dict(b=1)\nlosses = [dict(w=1), dict(w=2)]\nname = 'x'\n")
    cfg = Config.from_file(path, ["a.b=0.5", "losses.1.w=3", "c=[1,2]", "name=plain text", "new.deep.key=None"])
    assert cfg.a.b == 0.5 and cfg.losses[1].w == 3 and cfg.losses[0].w == 1
    assert cfg.c == [1, 2] and cfg.name == "plain text" and cfg.new.deep.key is None
    assert Config.from_file(path).a.b == 1  # overriding makes a copy
    assert Config.from_file(path, {"a.b": 7}).a.b == 7


def test_dump_reads_back(tmp_path):
    values = {"a": {"b": [1, (2, 3), {"c": None}]}, "s": 'it\'s "x"\n', "f": 1e-05, "t": True}
    path = tmp_path / "dumped.py"
    path.write_text(Config(values).dump())
    assert Config.from_file(path).to_dict() == values


@pytest.mark.parametrize(
    ("files", "overrides", "words"),
    [
        (dict(leaf="_base_ = 'gone.py'"), None, ["gone.py", "no such config", "leaf.py"]),
        (dict(one="_base_ = 'leaf.py'", leaf="_base_ = 'one.py'"), None, ["cyclic", "leaf.py -> one.py -> leaf.py"]),
        (dict(leaf="a = (1,"), None, ["leaf.py", "line 1", "not Python"]),
        (dict(leaf="a = 1\nb = undefined"), None, ["leaf.py", "line 2", "NameError"]),
        (dict(leaf="_base_ = 3"), None, ["_base_", "got 3"]),
        (dict(leaf="a = dict(b=object())"), None, ["a.b", "got a object"]),
        (dict(leaf="a = [1, float('nan')]"), None, ["a[1]", "finite"]),
        (dict(leaf="a = dict(b=1)"), ["a.b.c=1"], ["--cfg-options", "a.b", "is 1"]),
        (dict(leaf="a = [1]"), ["a.3=1"], ["--cfg-options", "a.3", "from 0 to 0"]),
        (dict(leaf="a = 1"), ["a"], ["KEY=VALUE", "'a'"]),
        (dict(leaf="a = [1]"), ["a.\u00b2=1"], ["--cfg-options", "from 0 to 0"]),
        (dict(leaf="a = 1"), ["a=1e999"], ["--cfg-options", "a", "finite"]),
        (dict(leaf="a = 1"), ["a={1,2}"], ["--cfg-options", "a", "got a set"]),
        (dict(leaf="import numpy as np\na = [np.sqrt(4.0)]"), None, ["a[0]", "got a float64"]),
        (dict(leaf="import sys\nsys.exit(3)"), None, ["line 2", "SystemExit"]),
    ],
)
def test_mistakes_are_one_line_with_file_and_place(tmp_path, files, overrides, words):
    path = write(tmp_path, **files)
    with pytest.raises(ConfigError) as error:
        Config.from_file(path, overrides)
    message = str(error.value)
    assert "\n" not in message
    for word in words:
        assert word in message


def test_a_file_that_is_no_text_is_one_line(tmp_path):
    (tmp_path / "latin.py").write_bytes(b"# \xe9\n")
    with pytest.raises(ConfigError, match=r"latin\.py: can't be read .*UTF-8") as error:
        Config.from_file(tmp_path / "latin.py")
    assert "line 1" not in str(error.value)


def test_origin_names_the_file_that_set_the_place(tmp_path):
    path = write(
        tmp_path,
        one="o = dict(type='SGD', lrr=1)\nlosses = [dict(type='KD')]",
        leaf="_base_ = 'one.py'\no = dict(lr=2)",
    )
    cfg = Config.from_file(path, ["losses.0.weight=2"])
    assert cfg.origin("o.lrr").endswith("one.py")
    assert cfg.origin("o.lr").endswith("leaf.py")
    assert cfg.origin("losses[0].weight") == "--cfg-options"
    assert cfg.origin("losses[0]").endswith("one.py")


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("a=1", 1),
        ("a=[1,2]", [1, 2]),
        ("a=None", None),
        ("a=x=y", "x=y"),
        ("a=(1,)", (1,)),
        ("a=1e-3", 1e-3),
        ("a=", ""),
        ("a={[]: 1}", "{[]: 1}"),
        ("a=" + "-" * 20000 + "1", "-" * 20000 + "1"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_override_values_are_python_literals_or_text(word, expected):
    assert parse_override(word) == ("a", expected)


leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=3))
keys = st.text("abcd", min_size=1, max_size=2)
trees = st.recursive(st.dictionaries(keys, leaves, max_size=3), lambda t: st.dictionaries(keys, t | leaves, max_size=3))


@given(trees, trees)
def test_merge_properties(base, child):
    before = copy.deepcopy((base, child))
    merged = merge(base, child)
    assert (base, child) == before  # nothing is changed in place
    assert merge(base, {}) == base and merge({}, child) == child
    assert set(merged) == set(base) | set(child)
    assert merge(merged, child) == merged  # the child's word is final
    for key, value in child.items():
        if not isinstance(value, dict):
            assert merged[key] == value


@given(trees, trees, trees)
def test_merge_is_associative_where_dicts_meet_dicts(a, b, c):
    # A leaf between two dicts cuts the older one off, so the law holds for trees without such a clash.
    def clash(x, y):
        return any(
            isinstance(x[k], dict) != isinstance(y[k], dict) or (isinstance(x[k], dict) and clash(x[k], y[k]))
            for k in x.keys() & y.keys()
        )

    if clash(a, b) or clash(b, c) or clash(a, c):
        return
    assert merge(merge(a, b), c) == merge(a, merge(b, c))


def test_dual_head_kd_on_imagenet_has_its_authors_batch_and_rate():
    config = Config.from_file(ROOT / "configs/imagenet/resnet34-resnet18_dhkd.py").to_dict()
    assert config["batch_size"] == 256
    assert config["optimizer"] == dict(type="SGD", lr=0.1, momentum=0.9, weight_decay=1e-4)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: str(p.relative_to(ROOT / "configs")))
def test_our_configs_load_in_mmengine_to_the_same_dict(path):
    mmengine = pytest.importorskip("mmengine.config")
    assert Config.from_file(path).to_dict() == mmengine.Config.fromfile(path).to_dict()
