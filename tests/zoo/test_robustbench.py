"""robustbench: names, against a stand-in with the package's own interface (model_dicts, load_model)."""

import enum
import sys
import types
from pathlib import Path

import pytest
import torch
from torch import nn

from kdzoo.errors import UserError
from kdzoo.models import create_model, load_weights


class Evil:
    def __reduce__(self):
        return (Path("ran").write_text, ("code",))


@pytest.fixture
def package(monkeypatch):
    """A robustbench of one model, whose loader opens ``weights.pt`` as the real one does."""
    Data = enum.Enum("Data", {"cifar_10": "cifar10"})
    Threat = enum.Enum("Threat", {"Linf": "Linf"})

    def network():
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 10))

    def load_model(name, model_dir, dataset, threat_model):
        assert (name, dataset, threat_model) == ("Tiny2024", "cifar10", "Linf")
        model = network()
        model.load_state_dict(torch.load("weights.pt", map_location="cpu", weights_only=False))
        return model

    root, zoo, utils = (types.ModuleType(f"robustbench{part}") for part in ("", ".model_zoo", ".utils"))
    zoo.model_dicts = {Data.cifar_10: {Threat.Linf: {"Tiny2024": {"model": network}}}}
    utils.load_model = load_model
    for module in (root, zoo, utils):
        monkeypatch.setitem(sys.modules, module.__name__, module)
    return network


NAME = "robustbench:cifar10/Linf/Tiny2024"


def test_a_model_with_its_weights(package):
    weights = package()
    torch.save(weights.state_dict(), "weights.pt")
    images = torch.rand(2, 3, 2, 2)
    model = create_model(NAME, 10, pretrained=True)
    torch.testing.assert_close(model(images), weights(images))
    Path("weights.pt").unlink()  # the second time it comes from the cache
    other = create_model(NAME, 10)
    load_weights(other, NAME)
    torch.testing.assert_close(other(images), weights(images))


def test_its_pickles_run_no_code(package):
    torch.save({"state_dict": Evil()}, "weights.pt")
    with pytest.raises(UserError, match="could not be had"):
        create_model(NAME, 10, pretrained=True)
    assert not Path("ran").exists()


def test_mistakes(package, monkeypatch):
    with pytest.raises(UserError, match="did you mean 'cifar10/Linf/Tiny2024'"):
        create_model("robustbench:cifar10/Linf/Tiny2023", 10)
    with pytest.raises(UserError, match="did you mean 'cifar10/Linf/Tiny2024'"):
        load_weights(create_model(NAME, 10), "robustbench:cifar10/Linf/Tiny2023")
    with pytest.raises(UserError, match="3 channels and 10 classes"):
        create_model(NAME, 100)
    with pytest.raises(UserError, match="no plain path"):
        load_weights(create_model(NAME, 10), "robustbench:cifar10/../../x")
    monkeypatch.setenv("KDZOO_OFFLINE", "1")
    with pytest.raises(UserError, match="offline, and robustbench:cifar10/Linf/Tiny2024 is not here"):
        load_weights(create_model(NAME, 10), NAME)


def test_without_the_package():
    with pytest.raises(UserError, match="robustbench can't be imported .*pip install"):
        create_model(NAME, 10)
