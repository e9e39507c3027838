"""Pre-activation ResNet-18 (He et al., Identity Mappings, ECCV 2016) for 32-pixel images.

The usual network of adversarial training on CIFAR, with the paper's batch norm and ReLU before the
pooling (Rice et al., ICML 2020, have them too; some ports leave them out). The stage maps are the
residual stream, before the next batch norm and ReLU.
"""

from functools import partial
from typing import Literal

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, init_convs, linear_classifier

ACTIVATIONS = {"relu": partial(F.relu, inplace=True), "softplus": F.softplus}


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice; where the shape changes, the shortcut is a 1x1 convolution of the activated input."""

    def __init__(self, in_width: int, width: int, stride: int, activation: str = "relu"):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.activation = ACTIVATIONS[activation]
        self.shortcut = None
        if stride != 1 or in_width != width:
            self.shortcut = nn.Sequential(nn.Conv2d(in_width, width, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = self.activation(self.bn1(x))
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = self.activation(self.bn2(self.conv1(out)))
        return self.conv2(out) + shortcut


class PreActResNet(StagedNet):
    """Four stages of pre-activation blocks, widths 64, 128, 256, 512.

    Args:
        depths: blocks of the four stages.
        num_classes: classes of the classifier.
        in_chans: channels of the images.
        activation: ``"relu"``, or ``"softplus"`` as in the networks of RAMP and E-AT.
    """

    classifier_name = "linear"

    def __init__(
        self,
        depths: tuple[int, ...] = (2, 2, 2, 2),
        num_classes: int = 100,
        in_chans: int = 3,
        activation: Literal["relu", "softplus"] = "relu",
    ):
        super().__init__(num_classes, num_features=512)
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation must be one of {', '.join(ACTIVATIONS)}, got {activation!r}")
        self.activation = activation
        self.conv1 = nn.Conv2d(in_chans, 64, 3, 1, 1, bias=False)
        in_width = 64
        for k, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), start=1):
            blocks = [PreActBlock(in_width, width, 1 if k == 1 else 2, activation)]
            blocks += [PreActBlock(width, width, 1, activation) for _ in range(depth - 1)]
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
            in_width = width
        self.bn = nn.BatchNorm2d(self.num_features)
        self.linear = linear_classifier(self.num_features, num_classes)
        init_convs(self)

    def stages(self):
        return [self.conv1, self.layer1, self.layer2, self.layer3, self.layer4]

    def final(self, x: Tensor) -> Tensor:
        return ACTIVATIONS[self.activation](self.bn(x))


default_cfgs = generate_default_cfgs({"preact_resnet18": cifar_cfg(classifier="linear")})


@register_model
def preact_resnet18(pretrained: bool = False, **kwargs) -> PreActResNet:
    """Pre-activation ResNet-18."""
    return build_model_with_cfg(PreActResNet, "preact_resnet18", pretrained, **kwargs)
