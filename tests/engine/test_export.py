"""Exported files answer as the model does, or are not written."""

from pathlib import Path

import pytest
import torch

from kdzoo.engine import export
from kdzoo.engine.export import export_model
from kdzoo.errors import UserError
from kdzoo.models import create_model


@pytest.fixture
def model():
    return create_model("resnet8", 10, in_chans=1, mean=[0.3], std=[0.5], widths=(8, 8, 8, 8))


@pytest.mark.filterwarnings("ignore")
def test_torch_export_takes_any_batch(model):
    images = torch.rand(5, 1, 8, 8)
    made = export_model(model, images, Path("net.pt2"), "pt2")
    assert made.difference < 1e-5
    again = torch.export.load("net.pt2").module()
    for batch in (2, 3, 5):
        torch.testing.assert_close(again(images[:batch]), model.eval()(images[:batch]))


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_onnx_answers_as_the_model(model):
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    images = torch.rand(5, 1, 8, 8)
    assert export_model(model, images, Path("net.onnx"), "onnx").difference < 1e-4
    session = onnxruntime.InferenceSession("net.onnx")
    for batch in (1, 4):
        (logits,) = session.run(None, {"images": images[:batch].numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), model.eval()(images[:batch]), atol=1e-4, rtol=1e-3)


@pytest.mark.filterwarnings("ignore")
def test_a_file_that_answers_differently_is_not_written(model, monkeypatch):
    monkeypatch.setattr(export, "_answer_onnx", lambda body, images: model(images) + 0.01)
    monkeypatch.setattr(export, "_onnx", lambda program, images: b"")
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(UserError, match="the onnx file answers differently, by up to 0.01; it was not written"):
        export_model(model, torch.rand(3, 1, 8, 8), Path("net.onnx"), "onnx")
    assert not Path("net.onnx").exists()


def test_missing_packages_and_networks_that_cannot_be_traced(model, monkeypatch):
    class Branches(torch.nn.Module):
        def forward(self, images):
            return images.sum((1, 2, 3))[:, None] if images.sum() > 0 else images.flatten(1)

    with pytest.raises(UserError, match="can't be exported to pt2") as refused:
        export_model(Branches(), torch.rand(3, 1, 8, 8), Path("net.pt2"), "pt2")
    assert "\n" not in str(refused.value)
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnx needs onnx, onnxscript, onnxruntime; run pip install kdzoo\[export\]"):
        export_model(model, torch.rand(3, 1, 8, 8), Path("net.onnx"), "onnx")
