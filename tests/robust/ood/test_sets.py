"""Sets on disk: what is there is read, converted as the config says, refused otherwise."""

import json

import numpy as np
import pytest
import torch

from kdzoo.config import Config
from kdzoo.errors import ConfigError
from kdzoo.robust.ood.sets import conversion, read_sets


def put(folder, shape, value=100):
    folder.mkdir(parents=True)
    np.save(folder / "test_images.npy", np.full((6, *shape), value, dtype=np.uint8))
    np.save(folder / "test_labels.npy", np.arange(6) % 2)
    (folder / "classes.json").write_text(json.dumps(["a", "b"]))


@pytest.fixture
def root(tmp_path):
    put(tmp_path / "data" / "grey", (28, 28, 1))
    put(tmp_path / "data" / "large", (64, 64, 3))
    put(tmp_path / "data" / "fits", (32, 32, 3))
    return str(tmp_path / "data")


def test_sets_are_converted_limited_and_those_missing_are_named(root):
    config = Config(
        dict(
            near=[dict(name="Fits", folder="fits"), dict(name="Gone", folder="gone")],
            far=[dict(folder="grey", channels="repeat", size="bilinear"), dict(folder="large", size="bilinear")],
        )
    )
    sets, absent = read_sets(config, root, (3, 32, 32), limit=4)
    assert [(s.name, s.kind, s.count) for s in sets] == [("Fits", "near", 4), ("grey", "far", 4), ("large", "far", 4)]
    assert absent == ["Gone"]
    for part in sets:
        for _ in range(2):  # a pass can be begun again
            (images,) = part.batches()
            assert images.shape == (4, 3, 32, 32) and images.dtype == torch.float32
            torch.testing.assert_close(images, torch.full_like(images, 100 / 255))


@pytest.mark.parametrize(
    "entry, words",
    [
        (
            dict(folder="grey"),
            "grey has images 1 x 28 x 28, the network takes 3 x 32 x 32; add channels='repeat', size=",
        ),
        (dict(folder="large"), "add size='bilinear'"),
        (dict(folder="fits", channels="colour"), "channels is None, 'repeat' or 'mean'"),
        (dict(folder="fits", siez="bilinear"), "unknown 'siez'.*did you mean 'size'"),
        (dict(folder="fits", test_limit=2), "unknown 'test_limit'"),
        (dict(name="x"), "no folder is given"),
    ],
)
def test_what_does_not_fit_is_refused(root, entry, words):
    with pytest.raises(ConfigError, match=words) as told:
        read_sets(Config(dict(far=[entry])), root, (3, 32, 32))
    assert "far[0]" in str(told.value)


def test_colour_to_grey_is_the_mean():
    images = torch.rand(2, 3, 8, 8)
    found = conversion("x", (3, 8, 8), (1, 8, 8), "mean", None)(images)
    torch.testing.assert_close(found, images.mean(dim=1, keepdim=True))
    with pytest.raises(ConfigError, match="add channels='mean'"):
        conversion("x", (3, 8, 8), (1, 8, 8), "repeat", None)
    with pytest.raises(ConfigError, match="only 1 and 3 can be made of each other"):
        conversion("x", (4, 8, 8), (3, 8, 8), "mean", None)
