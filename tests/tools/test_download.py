"""The downloader, with torchvision's classes replaced by tiny ones."""

import json
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision

from kdzoo.data import build_data
from kdzoo.tools.download import main


@pytest.fixture(autouse=True)
def no_data_of_the_user(monkeypatch):
    monkeypatch.delenv("KDZOO_DATA", raising=False)


def fake(kind):
    """A stand-in with the attributes torchvision's class has."""

    class Fake:
        def __init__(self, root, train=True, split=None, download=False):
            assert download
            count = 4 if (split or ("train" if train else "test")) == "train" else 2
            rng = np.random.default_rng(count)
            if kind == "SVHN":
                self.data = rng.integers(0, 256, (count, 3, 5, 6), dtype=np.uint8)
                self.labels = np.arange(count)
            elif kind in ("MNIST", "KMNIST"):
                self.data = torch.from_numpy(rng.integers(0, 256, (count, 5, 6), dtype=np.uint8))
                self.targets, self.classes = torch.arange(count), [f"{i} - name" for i in range(10)]
            else:
                self.data = rng.integers(0, 256, (count, 5, 6, 3), dtype=np.uint8)
                self.targets, self.classes = list(range(count)), [f"name {i}" for i in range(10)]

    return Fake


def failing(error):
    def make(*args, **kwargs):
        raise error

    return make


@pytest.mark.parametrize("name", ["CIFAR10", "CIFAR100", "MNIST", "KMNIST", "SVHN"])
def test_the_folder_can_be_trained_from(monkeypatch, tmp_path, capsys, name):
    monkeypatch.setattr(torchvision.datasets, name, fake(name))
    root = tmp_path / "sets"
    assert main(["--dataset", name.lower(), "--root", str(root)]) == 0
    assert str(root / name.lower()) in capsys.readouterr().out
    assert [path.name for path in root.iterdir()] == [name.lower()]  # no temporary folder is left
    data = build_data(dict(type=name, root=str(root)), 2, [], 0, torch.device("cpu"))
    channels = 1 if "MNIST" in name else 3
    assert (data.train.size, data.test.size, data.shape) == (4, 2, (channels, 5, 6))
    original = np.asarray(fake(name)("", train=False, split="test", download=True).data).reshape(2, -1)
    images = np.load(root / name.lower() / "test_images.npy")
    if name == "SVHN":
        images = images.transpose(0, 3, 1, 2)
    assert np.array_equal(images.reshape(2, -1), original)
    classes = json.loads((root / name.lower() / "classes.json").read_text())
    assert classes[3] == ("3" if name in ("MNIST", "SVHN") else "3 - name" if name == "KMNIST" else "name 3")


def test_the_default_root_is_the_environments_then_data(monkeypatch, tmp_path):
    monkeypatch.setattr(torchvision.datasets, "MNIST", fake("MNIST"))
    monkeypatch.setenv("KDZOO_DATA", str(tmp_path / "there"))
    assert main(["--dataset", "mnist"]) == 0 and (tmp_path / "there" / "mnist" / "classes.json").is_file()
    monkeypatch.delenv("KDZOO_DATA")
    assert main(["--dataset", "mnist"]) == 0 and (tmp_path / "data" / "mnist" / "classes.json").is_file()


def test_a_set_that_is_there_is_left_alone(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fake("CIFAR10"))
    assert main(["--dataset", "cifar10"]) == 0
    capsys.readouterr()
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", failing(AssertionError("downloaded again")))
    assert main(["--dataset", "cifar10"]) == 0
    assert "data/cifar10 is there already" in capsys.readouterr().out
    (tmp_path / "data" / "cifar10" / "test_labels.npy").unlink()
    assert main(["--dataset", "cifar10"]) == 1
    assert "has no test_labels.npy; move it away" in capsys.readouterr().err


@pytest.mark.parametrize(
    "error",
    [
        URLError("Name or service not known"),
        RuntimeError("File not found or corrupted."),
        RuntimeError("a\nb"),
        ConnectionResetError(),
    ],
)
def test_no_network_is_one_line_and_leaves_nothing(monkeypatch, tmp_path, capsys, error):
    monkeypatch.setattr(torchvision.datasets, "CIFAR100", failing(error))
    assert main(["--dataset", "cifar100"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("error: cifar100 could not be downloaded (") and told.count("\n") == 1
    assert list((tmp_path / "data").iterdir()) == []


def test_a_full_disk_leaves_nothing_either(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(torchvision.datasets, "CIFAR10", fake("CIFAR10"))
    saved = []

    def save(file, array):
        if len(saved) == 3:
            raise OSError(28, "No space left on device")
        saved.append(file)

    monkeypatch.setattr(np, "save", save)
    assert main(["--dataset", "cifar10"]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list((tmp_path / "data").iterdir()) == []


def test_an_unknown_name_lists_the_known(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--dataset", "cifar1000"])
    assert stopped.value.code == 2 and "cifar100" in capsys.readouterr().err
