"""Folding batch norm: the same logits up to rounding, the given model untouched."""

import pytest
import torch
from torch import nn

from kdzoo.models import create_model
from kdzoo.models.fold import Folded
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
