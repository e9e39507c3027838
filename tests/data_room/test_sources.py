"""In-memory data sets: where they are found, what is wrong with them, limits, digits."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from kdzoo.data import memory
from kdzoo.errors import ConfigError, UserError
from kdzoo.registry import DATASETS

ROOT = Path(__file__).parents[2]


def test_digits_need_no_files(load):
    data = load(dict(type="Digits"))
    assert (data.train.size, data.test.size, data.shape, data.num_classes) == (1437, 360, (1, 8, 8), 10)
    from sklearn.datasets import load_digits

    everything = {image.tobytes() for image in np.rint(load_digits().images * 255 / 16).astype(np.uint8)}
    parts = [torch.cat([b.images for b in loader.epoch(0)]) for loader in (load(dict(type="Digits")).train, data.test)]
    seen = [{(image * 255).round().byte().numpy().tobytes() for image in part} for part in parts]
    # 1437 = 89 * 16 + 13; no image is in both parts
    assert len(parts[0]) == 1437 and seen[0] | seen[1] == everything and not seen[0] & seen[1]
    assert parts[0].max() == 1.0 and parts[0].min() == 0.0


def test_the_digits_test_part_is_fixed_and_balanced(load):
    batches = list(load(dict(type="Digits")).test.epoch(0))
    counts = np.bincount(torch.cat([b.target for b in batches]))
    assert counts.min() >= 34 and counts.max() <= 37
    limited = load(dict(type="Digits", train_limit=100, test_limit=50))
    assert (limited.train.size, limited.test.size) == (100, 50)
    assert limited.mean == load(dict(type="Digits")).mean  # of the whole training part


@pytest.mark.parametrize("name, channels, mean", [
    ("MNIST", 1, (0.1307,)), ("KMNIST", 1, (0.1918,)), ("CIFAR10", 3, (0.4914, 0.4822, 0.4465)),
    ("CIFAR100", 3, (0.5071, 0.4867, 0.4408)), ("SVHN", 3, (0.4377, 0.4438, 0.4728)),
])
def test_known_sets_are_found_by_root_environment_and_default(
    make_npy, load, tmp_path, monkeypatch, name, channels, mean
):
    make_npy(f"data/{name.lower()}", channels=channels)
    by_root = load(dict(type=name, root=str(tmp_path / "data")))
    by_default = load(dict(type=name))
    monkeypatch.chdir("/")
    monkeypatch.setenv("KDZOO_DATA", str(tmp_path / "data"))
    by_environment = load(dict(type=name))
    assert by_root.mean == mean and len(by_root.std) == channels
    assert by_root.fingerprint == by_default.fingerprint == by_environment.fingerprint


def test_a_missing_set_says_where_it_looked_and_which_command_makes_it(load, tmp_path):
    with pytest.raises(UserError, match=r"data/cifar100; make it with `python tools/download.py --dataset cifar100`"):
        load(dict(type="CIFAR100"))
    with pytest.raises(UserError, match=rf"--dataset mnist --root {tmp_path}/x`"):
        load(dict(type="MNIST", root=str(tmp_path / "x")))
    with pytest.raises(UserError, match="there is no folder .*nowhere"):
        load("nowhere")


def test_statistics_and_fingerprint_come_from_the_training_images(make_npy, load):
    folder = make_npy()
    images = np.load(folder / "train_images.npy") / 255
    data = load(folder)
    assert np.allclose(data.mean, images.mean((0, 1, 2))) and np.allclose(data.std, images.std((0, 1, 2)))
    first = data.fingerprint
    assert len(first) == 64 and first == load(folder, batch_size=5, seed=1).fingerprint
    labels = np.load(folder / "train_labels.npy")
    np.save(folder / "train_labels.npy", np.roll(labels, 1))
    assert load(folder).fingerprint != first
    np.save(folder / "train_labels.npy", labels)
    np.save(folder / "train_images.npy", np.load(folder / "train_images.npy") ^ 1)
    assert load(folder).fingerprint != first


def test_limits_take_a_fixed_stratified_subset(make_npy, load):
    folder = make_npy(train=200)
    labels = np.load(folder / "train_labels.npy")
    cfg = dict(type="Npy", path=str(folder), train_limit=40, test_limit=3)
    one, two = load(cfg, seed=0), load(cfg, seed=7)
    assert one.train.size == 40 and one.test.size == 3 and one.fingerprint == two.fingerprint
    target = torch.cat([b.target for b in one.train.epoch(0)])
    assert np.abs(np.bincount(target, minlength=4) - np.bincount(labels) / 5).max() < 1
    assert max(b.index.max() for b in one.train.epoch(0)) == 39
    assert load(dict(cfg, train_limit=10_000)).train.size == 200
    with pytest.raises(ConfigError, match="data: Npy: train_limit is 0"):
        load(dict(cfg, train_limit=0))


@pytest.mark.parametrize("channels, size", [(1, (1, 1)), (1, (3, 7)), (2, (5, 4)), (4, (8, 8))])
def test_any_size_and_number_of_channels_works(make_npy, load, channels, size):
    folder = make_npy(channels=channels, size=size)
    data = load(folder, [dict(type="PadCrop"), dict(type="Flip"), dict(type="CutMix", alpha=1.0)])
    batch = next(data.train.epoch(0))
    assert batch.images.shape == (16, channels, *size) and data.shape == (channels, *size)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)


def overwrite(name, change):
    def spoil(folder):
        file = folder / f"{name}.npy"
        np.save(file, change(np.load(file)), allow_pickle=True)

    return spoil


def truncate(name):
    def spoil(folder):
        file = folder / name
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])

    return spoil


def text(name, content):
    return lambda folder: (folder / name).write_text(content)


@pytest.mark.parametrize("spoil, message", [
    (overwrite("train_images", lambda a: a.astype(np.float32)), r"train_images.npy holds float32 .*uint8 \(N, H"),
    (overwrite("test_images", lambda a: a[..., 0]), r"test_images.npy holds uint8 \(11, 6, 5\)"),
    (overwrite("train_images", lambda a: a[:-1]), "49 images, .*train_labels.npy 50 labels"),
    (overwrite("train_labels", lambda a: a + 1), r"train_labels.npy has labels from 1 to 4; with 4 names"),
    (overwrite("test_labels", lambda a: a - 1), r"test_labels.npy has labels from -1"),
    (overwrite("train_labels", lambda a: a / 2), "train_labels.npy holds float64"),
    (overwrite("train_labels", lambda a: a[:, None]), "train_labels.npy holds int64"),
    (overwrite("train_labels", lambda a: a.astype(object)), "train_labels.npy cannot be read"),
    (overwrite("train_images", lambda a: a[:0]), "train_images.npy holds no image"),
    (overwrite("test_images", lambda a: a[:, :-1]), "make them one size"),
    (truncate("train_images.npy"), "train_images.npy cannot be read"),
    (truncate("test_labels.npy"), "test_labels.npy cannot be read"),
    (text("train_images.npy", ""), "train_images.npy cannot be read"),
    (lambda folder: (folder / "train_labels.npy").write_bytes(pickle.dumps([1])), "train_labels.npy cannot be read"),
    (lambda folder: (folder / "test_images.npy").unlink(), "test_images.npy is missing"),
    (lambda folder: (folder / "classes.json").unlink(), "classes.json is missing"),
    (text("classes.json", "[cat"), "classes.json is not JSON"),
    (text("classes.json", '{"cat": 0}'), "classes.json holds no list of class names"),
    (text("classes.json", "[]"), "classes.json holds no list of class names"),
])
def test_a_damaged_folder_is_told_with_the_file(make_npy, load, spoil, message):
    folder = make_npy()
    spoil(folder)
    with pytest.raises(UserError, match=message) as told:
        load(folder)
    assert "\n" not in str(told.value)


def test_a_wrong_keyword_is_told_with_its_place(load):
    with pytest.raises(ConfigError, match=r"data: CIFAR100 got unknown 'rot' \(did you mean 'root'"):
        load(dict(type="CIFAR100", rot="x"))
    with pytest.raises(ConfigError, match="unknown data set 'CIFAR101'"):
        load(dict(type="CIFAR101"))


def test_the_files_are_never_written_to(make_npy, load):
    folder = make_npy()
    before = (folder / "train_images.npy").read_bytes()
    source = DATASETS.build(dict(type="Npy", path=str(folder)))
    source.part("train").images[:] = 0
    assert (folder / "train_images.npy").read_bytes() == before


def test_a_set_that_does_not_fit_stays_on_the_host_and_gives_the_same_batches(make_npy, load, monkeypatch):
    folder, device = make_npy(), torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (10_000, 20_000))
    assert memory._fits(5000, torch.device("cuda", 0)) and not memory._fits(5001, torch.device("cuda", 0))
    assert memory._fits(10**12, device)
    resident = list(load(folder).train.epoch(0))
    monkeypatch.setattr(memory, "_fits", lambda size, device: False)
    mapped = list(load(folder).train.epoch(0))
    assert all(torch.equal(a.images, b.images) for a, b in zip(resident, mapped, strict=True))


@pytest.mark.parametrize("file", sorted((ROOT / "configs" / "_base_" / "data").glob("*.py")), ids=lambda f: f.stem)
def test_base_configs_name_what_is_registered(file):
    config = {}
    exec(compile(file.read_text(), str(file), "exec"), config)
    from kdzoo.registry import AUGMENTS

    assert config["data"]["type"] in DATASETS.names()
    for step in config["augment"]:
        AUGMENTS.build(step, num_classes=10, mean=(0.5,))


def test_classes_file_is_plain_json(make_npy, load):
    folder = make_npy()
    (folder / "classes.json").write_text(json.dumps(["a", "b", "c", "d", "é"]), encoding="utf-8")
    assert load(folder).classes == ["a", "b", "c", "d", "é"]
