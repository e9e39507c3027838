"""Augmentations against slow references, written image by image in NumPy."""

import numpy as np
import pytest
import torch

from kdzoo.data.cutmix import CutMix
from kdzoo.data.cutout import Cutout
from kdzoo.data.flip import Flip
from kdzoo.data.mixup import Mixup
from kdzoo.data.pad_crop import PadCrop
from kdzoo.data.pipeline import Pipeline, render_views
from kdzoo.data.pixels import channel_statistics
from kdzoo.errors import ConfigError

SHAPES = pytest.mark.parametrize("shape", [(7, 3, 32, 32), (5, 1, 9, 6), (3, 4, 1, 5), (1, 2, 5, 1)], ids=str)


def noise(shape, seed=0, layout="channels_last") -> torch.Tensor:
    images = torch.from_numpy(np.random.default_rng(seed).integers(0, 256, size=shape).astype(np.uint8))
    return images.contiguous(memory_format=torch.channels_last) if layout == "channels_last" else images


def crop_by_hand(image, padding, top, left):
    """[C, H, W]: the window of the padded image, pixel by pixel."""
    result = np.zeros_like(image)
    _, height, width = image.shape
    for y in range(height):
        for x in range(width):
            from_y, from_x = y + top - padding, x + left - padding
            if 0 <= from_y < height and 0 <= from_x < width:
                result[:, y, x] = image[:, from_y, from_x]
    return result


@SHAPES
@pytest.mark.parametrize("layout", ["channels_last", "contiguous"])
@pytest.mark.parametrize("padding", [0, 1, 4])
def test_pad_crop_and_flip_by_hand(shape, layout, padding):
    images, rng = noise(shape, layout=layout), np.random.default_rng(1)
    crop, flip = PadCrop(padding), Flip(0.5)
    spots, mirrored = rng.integers(crop.views, size=shape[0]), rng.integers(2, size=shape[0])
    before = images.clone()
    ours = flip.apply(crop.apply(images, spots), mirrored)
    for i, image in enumerate(images.numpy()):
        expected = crop_by_hand(image, padding, *divmod(int(spots[i]), 2 * padding + 1))
        assert np.array_equal(ours[i].numpy(), expected[:, :, ::-1] if mirrored[i] else expected)
    assert torch.equal(images, before)


def test_draws_cover_every_view_evenly():
    rng = np.random.default_rng(0)
    assert np.array_equal(np.unique(PadCrop(1).draw(rng, 500, 8, 8)), np.arange(9))
    assert 0.2 < Flip(0.25).draw(rng, 4000, 8, 8).mean() < 0.3
    assert Flip(0.0).draw(rng, 100, 8, 8).sum() == 0 and Flip(1.0).draw(rng, 100, 8, 8).sum() == 100


@SHAPES
@pytest.mark.parametrize("size", [1, 2, 3, 20])
def test_cutout_by_hand(shape, size):
    images, rng = noise(shape), np.random.default_rng(2)
    cutout = Cutout(size, mean=tuple(np.linspace(0.1, 0.9, shape[1])))
    centres = cutout.draw(rng, *[shape[i] for i in (0, 2, 3)])
    ours = cutout.apply(images, centres).numpy()
    for i, (image, (y, x)) in enumerate(zip(images.numpy().copy(), centres, strict=True)):
        top, left = y - size // 2, x - size // 2
        for c, fill in enumerate(cutout.mean):
            image[c, max(top, 0) : top + size, max(left, 0) : left + size] = round(fill * 255)
        assert np.array_equal(ours[i], image)


def test_cutout_takes_the_mean_of_the_data(make_npy, load):
    data = load(make_npy(), [dict(type="Cutout", size=99)])
    image = next(data.train.epoch(0)).images[0]
    assert torch.allclose(image, torch.tensor(data.mean)[:, None, None].expand_as(image), atol=0.5 / 255 + 1e-6)


def mixed_batch(step, shape=(6, 3, 8, 10)):
    images, target = noise(shape), torch.tensor([0, 1, 2, 3, 0, 1])
    pipeline, rows = Pipeline([step]), np.arange(shape[0])
    draws = pipeline.draw(np.random.default_rng(5), shape[0], *shape[2:])
    mixed, soft = pipeline.apply(images, target, rows, shape[0], draws)
    partner = np.roll(rows, -1)  # row i + 1, and the first for the last
    plain = images.numpy() / 255
    return mixed.numpy(), soft.numpy(), plain, plain[partner], np.eye(4)[target], np.eye(4)[target][partner]


def test_mixup_mixes_pixels_and_targets_alike():
    mixed, soft, own, other, label, other_label = mixed_batch(Mixup(1.0, num_classes=4))
    share = ((mixed - other) * (own - other)).sum() / ((own - other) ** 2).sum()  # least squares
    assert 0.01 < share < 0.99
    assert np.allclose(mixed, share * own + (1 - share) * other, atol=1e-5)
    assert np.allclose(soft, share * label + (1 - share) * other_label, atol=1e-5)
    assert np.allclose(soft.sum(1), 1, atol=1e-6) and soft.dtype == np.float32


def test_cutmix_pastes_a_box_and_counts_its_pixels():
    for seed_shape in [(6, 3, 8, 10), (6, 1, 5, 5)]:
        mixed, soft, own, other, label, other_label = mixed_batch(CutMix(1.0, num_classes=4), seed_shape)
        pasted = ~np.isclose(mixed, own).all(axis=(0, 1))  # [H, W], the same box in every image
        y, x = np.nonzero(pasted)
        box = (slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1))
        assert pasted[box].all() and 0 < pasted.mean() < 1
        assert np.allclose(mixed[:, :, box[0], box[1]], other[:, :, box[0], box[1]])
        share = 1 - pasted.mean()
        assert np.allclose(soft, share * label + (1 - share) * other_label, atol=1e-6)


def test_cutmix_boxes_stay_inside_and_follow_beta():
    step, rng = CutMix(1.0, 10), np.random.default_rng(0)
    boxes = [step.draw(rng, 2, 160, 240) for _ in range(3000)]
    assert all(0 <= s.start <= s.stop <= size for box in boxes for s, size in zip(box, (160, 240), strict=True))
    areas = [(r.stop - r.start) * (c.stop - c.start) / (160 * 240) for r, c in boxes]
    # u uniform, side sqrt(u), of which the borders leave sqrt(u) - u / 4 on average: E = 1/2 - 1/5 + 1/48
    assert np.mean(areas) == pytest.approx(0.3208, abs=0.015)


def test_mixing_twice_keeps_targets_a_distribution(make_npy, load):
    mix = [dict(type="Mixup", alpha=1.0), dict(type="CutMix", alpha=1.0)]
    data = load(make_npy(), mix)
    for batch in data.train.epoch(0):
        assert batch.target.shape == (len(batch.index), 4) and batch.view is None
        assert torch.allclose(batch.target.sum(1), torch.ones(len(batch.index))) and batch.target.min() >= 0


def test_views_are_numbered_and_all_162_differ(make_npy, load):
    images = noise((1, 3, 32, 32))
    steps = [PadCrop(4), Flip()]
    every = render_views(images.expand(162, -1, -1, -1), steps, torch.arange(162))
    assert len({image.numpy().tobytes() for image in every}) == 162
    picked = render_views(images.expand(3, -1, -1, -1), steps, torch.tensor([80, 81, 5]))
    assert torch.equal(picked, every[[80, 81, 5]])
    assert torch.allclose(every[80], images[0] / 255)  # offset (4, 4), not mirrored
    assert torch.allclose(every[81], images[0].flip(2) / 255)


@pytest.mark.parametrize("augment, views", [
    ([], 1),
    ([dict(type="Flip")], 2),
    ([dict(type="PadCrop", padding=4), dict(type="Flip")], 162),
    ([dict(type="Flip"), dict(type="PadCrop", padding=1)], 18),
    ([dict(type="PadCrop"), dict(type="Cutout", size=2)], None),
    ([dict(type="RandAugment")], None),
])
def test_batches_carry_the_view_they_show(make_npy, load, augment, views):
    folder = make_npy(size=(9, 9))
    train = load(folder, augment).train
    assert train.views == views
    for batch in [*train.epoch(0), *train.epoch(1)]:
        if views is None:
            assert batch.view is None
        else:
            assert 0 <= batch.view.min() and batch.view.max() < views
            assert torch.equal(train.render(batch.index, batch.view), batch.images)
    if views is None:
        with pytest.raises(ValueError, match="no finite number of views"):
            train.render(torch.tensor([0]), torch.tensor([0]))


def test_the_view_number_is_checked():
    with pytest.raises(ValueError, match="outside 0..1"):
        render_views(noise((1, 3, 4, 4)), [Flip()], torch.tensor([2]))


def test_augment_id_names_the_parameters(make_npy, load):
    folder = make_npy()
    ids = {load(folder, a).train.augment_id for a in (
        [], [dict(type="PadCrop")], [dict(type="PadCrop", padding=2)], [dict(type="PadCrop"), dict(type="Flip")],
    )}
    assert ids == {"none", "PadCrop(padding=4)", "PadCrop(padding=2)", "PadCrop(padding=4) + Flip(p=0.5)"}


@pytest.mark.parametrize("step, message", [
    (dict(type="PadCrop", padding=-1), r"augment\[0\]: PadCrop: padding is -1"),
    (dict(type="Flip", p=2), r"augment\[0\]: Flip: p is 2"),
    (dict(type="Cutout"), r"Cutout needs 'size'"),
    (dict(type="Cutout", size=0), "size is 0"),
    (dict(type="Cutout", size=2, mean=["a"]), r"augment\[0\]: Cutout expects tuple.* for 'mean', got \['a'\]"),
    (dict(type="Cutout", size=2, mean=[127]), r"augment\[0\]: Cutout: mean is \[127\]; use numbers from 0 to 1"),
    (dict(type="Cutout", size=2, mean=[0.5, 0.5]), r"augment\[0\]: mean has 2 numbers, the images 3 channels"),
    (dict(type="Cutout", size=2, mean=[]), r"augment\[0\]: mean has 0 numbers"),
    (dict(type="Mixup", alpha=0), "alpha is 0"),
    (dict(type="CutMix", alpha=-1.0), "alpha is -1.0"),
    (dict(type="RandAugment", magnitude=31), "magnitude 31"),
    (dict(type="PadCorp"), "did you mean 'PadCrop'"),
    (dict(type="RandomResizedCrop"), "streamed sets"),
])
def test_mistakes_in_an_augmentation_are_told_with_their_place(make_npy, load, step, message):
    with pytest.raises(ConfigError, match=message):
        load(make_npy(), [step])


def test_channel_statistics_equal_numpy():
    images = noise((40, 3, 5, 7)).permute(0, 2, 3, 1).numpy()
    mean, std = channel_statistics([images[:13], images[13:]])
    assert np.allclose(mean, (images / 255).mean((0, 1, 2))) and np.allclose(std, (images / 255).std((0, 1, 2)))
    assert channel_statistics([np.full((2, 3, 3, 1), 51, np.uint8)]) == ((pytest.approx(0.2),), (1.0,))
