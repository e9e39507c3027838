"""Cached features: what the network gives, once, and after a stop where it stopped."""

import json

import numpy as np
import pytest
import torch

from kdzoo.engine.features import extract_features, extract_set, plain_loader
from kdzoo.errors import UserError
from kdzoo.models import create_model
from kdzoo.registry import DATASETS

DATA = dict(type="Digits", train_limit=50, test_limit=20)


@pytest.fixture
def model():
    return create_model("resnet8", 10, in_chans=1, widths=(8, 8, 8, 8)).eval()


def counted(model, monkeypatch, stop_after=None):
    calls, genuine = [0], type(model).outputs

    def outputs(self, images, features=False):
        calls[0] += 1
        if stop_after is not None and calls[0] > stop_after:
            raise KeyboardInterrupt
        return genuine(self, images, features)

    monkeypatch.setattr(type(model), "outputs", outputs)
    return calls


def test_features_are_the_classifiers_input(model, tmp_path):
    parts, classes = extract_set(model, DATA, tmp_path, image_size=16, batch_size=8)
    part = DATASETS.build(DATA).part("train")
    images = torch.from_numpy(part.images).permute(0, 3, 1, 2).float() / 255
    images = torch.nn.functional.interpolate(images, size=16, mode="bicubic", antialias=True).clamp(0, 1)
    with torch.no_grad():
        expected = model.outputs(images).pooled
    np.testing.assert_allclose(parts["train"].features, expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(parts["train"].labels, part.labels) and len(parts["test"].labels) == 20 and len(classes) == 10


def test_a_stopped_extraction_goes_on(model, tmp_path, monkeypatch):
    loader = plain_loader(DATASETS.build(DATA), "train", 8, torch.device("cpu"))
    whole = extract_features(model, loader, tmp_path / "whole", "train")
    with monkeypatch.context() as patch:
        counted(model, patch, stop_after=4)  # one call reads the width
        with pytest.raises(KeyboardInterrupt):
            extract_features(model, loader, tmp_path / "cut", "train")
    assert json.loads((tmp_path / "cut" / "train.json").read_text())["done"] == 24
    calls = counted(model, monkeypatch)
    cut = extract_features(model, loader, tmp_path / "cut", "train")
    assert calls[0] == 1 + 4 and np.array_equal(cut.features, whole.features)
    extract_features(model, loader, tmp_path / "cut", "train")
    assert calls[0] == 1 + 4 + 1  # all rows are there


def test_other_weights_or_sizes_reuse_nothing(model, tmp_path):
    loader = plain_loader(DATASETS.build(DATA), "test", 8, torch.device("cpu"))
    first = np.array(extract_features(model, loader, tmp_path, "test").features)
    larger = np.array(extract_features(model, loader, tmp_path, "test", image_size=12).features)
    with torch.no_grad():
        model.network.bn1.bias.add_(1)
    other = extract_features(model, loader, tmp_path, "test", image_size=12).features
    assert not np.allclose(first, larger) and not np.allclose(larger, other)


def test_a_damaged_record_is_told(model, tmp_path):
    (tmp_path / "test.json").write_text("{")
    loader = plain_loader(DATASETS.build(DATA), "test", 8, torch.device("cpu"))
    with pytest.raises(UserError, match="remove it to extract again"):
        extract_features(model, loader, tmp_path, "test")


@pytest.mark.parametrize("other", [10, 16])
def test_a_stopped_extraction_at_another_batch_size_begins_anew(model, tmp_path, monkeypatch, other):
    source, place = DATASETS.build(DATA), torch.device("cpu")
    whole = extract_features(model, plain_loader(source, "train", 8, place), tmp_path / "whole", "train")
    with monkeypatch.context() as patch:
        counted(model, patch, stop_after=6)
        with pytest.raises(KeyboardInterrupt):
            extract_features(model, plain_loader(source, "train", 8, place), tmp_path / "cut", "train")
    cut = extract_features(model, plain_loader(source, "train", other, place), tmp_path / "cut", "train")
    np.testing.assert_allclose(cut.features, whole.features, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(cut.labels, whole.labels)
    # A complete one serves any batch size.
    calls = counted(model, monkeypatch)
    extract_features(model, plain_loader(source, "train", 25, place), tmp_path / "cut", "train")
    assert calls[0] == 1


def test_lost_features_are_told(model, tmp_path):
    loader = plain_loader(DATASETS.build(DATA), "test", 8, torch.device("cpu"))
    extract_features(model, loader, tmp_path, "test")
    (tmp_path / "test_features.npy").unlink()
    with pytest.raises(UserError, match="remove it to extract again"):
        extract_features(model, loader, tmp_path, "test")
    (tmp_path / "test.json").write_text("[]")
    with pytest.raises(UserError, match="remove it to extract again"):
        extract_features(model, loader, tmp_path, "test")
