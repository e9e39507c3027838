"""One face for every network: the same logits, and the true input of the classifier."""

import copy

import pytest
import torch
from torch import nn

import kdzoo
from kdzoo.models import Classifier, create_model
from kdzoo.models.classifier import classifier_of

NETWORKS = {
    "resnet8": dict(name="resnet8"),
    "wrn_16_1": dict(name="wrn_16_1"),
    "mobilenetv2_half": dict(name="mobilenetv2_half"),
    "timm resnet18": dict(name="resnet18"),
    # a batch norm between what timm calls pre-logits and the classifier
    "timm norm before the classifier": dict(name="efficientvit_m0", img_size=32),
    "timm vit": dict(name="vit_tiny_patch16_224", img_size=32, patch_size=8, depth=2),
    "torchvision resnet18": dict(name="torchvision:resnet18"),
    "torchvision mobilenet": dict(name="torchvision:mobilenet_v3_small"),
}


@pytest.mark.parametrize("label", NETWORKS)
def test_outputs_agree_with_forward(label):
    torch.manual_seed(0)
    model = create_model(num_classes=10, **NETWORKS[label]).eval()
    size = NETWORKS[label].get("img_size", 32)
    images = torch.rand(2, 3, size, size)
    with torch.no_grad():
        for buffer in model.network.buffers():
            if buffer.is_floating_point():
                buffer.add_(0.1)  # batch norms that do something
        logits, plain, full = model(images), model.outputs(images), model.outputs(images, features=True)
    assert torch.equal(plain.logits, logits) and torch.equal(full.logits, logits)
    assert plain.features == [] and len(full.features) >= 2
    assert torch.equal(plain.pooled, full.pooled)
    torch.testing.assert_close(classifier_of(model.network)(plain.pooled), logits)


def test_torchvision_maps_are_its_stages():
    model = create_model("torchvision:resnet18", 10).eval()
    images = torch.rand(2, 3, 64, 64)
    maps = model.outputs(images, features=True).features
    assert [tuple(m.shape[1:]) for m in maps] == [(64, 32, 32), (64, 16, 16), (128, 8, 8), (256, 4, 4), (512, 2, 2)]
    torch.testing.assert_close(maps[-1].mean((2, 3)), model.outputs(images).pooled)


def test_a_network_without_a_linear_layer():
    model = create_model("torchvision:squeezenet1_1", 10).eval()
    output = model.outputs(torch.rand(2, 3, 64, 64), features=True)
    assert output.logits.shape == (2, 10) and output.pooled.shape == (2, 512)
    torch.testing.assert_close(output.features[-1].mean((2, 3)), output.pooled)


def test_heads_that_are_no_single_layer():
    model = create_model("deit_tiny_distilled_patch16_224", 10, img_size=32, patch_size=8, depth=1).eval()
    images = torch.rand(2, 3, 32, 32)
    output = model.outputs(images)
    assert torch.equal(output.logits, model(images)) and output.pooled.shape == (2, 192)


def test_dropout_before_the_classifier_is_in_pooled():
    torch.manual_seed(0)
    model = create_model("agarap_cnn", 10, in_chans=1).train()
    output = model.outputs(torch.rand(4, 1, 28, 28))
    torch.testing.assert_close(model.network.fc(output.pooled), output.logits)


def test_normalisation_belongs_to_the_model():
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 4 * 4, 3))
    model = Classifier(network, "linear", 3, 2, mean=[0.5, 0.25], std=[0.5, 2.0])
    images = torch.rand(5, 2, 4, 4)
    normalised = torch.stack([(images[:, 0] - 0.5) / 0.5, (images[:, 1] - 0.25) / 2.0], dim=1)
    torch.testing.assert_close(model(images), network(normalised))
    assert {"mean", "std"} <= set(model.state_dict())


def test_recorded_statistics():
    assert create_model("resnet8", 10).mean.tolist() == pytest.approx([0.5071, 0.4867, 0.4408])
    assert create_model("resnet18", 10).std.tolist() == pytest.approx([0.229, 0.224, 0.225])
    grey = create_model("resnet8", 10, in_chans=1)
    assert grey.mean.tolist() == pytest.approx([(0.5071 + 0.4867 + 0.4408) / 3])
    assert create_model("agarap_cnn", 10, in_chans=3).std.tolist() == [1.0, 1.0, 1.0]
    assert create_model("resnet8", 10, in_chans=1, mean=[0.1], std=[0.3]).std.tolist() == pytest.approx([0.3])


@pytest.mark.parametrize(
    ("images", "hint"),
    [
        (torch.rand(2, 1, 32, 32), "in_chans"),
        (torch.rand(3, 32, 32), "in_chans"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.uint8), "255"),
    ],
)
def test_wrong_images_are_told(images, hint):
    with pytest.raises(ValueError, match=hint):
        create_model("resnet8", 10)(images)


@pytest.mark.parametrize("name", ["resnet8", "torchvision:resnet18"])
def test_nothing_of_a_pass_is_kept(name):
    model = create_model(name, 10)
    model.outputs(torch.rand(2, 3, 32, 32), features=True)
    with pytest.raises(ValueError):
        model.outputs(torch.rand(2, 1, 32, 32))
    assert model._taps.maps == [] and model._taps.pooled is None and not model._taps.open


def test_a_copy_reads_itself():
    model = create_model("torchvision:resnet18", 10).eval()
    images = torch.rand(2, 3, 32, 32)
    before = model.outputs(images)
    twin = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1)
    after = twin.outputs(images)
    assert torch.equal(after.pooled, before.pooled) and torch.equal(after.logits, before.logits)


def test_bf16_autocast_trains():
    model = create_model("resnet8", 10).train()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = model.outputs(torch.rand(4, 3, 16, 16), features=True)
    assert output.logits.dtype == torch.bfloat16
    output.logits.float().logsumexp(1).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


class AllOutputs(nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, images):
        output = self.model.outputs(images, features=True)
        return [output.logits, output.pooled, *output.features]


COMPILED = {
    "resnet8": {}, "gru_rows": dict(img_size=8), "torchvision:resnet18": {}, "wrn_16_1": {}, "vgg8": {},
    "mobilenetv2_half": {}, "shufflenetv1": {}, "shufflenetv2": {}, "resnet50_cifar": {}, "preact_resnet18": {},
    "agarap_cnn": dict(img_size=8), "vit_tiny_patch16_224": dict(img_size=8, patch_size=4, depth=1),
}
QUICK = ("resnet8",)


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in COMPILED])
def test_compiles_without_graph_breaks(name):
    torch.manual_seed(0)
    torch._dynamo.reset()
    model = AllOutputs(create_model(name, 10, **COMPILED[name])).eval()
    # aot_eager traces forward and backward as inductor does, without its minutes of code generation.
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    images = torch.rand(2, 3, 8, 8)
    for ours, reference in zip(compiled(images), model(images), strict=True):
        torch.testing.assert_close(ours, reference)
    model.train()
    compiled(images)[0].sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_outputs_of_a_bare_module():
    network = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))
    model = Classifier(network, "tiny", 2, 3, mean=[0.0] * 3, std=[1.0] * 3)
    output = model.outputs(torch.rand(2, 3, 9, 9), features=True)
    assert [tuple(m.shape) for m in output.features] == [(2, 4, 4, 4)] and (output.features[0] >= 0).all()
    torch.testing.assert_close(output.features[0].mean((2, 3)), output.pooled)
    with pytest.raises(ValueError, match="classifier"):
        Classifier(nn.Flatten(), "none", 2, 3, mean=[0.0] * 3, std=[1.0] * 3)


def test_the_package_offers_the_model():
    assert isinstance(kdzoo.create_model("resnet8", num_classes=4), Classifier)
