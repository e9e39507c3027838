"""Folding batch norm: the same logits up to rounding, the given model untouched."""

import pytest
import torch
from torch import nn

from kdzoo.models import create_model
from kdzoo.models.fold import FOLD_TOLERANCE, Folded, folded_or_none
from kdzoo.robust.certify import SmoothedClassifier


def randomised(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 2.0)
            nn.init.normal_(module.bias)
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    return model.eval()


@pytest.mark.parametrize("name", ["resnet8", "wrn_16_1"])
def test_logits_are_the_same(name):
    model = randomised(create_model(name, num_classes=5))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    folded, images = Folded(model), torch.rand(4, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(folded(images), model(images), rtol=1e-3, atol=1e-3 * model(images).abs().max())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    norms = [sum(isinstance(m, nn.BatchNorm2d) for m in net.modules()) for net in (folded, model)]
    assert norms[0] < norms[1] and (name == "wrn_16_1" or norms[0] == 0)


def test_it_certifies_like_the_model():
    model = randomised(create_model("resnet8", num_classes=5, widths=(8, 8, 8, 8)))
    x = torch.rand(3, 32, 32)
    votes = [SmoothedClassifier(net, 5, 0.5).votes(x, 0, 0, 200) for net in (model, Folded(model))]
    assert int((votes[0] - votes[1]).abs().sum()) <= 4


def test_what_cannot_be_traced_is_told():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(ValueError, match="can't be traced"):
        Folded(Branch().eval())


def tf32_convolutions(monkeypatch):
    """Convolutions as an Ampere GPU computes them by default: float32 inputs keep 10 bits of their mantissa."""
    real = nn.functional.conv2d

    def short(x):
        return ((x.view(torch.int32) + 0x1000) & ~0x1FFF).view(torch.float32) if x.dtype == torch.float32 else x

    monkeypatch.setattr(nn.functional, "conv2d", lambda x, weight, *rest: real(short(x), short(weight), *rest))


def test_the_rounding_of_tf32_does_not_decide_whether_a_network_is_folded(monkeypatch):
    torch.manual_seed(0)
    model, images = randomised(create_model("resnet110", num_classes=5)), torch.rand(4, 3, 16, 16)
    tf32_convolutions(monkeypatch)
    with torch.no_grad():
        wanted = model(images)
        apart = (Folded(model)(images) - wanted).abs().max() / wanted.abs().max()
    assert apart > FOLD_TOLERANCE, "no test: TF32's noise is below the tolerance"
    assert folded_or_none(model, images) is not None


def test_another_function_is_not_folded_and_a_network_that_casts_is():
    class Casts(nn.Module):
        def __init__(self):
            super().__init__()
            self.convolution, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.norm(self.convolution(x.float()))
            return x.mean((2, 3))

    torch.manual_seed(0)
    model, images = randomised(Casts()), torch.rand(4, 3, 8, 8)
    assert folded_or_none(model, images) is not None
    model.convolution.weight.data.fill_(float("nan"))
    assert folded_or_none(model, images) is None
