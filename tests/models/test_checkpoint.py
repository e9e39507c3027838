"""Weights on disk: round trips, foreign formats, and every file that must not load."""

import argparse
import json
import os
import pickle

import pytest
import torch
from safetensors.torch import load_file, save_file

from kdzoo.errors import UserError
from kdzoo.models import create_model, load_weights, read_metadata, save_weights, weights_hash
from kdzoo.registry import HEADS


@pytest.fixture
def model():
    torch.manual_seed(0)
    return create_model("resnet8", 10, mean=[0.1, 0.2, 0.3], std=[0.4, 0.5, 0.6])


@pytest.fixture
def other():
    torch.manual_seed(1)
    return create_model("resnet8", 10)


def same(a, b):
    a, b = a.network.state_dict(), b.network.state_dict()
    return list(a) == list(b) and all(torch.equal(a[n], b[n]) for n in a)


def test_round_trip_with_normalisation(model, other, tmp_path):
    path = tmp_path / "net.safetensors"
    save_weights(model.to(memory_format=torch.channels_last), path, {"epoch": "3"})
    load_weights(other, path)
    assert same(model, other) and torch.equal(model.mean, other.mean) and torch.equal(model.std, other.std)
    assert weights_hash(model) == weights_hash(other)
    metadata = read_metadata(path)
    assert metadata["epoch"] == "3" and json.loads(metadata["name"]) == "resnet8"
    assert json.loads(metadata["num_classes"]) == 10 and json.loads(metadata["mean"]) == model.mean.tolist()
    assert sorted(load_file(path)) == sorted(model.network.state_dict())
    assert os.listdir(tmp_path) == ["net.safetensors"]


def test_a_compiled_network_reads_and_writes_plain_names(model, other, tmp_path):
    plain = weights_hash(model)
    model.network, other.network = torch.compile(model.network), torch.compile(other.network)
    save_weights(model, tmp_path / "net.safetensors")
    load_weights(other, tmp_path / "net.safetensors")
    assert weights_hash(other) == plain and "conv1.weight" in load_file(tmp_path / "net.safetensors")


def test_create_model_takes_a_checkpoint(model, tmp_path):
    save_weights(model, tmp_path / "net.safetensors")
    loaded = create_model("resnet8", 10, checkpoint=tmp_path / "net.safetensors")
    assert weights_hash(loaded) == weights_hash(model)


@pytest.mark.parametrize("wrap", ["plain", "model", "state_dict", "module", "namespace", "legacy", "compiled"])
def test_foreign_formats(model, other, tmp_path, wrap):
    path, state, options = tmp_path / "ckpt_epoch_240.pth", model.network.state_dict(), {}
    if wrap == "module":
        state = {"model": {f"module.{n}": t for n, t in state.items()}, "epoch": 240, "accuracy": torch.tensor(72.0)}
    elif wrap == "compiled":
        state = {"model": {f"module._orig_mod.{n}": t for n, t in state.items()}}
    elif wrap == "namespace":
        state = {"opt": argparse.Namespace(lr=0.05), "model": state}
    elif wrap == "legacy":
        state, options = {"model": state, "best_acc": 0.5}, {"_use_new_zipfile_serialization": False}
    elif wrap != "plain":
        state = {wrap: state, "epoch": 1}
    torch.save(state, path, **options)
    mean = other.mean.clone()
    load_weights(other, path)
    assert same(model, other) and torch.equal(other.mean, mean) and read_metadata(path) == {}


def test_safetensors_without_metadata_keep_the_models_normalisation(model, other, tmp_path):
    save_file(model.network.state_dict(), tmp_path / "plain.safetensors")
    mean = other.mean.clone()
    load_weights(other, tmp_path / "plain.safetensors")
    assert same(model, other) and torch.equal(other.mean, mean)


class Evil:
    def __reduce__(self):
        return os.mkdir, ("pwned",)


def write_bad(kind, model, path):
    state = dict(model.network.state_dict())
    if kind == "foreign pickle":
        torch.save({"model": state, "extra": Evil()}, path)
    elif kind == "bare pickle":
        path.write_bytes(pickle.dumps(Evil(), protocol=2))
    elif kind == "truncated torch":
        torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "truncated safetensors":
        save_weights(model, path)
        path.write_bytes(path.read_bytes()[:-2000])
    elif kind == "garbage":
        path.write_bytes(b"\x00garbage" * 100)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "no tensors":
        torch.save({"model": {"a": 1}}, path)
    elif kind == "a tensor":
        torch.save(torch.zeros(3), path)
    elif kind == "missing name":
        del state["layer1.0.conv1.weight"]
        torch.save(state, path)
    elif kind == "unknown name":
        torch.save({**state, "layer9.weight": torch.zeros(3)}, path)
    elif kind == "bad normalisation":
        save_file(state, path, {"mean": "[0.5]", "std": "[1.0]"})
    elif kind == "odd normalisation":
        save_file(state, path, {"mean": "nonsense", "std": "[1.0]"})
    elif kind == "grey":
        torch.save(create_model("resnet8", 10, in_chans=1).network.state_dict(), path)
    elif kind == "folder":
        path.mkdir()


@pytest.mark.parametrize(
    ("kind", "suffix", "told"),
    [
        ("foreign pickle", ".pth", "pickled"),
        ("bare pickle", ".pth", "pickled"),
        ("truncated torch", ".pth", "damaged"),
        ("truncated safetensors", ".safetensors", "damaged"),
        ("garbage", ".pth", "damaged"),
        ("garbage", ".safetensors", "damaged"),
        ("empty", ".pth", "damaged"),
        ("empty", ".safetensors", "damaged"),
        ("no tensors", ".pth", "no state dict"),
        ("a tensor", ".pth", "no state dict"),
        ("missing name", ".pth", "missing: layer1.0.conv1.weight"),
        ("unknown name", ".pth", "unknown to the model: layer9.weight"),
        ("bad normalisation", ".safetensors", "mean"),
        ("odd normalisation", ".safetensors", "normalisation"),
        ("grey", ".pth", r"conv1.weight \[16, 1, 3, 3\] for \[16, 3, 3, 3\]"),
        ("absent", ".pth", "no file"),
        ("absent", ".safetensors", "no file"),
        ("folder", ".pth", "no file"),
    ],
)
def test_bad_files_are_one_line_and_change_nothing(model, other, tmp_path, monkeypatch, kind, suffix, told):
    monkeypatch.chdir(tmp_path)
    path, before = tmp_path / f"bad{suffix}", weights_hash(other)
    write_bad(kind, model, path)
    with pytest.raises(UserError, match=told) as caught:
        load_weights(other, path)
    assert "\n" not in str(caught.value) and "bad" in str(caught.value)
    assert weights_hash(other) == before and not (tmp_path / "pwned").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_another_class_count_is_told_as_such(model, tmp_path, suffix):
    path = tmp_path / f"ten{suffix}"
    if suffix == ".pth":
        torch.save({"model": model.network.state_dict()}, path)
    else:
        save_weights(model, path)
    with pytest.raises(UserError, match="checkpoint has 10 classes, the model 100"):
        create_model("resnet8", 100, checkpoint=path)


def test_another_network_names_the_tensors(model, tmp_path):
    save_weights(model, tmp_path / "resnet8.safetensors")
    with pytest.raises(UserError, match=r"missing: layer1.1.conv1.weight.* and \d+ more"):
        create_model("resnet14", 10, checkpoint=tmp_path / "resnet8.safetensors")


def test_a_failed_write_leaves_the_old_file(model, other, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save_weights(model, path)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="the disk is full"):
        save_weights(other, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net.safetensors"]


def test_a_folder_that_cannot_be_is_told(model, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="can't write"):
        save_weights(model, tmp_path / "file" / "net.safetensors")
    save_weights(model, tmp_path / "new" / "net.safetensors")
    assert (tmp_path / "new" / "net.safetensors").is_file()


def test_own_metadata_keys_are_ours(model, tmp_path):
    with pytest.raises(ValueError, match="mean"):
        save_weights(model, tmp_path / "net.safetensors", {"mean": "[0]"})


def test_hash_sees_every_change(model):
    seen = {weights_hash(model)}

    def change(edit):
        with torch.no_grad():
            edit()
        seen.add(weights_hash(model))
        return len(seen)

    assert change(lambda: model.network.fc.bias[3].add_(1e-6)) == 2
    assert change(lambda: model.network.bn1.running_var[0].mul_(1.001)) == 3
    assert change(lambda: model.std.mul_(0.5)) == 4
    assert change(lambda: model.network.to(torch.bfloat16)) == 5
    assert change(lambda: model.network.to(memory_format=torch.channels_last)) == 5


def test_hash_tells_networks_of_equal_weights_apart():
    def make(**options):
        torch.manual_seed(0)
        return create_model("timm:resnet18", 10, **options)

    plain, other = make(act_layer=torch.nn.ReLU), make(act_layer=torch.nn.SiLU)
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), other.parameters(), strict=True))
    assert weights_hash(plain) != weights_hash(other)
    assert weights_hash(plain) == weights_hash(make(act_layer=torch.nn.ReLU).train())


def test_tied_weights_are_written(tmp_path):
    model = create_model("torchvision:resnet18", 10)
    model.network.layer1[1].conv1.weight = model.network.layer1[0].conv1.weight
    save_weights(model, tmp_path / "tied.safetensors")
    assert len(load_file(tmp_path / "tied.safetensors")) == len(model.network.state_dict())


@pytest.mark.parametrize(
    ("head", "other", "told"),
    [
        (dict(type="ArcFaceHead", scale=16), dict(type="ArcFaceHead"), r"trained with scale 16\.0, the model's has 64"),
        (dict(type="CosFaceHead"), dict(type="CosFaceHead", centre=True), "trained with centre False"),
        (dict(type="SparseMoEHead", top_k=1), dict(type="SparseMoEHead", top_k=3), "set top_k=1"),
    ],
)
def test_weights_of_a_head_of_other_settings_are_refused(tmp_path, head, other, told):
    def headed(options):
        model = create_model("resnet8", 10)
        model.set_head(lambda width: HEADS.build(options, "head", in_features=width, num_classes=10))
        return model.eval()

    model, path, images = headed(head), tmp_path / "net.safetensors", torch.rand(2, 3, 32, 32)
    save_weights(model, path)
    same_head = headed(head)
    load_weights(same_head, path)
    assert torch.equal(same_head(images), model(images))
    with pytest.raises(UserError, match=told):
        load_weights(headed(other), path)
    save_file(load_file(path), path)  # as files were written before: they do not tell, and load
    load_weights(headed(other), path)


def test_settings_that_cannot_be_read_are_a_damaged_file(tmp_path):
    model, path = create_model("resnet8", 10), tmp_path / "net.safetensors"
    model.set_head(lambda width: HEADS.build(dict(type="CosFaceHead"), "head", in_features=width, num_classes=10))
    save_weights(model, path)
    save_file(load_file(path), path, {"head": "[1]"})
    with pytest.raises(UserError, match="is damaged"):
        load_weights(model, path)


def test_a_head_that_grew_is_saved_with_its_classes(tmp_path):
    model, path = create_model("resnet8", 4), tmp_path / "net.safetensors"
    model.set_head(lambda width: HEADS.build(dict(type="CosFaceHead"), "head", in_features=width, num_classes=4))
    model.head.add_class(torch.rand(3, model.head.in_features))
    save_weights(model, path)
    assert model.num_classes == 5 and read_metadata(path)["num_classes"] == "5"
