"""Published folders in small, mCE by hand, and finished cells."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kdzoo.errors import UserError
from kdzoo.robust.corruptions import COMMON
from kdzoo.robust.corruptions.folders import CifarC, ImageNetC, check_severities
from kdzoo.robust.corruptions.mce import ALEXNET, Baseline, corruption_errors, mean_error, text_table
from kdzoo.robust.corruptions.record import Cells


@pytest.fixture
def cifar():
    """Three images a severity; pixel values tell severity and image."""
    folder = Path("CIFAR-10-C")
    folder.mkdir()
    images = np.arange(15, dtype=np.uint8).repeat(32 * 32 * 3).reshape(15, 32, 32, 3)
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile([0, 1, 2], 5).astype(np.uint8))
    return CifarC(folder, (3, 32, 32), 10)


def test_cifar_c_rows_of_a_severity(cifar):
    assert cifar.names() == ["fog"]
    parts = list(cifar.batches("fog", 4, "cpu", size=2))
    images, target = (torch.cat(part) for part in zip(*parts, strict=True))
    assert images.shape == (3, 3, 32, 32) and target.tolist() == [0, 1, 2]
    assert (images[:, 0, 0, 0] * 255).round().tolist() == [9, 10, 11]
    few = CifarC(cifar.folder, (3, 32, 32), 10, limit=2)
    assert sum(len(target) for _, target in few.batches("fog", 1, "cpu")) == 2


@pytest.mark.parametrize(
    "file, array, told",
    [
        ("fog.npy", np.zeros((15, 32, 32, 3), np.float32), r"holds float32 \(15, 32, 32, 3\); expected uint8"),
        ("fog.npy", np.zeros((14, 32, 32, 3), np.uint8), "expected uint8"),
        ("fog.npy", np.zeros((15, 3, 32, 32), np.uint8), "expected uint8"),
        ("labels.npy", np.zeros(14, np.uint8), "expected 15 integers"),
        ("labels.npy", np.zeros(15), "expected 15 integers"),
        ("labels.npy", np.full(15, 10), r"labels outside 0..9"),
        ("labels.npy", np.array([{}] * 15, dtype=object), "cannot be read"),
    ],
)
def test_malformed_cifar_c(cifar, file, array, told):
    np.save(cifar.folder / file, array)
    with pytest.raises(UserError, match=told) as found:
        next(cifar.batches("fog", 1, "cpu"))
    assert "\n" not in str(found.value)


def test_missing_and_cut_off_files(cifar):
    with pytest.raises(UserError, match="snow.npy is missing"):
        next(cifar.batches("snow", 1, "cpu"))
    whole = (cifar.folder / "fog.npy").read_bytes()
    (cifar.folder / "fog.npy").write_bytes(whole[:200])
    with pytest.raises(UserError, match="fog.npy cannot be read"):
        next(cifar.batches("fog", 1, "cpu"))


def test_imagenet_c():
    for wnid, colour, size in (("n02", 200, 24), ("n01", 100, 40)):
        place = Path("ImageNet-C/fog/3") / wnid
        place.mkdir(parents=True)
        Image.new("RGB", (size, size), (colour,) * 3).save(place / "a.JPEG")
    Path("ImageNet-C/fog/1").mkdir()
    stored = ImageNetC(Path("ImageNet-C"), (3, 32, 32), ["n01", "n02"])
    assert stored.names() == ["fog"]
    ((images, target),) = stored.batches("fog", 3, "cpu")
    assert images.shape == (2, 3, 32, 32) and target.tolist() == [0, 1]
    np.testing.assert_allclose(images.mean((1, 2, 3)) * 255, [100, 200], atol=2)
    for severity, told in ((1, "holds no picture"), (2, "is missing")):
        with pytest.raises(UserError, match=told):
            next(stored.batches("fog", severity, "cpu"))
    with pytest.raises(UserError, match="holds the class 'n02'"):
        next(ImageNetC(Path("ImageNet-C"), (3, 32, 32), ["n01"]).batches("fog", 3, "cpu"))
    Path("ImageNet-C/fog/3/n01/a.JPEG").write_bytes(b"no picture")
    with pytest.raises(UserError, match="a.JPEG cannot be read"):
        next(stored.batches("fog", 3, "cpu"))


def test_mce_by_hand():
    errors = {"fog": [0.1, 0.3], "snow": [0.4, 0.6], "saturate": [1.0, 1.0]}
    assert mean_error(errors, ["fog", "snow"]) == pytest.approx((0.2 + 0.5) / 2)
    base = Baseline("A", {"fog": 0.4, "snow": 0.8}, (1, 5))
    ratios = corruption_errors(errors, [1, 5], base, ["fog", "snow"])
    # Sums over severities: 0.4 / 0.8 and 1.0 / 1.6.
    assert ratios == pytest.approx({"fog": 0.5, "snow": 0.625})
    with pytest.raises(UserError, match=r"of the severities \[1, 5\], these errors of \[1, 2\]"):
        corruption_errors(errors, [1, 2], base, ["fog"])
    with pytest.raises(UserError, match="no error for saturate"):
        corruption_errors(errors, [1, 5], base, ["saturate"])
    told = text_table(errors, [1, 5], 0.05, ratios).splitlines()
    assert told[1].split() == ["clean", "5.00"] and told[3].split() == ["snow", "40.00", "60.00", "50.00", "62.5"]


def test_alexnet_has_every_common_corruption():
    assert tuple(ALEXNET) == COMMON and all(0.5 < error < 1 for error in ALEXNET.values())


def test_severities():
    assert check_severities([5, 1, 1]) == [1, 5]
    with pytest.raises(UserError, match="--severities has 0"):
        check_severities([0, 1])


def test_cells_go_on_and_refuse_other_runs():
    file = Path("cells.json")
    Cells(file, dict(seed=0), False).put("fog", 2, 3, 10)
    assert Cells(file, dict(seed=0), True).get("fog", 2) == [3, 10]
    assert Cells(file, dict(seed=0), True).get("fog", 1) is None
    assert Cells(file, dict(seed=1), False).get("fog", 2) is None
    with pytest.raises(UserError, match="is of seed = 0, now it is 1"):
        Cells(file, dict(seed=1), True)
    file.write_text(json.dumps([1]))
    with pytest.raises(UserError, match="is damaged"):
        Cells(file, dict(seed=0), True)
