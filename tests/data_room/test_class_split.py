"""Sets with classes kept back."""

import numpy as np
import pytest

from kdzoo.errors import ConfigError
from kdzoo.registry import DATASETS

SOURCE = dict(type="Digits")


def build(**keywords):
    return DATASETS.build(dict(type="ClassSplit", source=SOURCE, **keywords))


def test_parts_share_their_labels():
    whole = DATASETS.build(SOURCE).part("train")
    seen, novel, both = (build(seen=7, part=part, seed=1) for part in ("seen", "novel", "all"))
    assert len(seen.classes) == 7 and seen.classes + novel.classes == both.classes
    assert sorted(both.classes, key=int) == [str(k) for k in range(10)] and both.classes != sorted(both.classes)
    parts = [split.part("train") for split in (seen, novel, both)]
    assert len(parts[0].labels) + len(parts[1].labels) == len(parts[2].labels) == len(whole.labels)
    named = np.array([int(name) for name in both.classes])
    assert np.array_equal(named[parts[2].labels], whole.labels)  # images keep their order
    assert np.array_equal(parts[0].images, parts[2].images[parts[2].labels < 7])
    assert (parts[2].labels[parts[2].labels >= 7] - 7 == parts[1].labels).all()


def test_a_list_of_classes_and_limits():
    split = build(seen=[9, 3], part="seen", train_limit=20)
    assert split.classes == ["9", "3"] and np.bincount(split.part("train").labels).tolist() == [10, 10]
    assert split.mean == DATASETS.build(SOURCE).mean


@pytest.mark.parametrize(
    ("keywords", "words"),
    [
        (dict(seen=10), "seen must be at least 2 and below 10"),
        (dict(seen=[1, 1]), "seen must hold different labels"),
        (dict(seen=7, part="old"), "part"),
    ],
)
def test_mistakes(keywords, words):
    with pytest.raises(ConfigError, match=words):
        build(**keywords)
