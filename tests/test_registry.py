"""Registries: building, and telling mistakes with place and nearest name."""

from dataclasses import dataclass
from typing import Literal

import pytest

from kdzoo.errors import ConfigError
from kdzoo.registry import LOSSES, Registry, construct


@dataclass
class Thing:
    size: int
    mode: Literal["fast", "exact"] = "exact"
    scale: float | None = None
    names: list | None = None
    steps: tuple[int, ...] = ()
    pair: tuple[float, float | None] = (0.0, None)

    def __post_init__(self):
        if self.size < 0:
            raise ValueError(f"size must be at least 0, got {self.size}")
        sorted(self.names or [])  # a TypeError for names of several types


@pytest.fixture
def things():
    registry = Registry("thing", "kdzoo.losses")
    registry._walked = True
    registry.register()(Thing)
    return registry


def test_builds_with_keywords_and_context(things):
    assert things.build(dict(type="Thing", size=3)) == Thing(3)
    assert things.build(dict(type="Thing"), size=4, unrelated=1) == Thing(4)
    assert things.build(dict(type="Thing", size=5), size=4) == Thing(5)  # the config's word counts


@pytest.mark.parametrize(
    ("cfg", "words"),
    [
        (dict(type="Thin", size=1), ["at[0]", "unknown thing 'Thin'", "did you mean 'Thing'?"]),
        (dict(type="THING", size=1), ["did you mean 'Thing'?"]),
        (dict(type="Thing", siz=1), ["at[0]", "Thing got unknown 'siz'", "did you mean 'size'?"]),
        (dict(type="Thing"), ["Thing needs 'size'"]),
        (dict(type="Thing", size="big"), ["'size'", "'big'"]),
        (dict(type="Thing", size=True), ["'size'", "True"]),
        (dict(type="Thing", size=1, mode="quick"), ["'mode'", "'quick'"]),
        (dict(type="Thing", size=1, scale="x"), ["'scale'"]),
        (dict(type="Thing", size=-1), ["at[0]", "Thing: size must be at least 0"]),
        (dict(type="Thing", size=1, names=(1, "a")), ["at[0]", "Thing: ", "'str'"]),  # the hints leave it open
        (dict(type="Thing", size=1, steps=[1, "a"]), ["at[0]", "tuple[int, ...] for 'steps', got [1, 'a']"]),
        (dict(type="Thing", size=1, pair=[0.5]), ["'pair'", "[0.5]"]),
        (dict(type="Thing", size=1, pair=[0.5, "a"]), ["'pair'", "[0.5, 'a']"]),
        (dict(size=1), ["has no type"]),
        (["Thing"], ["expected dict(type=...)"]),
    ],
)
def test_mistakes_name_place_and_nearest(things, cfg, words):
    with pytest.raises(ConfigError) as error:
        things.build(cfg, "at[0]")
    for word in words:
        assert word in str(error.value)


def test_a_name_can_be_taken_only_once(things):
    with pytest.raises(KeyError, match="already registered by"):

        @things.register("Thing")
        class Other:
            pass


def test_packages_are_walked_on_first_use():
    assert {"KD", "CrossEntropy"} <= set(LOSSES.names())


def test_construct_takes_numbers_where_floats_are_asked_for():
    assert construct(Thing, dict(size=1, scale=2)).scale == 2
    assert construct(Thing, dict(size=1, names=("a",))).names == ("a",)
    assert construct(Thing, dict(size=1, steps=[], pair=[1, None])).pair == [1, None]
