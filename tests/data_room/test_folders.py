"""Streamed sets: small PNG and JPEG files, some of them damaged."""

import logging
import os

import numpy as np
import pytest
import torch
from PIL import Image

from kdzoo.data.random_resized_crop import RandomResizedCrop
from kdzoo.errors import ConfigError, UserError

SIZES = dict(size=12, resize=14)
CROP_FLIP = [dict(type="RandomResizedCrop"), dict(type="Flip")]


@pytest.fixture
def folder(tmp_path):
    """20 training and 6 test pictures of different sizes in two classes; red tells the number."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 6)):
        for i in range(count):
            place = tmp_path / "pictures" / split / ("cat" if i % 2 else "dog")
            place.mkdir(parents=True, exist_ok=True)
            pixels = rng.integers(0, 256, size=(15 + i, 31 - i, 3), dtype=np.uint8)
            pixels[..., 0] = 10 * i
            Image.fromarray(pixels).save(place / f"{i:02d}.png")
    return tmp_path / "pictures"


@pytest.fixture
def stream(folder, load):
    def build(augment=(), workers=0, **options):
        cfg = dict(type="ImageFolder", path=str(folder), **SIZES, **options.pop("cfg", {}))
        return load(cfg, augment, options.pop("batch_size", 8), workers=workers, **options)

    return build


def numbers(images) -> list[int]:
    """The picture numbers, read off the red channel."""
    return (images[:, 0].mean(dim=(1, 2)) * 25.5).round().int().tolist()


def test_pictures_become_batches(stream):
    data = stream()
    assert data.classes == ["cat", "dog"] and data.shape == (3, 12, 12)
    assert (data.train.size, data.test.size, len(data.train), data.train.views) == (20, 6, 3, 1)
    batches = list(data.train.epoch(0))
    assert sorted(sum((numbers(b.images) for b in batches), [])) == list(range(20))
    for b in batches:
        assert b.images.dtype == torch.float32 and 0 <= b.images.min() and b.images.max() <= 1
        assert b.images.is_contiguous(memory_format=torch.channels_last)
        assert [n % 2 == 0 for n in numbers(b.images)] == (b.target == 1).tolist()  # even numbers are dogs
    assert [len(b.index) for b in batches] == [8, 8, 4]


def test_test_pictures_are_resized_and_cut_in_the_middle(stream, folder):
    batch = next(stream().test.epoch(0))
    assert numbers(batch.images) == [1, 3, 5, 0, 2, 4] and batch.index.tolist() == list(range(6))
    picture = Image.open(folder / "val" / "cat" / "01.png")  # 30 wide, 16 high
    wide = picture.resize((26, 14), Image.BILINEAR)
    middle = np.asarray(wide.crop((7, 1, 19, 13))) / 255
    assert np.allclose(batch.images[0].permute(1, 2, 0).numpy(), middle, atol=1e-6)


def test_statistics_are_counted_and_grey_works(stream):
    colour, grey = stream(), stream(cfg=dict(channels=1))
    assert grey.shape == (1, 12, 12) and len(grey.mean) == 1 and len(colour.std) == 3
    red = torch.cat([b.images for b in colour.train.epoch(0)])[:, 0]
    assert colour.mean[0] == pytest.approx(red.mean().item(), abs=1e-4)


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_crops_depend_on_seed_epoch_and_step_alone(stream, workers):
    state = torch.random.get_rng_state()
    whole = list(stream(CROP_FLIP).train.epoch(3))
    loader = stream(CROP_FLIP, workers=workers).train
    next(loader.epoch(1))  # an epoch left half way leaves no trace
    resumed = list(loader.epoch(3, start=1))
    assert len(resumed) == 2
    for one, two in zip(whole[1:], resumed, strict=True):
        assert torch.equal(one.images, two.images) and torch.equal(one.index, two.index)
    assert not torch.equal(next(loader.epoch(4)).images, whole[0].images)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_processes_see_slices_of_what_one_process_sees(stream):
    augment = [*CROP_FLIP, dict(type="RandAugment"), dict(type="Cutout", size=3)]
    alone = list(stream(augment).train.epoch(0))
    shared = [list(stream(augment, rank=r, world=2).train.epoch(0)) for r in range(2)]
    for step, one in enumerate(alone):
        assert torch.equal(torch.cat([s[step].images for s in shared]), one.images)
        assert [s[step].weight for s in shared] == [1, 1]
    tests = [b.index for r in range(2) for b in stream(rank=r, world=2).test.epoch(0)]
    assert torch.cat(tests).tolist() == list(range(6))


def test_views_of_a_fixed_cut(stream):
    assert stream([dict(type="Flip")]).train.views == 2
    assert stream(CROP_FLIP).train.views is None and next(stream(CROP_FLIP).train.epoch(0)).view is None
    plain, mirrored = stream().train, stream([dict(type="Flip", p=1.0)]).train
    one, two = next(plain.epoch(0)), next(mirrored.epoch(0))
    assert two.view.tolist() == [1] * 8 and torch.equal(two.images, one.images.flip(3))
    assert plain.augment_id == "Resize(14) + CenterCrop(12)"
    assert "RandomResizedCrop(scale=(0.08, 1.0)" in stream(CROP_FLIP).train.augment_id


def test_mixing_stays_within_the_process(stream):
    batch = next(stream([*CROP_FLIP, dict(type="Mixup", alpha=1.0)], rank=1, world=2).train.epoch(0))
    assert batch.target.shape == (4, 2) and torch.allclose(batch.target.sum(1), torch.ones(4))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_picture_is_named_left_out_and_counted(stream, folder, caplog, workers):
    whole = {b.index.numpy().tobytes(): b for b in stream([dict(type="Flip")]).train.epoch(0)}
    good = folder / "train" / "dog" / "04.png"
    good.write_bytes(good.read_bytes()[:200])
    (folder / "train" / "cat" / "07.png").write_bytes(b"")
    data = stream([dict(type="Flip")], workers=workers)
    with caplog.at_level(logging.WARNING, logger="kdzoo"):
        batches = list(data.train.epoch(0))
        list(data.train.epoch(1))
    assert sorted(sum((numbers(b.images) for b in batches), [])) == [n for n in range(20) if n not in (4, 7)]
    assert sorted(path[-10:] for path in data.train.broken) == ["cat/07.png", "dog/04.png"]
    assert sum("cat/07.png cannot be read" in r.message for r in caplog.records) == 1
    for batch, old in zip(batches, whole.values(), strict=True):  # the others keep their own draws
        kept = torch.isin(old.index, batch.index)
        assert torch.equal(old.images[kept], batch.images) and torch.equal(old.view[kept], batch.view)
        assert batch.weight == pytest.approx(len(batch.index) / len(old.index))


def test_statistics_need_one_picture(stream, folder):
    for file in (folder / "train").rglob("*.png"):
        file.write_bytes(b"no picture")
    with pytest.raises(UserError, match="train: no picture could be read"):
        stream()


def test_a_whole_broken_batch(stream, folder):
    data = stream()
    for part in ("val", "train"):
        for file in (folder / part).rglob("*.png"):
            file.write_bytes(b"no picture")
    assert list(data.test.epoch(0)) == [] and len(data.test.broken) == 6
    with pytest.raises(UserError, match="no image of a whole batch could be read"):
        next(data.train.epoch(0))


def test_imagenet_has_its_statistics_and_place(folder, load, tmp_path):
    (tmp_path / "data").mkdir()
    folder.rename(tmp_path / "data" / "imagenet")
    data = load(dict(type="ImageNet"), CROP_FLIP, workers=0)
    assert data.shape == (3, 224, 224) and data.mean == (0.485, 0.456, 0.406)
    assert next(data.test.epoch(0)).images.shape == (6, 3, 224, 224)


def test_limits_are_stratified_and_the_fingerprint_follows(stream):
    data = stream(cfg=dict(train_limit=6, test_limit=2))
    assert (data.train.size, data.test.size) == (6, 2)
    assert sorted(torch.cat([b.target for b in data.train.epoch(0)]).tolist()) == [0, 0, 0, 1, 1, 1]
    assert stream().fingerprint == stream(seed=5).fingerprint != data.fingerprint


def test_the_local_fingerprint_tells_a_file_written_anew(stream, folder):
    loader = stream().train
    before = loader.fingerprint(), loader.fingerprint(local=True)
    file = next((folder / "train").rglob("*.png"))
    os.utime(file, ns=(1, 1))  # as if other pixels of the same size had been written
    assert loader.fingerprint() == before[0] and loader.fingerprint(local=True) != before[1]


def test_ctrl_c_of_the_terminal_does_not_kill_the_workers(stream):
    import multiprocessing
    import signal

    batches = stream(batch_size=2, workers=1).train.epoch(0)
    next(batches)
    for worker in multiprocessing.active_children():
        os.kill(worker.pid, signal.SIGINT)
    assert len(list(batches)) >= 1


def test_the_random_crop_is_torchvisions_and_leaves_global_random_numbers_alone():
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))
    crop = RandomResizedCrop()
    state = torch.random.get_rng_state()
    cuts = [np.asarray(crop.crop(picture, 16, seed)) for seed in (1, 1, 2)]
    assert torch.equal(torch.random.get_rng_state(), state)
    assert cuts[0].shape == (16, 16, 3) and np.array_equal(cuts[0], cuts[1]) and not np.array_equal(cuts[0], cuts[2])


@pytest.mark.parametrize("change, message", [
    (dict(size=20, resize=10), "size is 20 and resize 10"),
    (dict(channels=2), "channels is 2"),
    (dict(test_limit=0), "test_limit is 0"),
])
def test_wrong_settings(folder, load, change, message):
    with pytest.raises(ConfigError, match=f"data: ImageFolder: {message}"):
        load(dict(dict(type="ImageFolder", path=str(folder)), **change))


def test_missing_and_unlike_parts_are_told(folder, load):
    cfg = dict(type="ImageFolder", path=str(folder), **SIZES)
    with pytest.raises(ConfigError, match=r"augment\[1\]: RandomResizedCrop has to be the first"):
        load(cfg, [dict(type="Flip"), dict(type="RandomResizedCrop")])
    (folder / "val" / "cat").rename(folder / "val" / "cow")
    with pytest.raises(UserError, match="train and val hold different classes .*'cat'"):
        load(cfg)
    (folder / "val").rename(folder / "test")
    (folder / "test" / "cow").rename(folder / "test" / "cat")
    assert load(cfg, workers=0).test.size == 6
    (folder / "test").rename(folder / "elsewhere")
    with pytest.raises(UserError, match="pictures/val is no folder of pictures"):
        load(cfg)
    (folder / "elsewhere").rename(folder / "val")
    for file in (folder / "train" / "dog").iterdir():
        file.unlink()
    with pytest.raises(UserError, match="train is no folder of pictures .*dog"):
        load(cfg)
