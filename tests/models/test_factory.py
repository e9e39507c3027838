"""Names, sources and options of create_model, and what a mistake is answered with."""

import pytest
import torch
from torch import nn

from kdzoo.errors import ConfigError, UserError
from kdzoo.models import create_model
from kdzoo.models.factory import find_source
from kdzoo.registry import MODELS


@pytest.mark.parametrize(
    ("name", "source", "short"),
    [
        ("resnet8x4", "timm", "resnet8x4"),
        ("vgg13", "timm", "vgg13"),
        ("resnet50.a1_in1k", "timm", "resnet50.a1_in1k"),
        ("timm:resnet20", "timm", "resnet20"),
        ("hf-hub:timm/resnet18.a1_in1k", "timm", "hf-hub:timm/resnet18.a1_in1k"),
        ("torchvision:resnet18", "torchvision", "resnet18"),
        ("swin_t", "torchvision", "swin_t"),
    ],
)
def test_where_a_name_comes_from(name, source, short):
    assert find_source(name) == (MODELS.get(source), short)


def test_plain_names_are_timms():
    assert type(create_model("vgg13", 2).network).__module__ == "timm.models.vgg"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("resnet8x5", "resnet8x4"),
        ("mobilenetv2_haff", "mobilenetv2_half"),
        ("mnasnet0_4", "mnasnet0_5"),
        ("torchvision:resnet19", "resnet18"),
        ("timm:resnet21", "resnet20"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(name, near):
    with pytest.raises(ConfigError, match=near):
        create_model(name, 10)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (dict(name="resnet8", depht=20), "depht"),
        (dict(name="torchvision:resnet18", depht=20), "depht"),
        (dict(name="torchvision:maxvit_t", input_size=(64, 64)), "partition"),
        (dict(name="resnet18.no_such_tag"), "no_such_tag"),
        (dict(name="resnet8", num_classes=0), "num_classes"),
        (dict(name="resnet8", num_classes="ten"), "num_classes"),
        (dict(name="resnet8", in_chans=0), "in_chans"),
        (dict(name="resnet8", mean=[0.5]), "mean"),
        (dict(name="resnet8", std=[1.0, 1.0, 0.0]), "std"),
        (dict(name="resnet8", pretrained=True, checkpoint="x.pth"), "both"),
    ],
)
def test_a_wrong_option_is_one_line(options, told):
    with pytest.raises(ConfigError, match=told) as caught:
        create_model(**{"num_classes": 10, **options})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["resnet18", "torchvision:resnet18", "resnet20"])
def test_weights_out_of_reach_are_one_line(name, monkeypatch, tmp_path):
    def fail(*args, **kwargs):
        raise OSError("no network\nwith a long tail")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", fail)
    monkeypatch.setattr("torch.hub.download_url_to_file", fail)
    monkeypatch.setattr("torch.hub.get_dir", lambda: str(tmp_path))
    with pytest.raises(UserError, match="pretrained=False") as caught:
        create_model(name, 10, pretrained=True)
    assert "\n" not in str(caught.value)


def test_a_grey_torchvision_network_keeps_its_first_weights():
    torch.manual_seed(0)
    colour = create_model("torchvision:resnet18", 10, mean=[0.0] * 3, std=[1.0] * 3).eval()
    torch.manual_seed(0)
    grey = create_model("torchvision:resnet18", 10, in_chans=1, mean=[0.0], std=[1.0]).eval()
    images = torch.rand(2, 1, 32, 32)
    torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)), rtol=1e-4, atol=1e-5)


def test_pretrained_torchvision_weights_take_another_class_count(monkeypatch):
    from torchvision import models

    def without_download(name, weights, num_classes):
        assert num_classes == 1000
        return real(name, weights=None, num_classes=num_classes)

    real = models.get_model
    monkeypatch.setattr(models, "get_model", without_download)
    model = create_model("torchvision:resnet18", 7, pretrained=True).eval()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert isinstance(model.network.fc, nn.Linear) and model.network.layer4[1].bn2.num_features == 512


def test_auxiliary_heads_are_dropped():
    model = create_model("torchvision:googlenet", 10, init_weights=False).train()
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 10)
    assert not any("aux" in name for name, _ in model.named_parameters())
