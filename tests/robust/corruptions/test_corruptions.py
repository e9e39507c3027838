"""Every corruption: deterministic, whatever the batch; in range, growing, on grey and odd images; and known laws."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage, stats

from kdzoo.robust.corruptions import COMMON, CORRUPTIONS, EXTRA, SEVERITIES, corrupt, corruption
from kdzoo.robust.corruptions.filters import clipped_zoom, gaussian, motion, plasma
from kdzoo.robust.corruptions.noise import shot_noise
from kdzoo.robust.corruptions.table import Draw

# The published constants of these two are not ordered by how far they move pixels (elastic: the affine part
# shrinks; spatter turns from water to mud at severity 4; saturation goes down, then up). Glass blur and frost
# trade one constant for another.
UNORDERED = {"elastic_transform", "spatter", "saturate", "glass_blur", "frost"}


@pytest.fixture(scope="module")
def photos():
    """Smooth coloured [6, 3, 32, 32] images in [0, 1]."""
    rng = np.random.default_rng(0)
    smooth = ndimage.gaussian_filter(rng.random((6, 3, 32, 32)), (0, 0, 2, 2))
    low, high = smooth.min((1, 2, 3), keepdims=True), smooth.max((1, 2, 3), keepdims=True)
    return torch.from_numpy((smooth - low) / (high - low)).float()


def test_all_are_there():
    assert len(COMMON) == 15 and len(EXTRA) == 4 and set(CORRUPTIONS) == {*COMMON, *EXTRA}
    assert [CORRUPTIONS[name].family for name in COMMON[::4]] == ["noise", "blur", "weather", "digital"]
    assert all(CORRUPTIONS[name].family == "extra" for name in EXTRA)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_a_function_of_the_key_whatever_the_batch(photos, name):
    whole = corrupt(photos, name, 3, range(6), seed=1)
    assert torch.equal(whole, corrupt(photos, name, 3, range(6), seed=1))
    alone = torch.cat([corrupt(photos[i : i + 1], name, 3, [i], seed=1) for i in (4, 2)])
    torch.testing.assert_close(alone, whole[[4, 2]], rtol=0, atol=2e-6)
    random = not torch.equal(whole, corrupt(photos, name, 3, range(6), seed=2))
    assert random == (not torch.equal(whole, corrupt(photos, name, 3, range(10, 16), seed=1)))
    fixed = {"defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"}
    assert random == (name not in fixed | {"gaussian_blur", "saturate"})


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_range_type_and_severity(photos, name):
    distances = []
    for severity in SEVERITIES:
        out = corrupt(photos, name, severity, range(6))
        assert out.shape == photos.shape and out.dtype == torch.float32 and out.isfinite().all()
        assert out.min() >= 0 and out.max() <= 1
        distances.append(float((out - photos).abs().mean()))
    assert min(distances) > 1e-4
    if name not in UNORDERED:
        assert distances == sorted(distances)


@pytest.mark.parametrize("name", sorted(CORRUPTIONS))
def test_grey_odd_bytes_and_large(name):
    torch.manual_seed(0)
    grey = torch.rand(2, 1, 37, 33)
    out = corrupt(grey, name, 5, [3, 4])
    assert out.shape == grey.shape and 0 <= out.min() and out.max() <= 1
    # Bytes are the same images as their 255ths.
    pixels = torch.randint(0, 256, (2, 3, 8, 9), dtype=torch.uint8)
    torch.testing.assert_close(corrupt(pixels, name, 2, [0, 1]), corrupt(pixels.float() / 255, name, 2, [0, 1]))
    large = torch.rand(1, 3, 100, 70)
    sizes = [corrupt(large, name, 4, [0], constants=kind) for kind in (None, "imagenet", "cifar")]
    assert torch.equal(sizes[0], sizes[1])
    assert name == "saturate" or not torch.equal(sizes[1], sizes[2])


def _draw(count, key="test"):
    return Draw(0, np.arange(count), key, torch.device("cpu"))


def test_shot_noise_is_poisson():
    x = torch.full((40, 1, 32, 32), 51 / 255)
    counts = (shot_noise(x, 60, _draw(40)) * 60).round().flatten().numpy()
    law = stats.poisson(60 * 51 / 255)
    seen = np.array([(counts == k).sum() for k in range(4, 23)])
    expected = law.pmf(np.arange(4, 23)) * counts.size
    assert ((seen - expected) ** 2 / expected).sum() < stats.chi2(19).ppf(0.9999)
    assert not shot_noise(torch.zeros(1, 1, 8, 8), 60, _draw(1)).any()


def test_a_severity_is_the_same_in_every_type():
    x = torch.rand(2, 3, 8, 8)
    expected = corrupt(x, "gaussian_noise", 1, [0, 1])
    assert all(torch.equal(corrupt(x, "gaussian_noise", one, [0, 1]), expected) for one in (1.0, True, np.float32(1)))


def test_noise_has_its_published_strength():
    x = torch.full((30, 3, 32, 32), 0.5)
    assert (corrupt(x, "gaussian_noise", 2, range(30)) - x).std() == pytest.approx(0.06, rel=0.02)
    assert (corrupt(x, "speckle_noise", 1, range(30)) - x).std() == pytest.approx(0.03, rel=0.02)
    salted = corrupt(x, "impulse_noise", 5, range(30))
    assert float((salted == 1).float().mean()) == pytest.approx(0.035, rel=0.05)
    assert float((salted == 0).float().mean()) == pytest.approx(0.035, rel=0.05)


def test_gaussian_against_scipy(photos):
    for sigma, border, truncate in ((0.7, "nearest", 4.0), (12.0, "reflect", 3.0)):
        ours = gaussian(photos, sigma, border, truncate)
        theirs = ndimage.gaussian_filter(photos.double().numpy(), (0, 0, sigma, sigma), mode=border, truncate=truncate)
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_zoom_against_scipy(photos):
    ours = clipped_zoom(photos[:1], 1.2)[0].permute(1, 2, 0)
    middle = photos[0, :, 2:29, 2:29].permute(1, 2, 0).numpy()  # ceil(32 / 1.2) = 27 pixels
    theirs = ndimage.zoom(middle, (1.2, 1.2, 1), order=1)
    np.testing.assert_allclose(ours, theirs[:32, :32], atol=1e-5)


def test_motion_is_a_half_gaussian_along_its_line():
    dot = torch.zeros(1, 1, 33, 33)
    dot[0, 0, 16, 16] = 1
    line = motion(dot, 4, 2.0, torch.zeros(1))[0, 0]
    weights = np.exp(-0.5 * (np.arange(9) / 2) ** 2)
    np.testing.assert_allclose(line[16, 8:17].flip(0), weights / weights.sum(), atol=1e-6)
    assert float(line.sum()) == pytest.approx(1)


def test_glass_blur_moves_pixels_and_keeps_them():
    # Severity 1 of 32 pixels has no blur to speak of: what comes out is a permutation of near places.
    x = torch.arange(256).view(1, 1, 16, 16).float() / 255
    out = (corrupt(x, "glass_blur", 1, [0]) * 255).round().long().flatten()
    assert torch.equal(out.sort().values, torch.arange(256))
    rows, columns = out // 16 - torch.arange(256) // 16, out % 16 - torch.arange(256) % 16
    assert 0.3 < float(((rows != 0) | (columns != 0)).float().mean()) and rows.abs().max() <= 4


def test_plasma_is_rougher_with_less_decay():
    smooth, rough = (plasma(_draw(4), 32, 32, decay) for decay in (3.0, 1.4))
    assert smooth.shape == (4, 1, 32, 32) and smooth.min() == 0 and smooth.max() == 1
    steps = [float(part.diff(dim=3).abs().mean()) for part in (smooth, rough)]
    assert steps[1] > 1.5 * steps[0]
    assert not torch.equal(smooth[0], smooth[1])


def test_jpeg_and_pixelate_are_pillows():
    rng = np.random.default_rng(1)
    picture = ndimage.gaussian_filter(rng.random((32, 32, 3)), (1, 1, 0))
    picture = ((picture - picture.min()) / np.ptp(picture) * 255).astype(np.uint8)
    batch = torch.from_numpy(picture).permute(2, 0, 1)[None]
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=58)
    ours = corrupt(batch, "jpeg_compression", 3, [0])[0].permute(1, 2, 0) * 255
    np.testing.assert_array_equal(ours.round().numpy(), np.asarray(Image.open(buffer)))
    small = Image.fromarray(picture).resize((20, 20), Image.Resampling.BOX).resize((32, 32), Image.Resampling.BOX)
    ours = corrupt(batch, "pixelate", 5, [0])[0].permute(1, 2, 0) * 255
    np.testing.assert_allclose(ours.numpy(), np.asarray(small, dtype=float), atol=1.01)  # Pillow rounds twice


def test_colours_against_colorsys():
    import colorsys

    torch.manual_seed(2)
    x = torch.rand(1, 3, 8, 8)
    x[0, :, 0, 0] = 0.4  # grey: hue 0
    x[0, :, 0, 1] = 0.0
    brighter, saturated = corrupt(x, "brightness", 3, [0]), corrupt(x, "saturate", 4, [0])
    for row, column in ((0, 0), (0, 1), (3, 5), (7, 7)):
        hue, saturation, value = colorsys.rgb_to_hsv(*x[0, :, row, column].tolist())
        expected = colorsys.hsv_to_rgb(hue, saturation, min(1, value + 0.15))
        np.testing.assert_allclose(brighter[0, :, row, column], expected, atol=1e-5)
        expected = colorsys.hsv_to_rgb(hue, min(1, 2 * saturation + 0.1), value)
        np.testing.assert_allclose(saturated[0, :, row, column], expected, atol=1e-5)


def test_contrast_keeps_the_mean(photos):
    out = corrupt(photos, "contrast", 4, range(6))
    torch.testing.assert_close(out.mean((2, 3)), photos.mean((2, 3)))
    torch.testing.assert_close(out.std((2, 3)), 0.3 * photos.std((2, 3)))


@pytest.mark.parametrize(
    "change, told",
    [
        (dict(name="fogg"), "unknown corruption 'fogg' .did you mean 'fog'"),
        (dict(severity=6), "severity is 6; use 1, 2, 3, 4 or 5"),
        (dict(images=torch.rand(2, 2, 8, 8)), r"images are \[2, 2, 8, 8\]"),
        (dict(images=torch.rand(2, 3, 4, 8)), "8 pixels a side"),
        (dict(images=torch.randn(2, 3, 8, 8)), "before normalisation"),
        (dict(images=torch.full((2, 3, 8, 8), float("nan"))), "images reach from nan"),
        (dict(index=[1]), "2 images and 1 indices"),
        (dict(index=[-1, 0]), "streams must lie in"),
        (dict(constants="tiny"), "constants is 'tiny'"),
    ],
)
def test_mistakes(change, told):
    right = dict(images=torch.rand(2, 3, 8, 8), name="gaussian_noise", severity=1, index=[0, 1])
    with pytest.raises(ValueError, match=told):
        corrupt(**right | change)


def test_a_new_one_is_one_function(monkeypatch):
    monkeypatch.setattr("kdzoo.robust.corruptions.table.CORRUPTIONS", {})
    from kdzoo.robust.corruptions import table

    @corruption("extra", cifar=(1, 2, 3, 4, 5), imagenet=(5, 4, 3, 2, 1))
    def darken(x, by, draw):
        return x / by

    x = torch.rand(1, 1, 8, 8)
    torch.testing.assert_close(table.corrupt(x, "darken", 2, [0]), x / 2)
    with pytest.raises(ValueError, match="give 5 of each"):
        corruption("extra", cifar=(1,), imagenet=(1, 2, 3, 4, 5))(darken)
