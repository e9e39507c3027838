"""CIFAR ResNets of depth 6n+2 (He et al., CVPR 2016), with the 1x1 shortcut of the distillation literature.

The "x4" networks are 2x wider in the stem and 4x in the stages (Tian et al., CRD, ICLR 2020).
Module names follow RepDistiller and mdistiller, so that published weights load.
"""

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, init_convs, linear_classifier

NARROW = (16, 16, 32, 64)
WIDE_X4 = (32, 64, 128, 256)


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut; ReLU after the sum."""

    def __init__(self, in_width: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_width, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = None
        if stride != 1 or in_width != width:
            shortcut = nn.Conv2d(in_width, width, 1, stride, bias=False)
            self.downsample = nn.Sequential(shortcut, nn.BatchNorm2d(width))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        out += shortcut
        return F.relu(out, inplace=True)


class ResNet(StagedNet):
    """ResNet of depth 6n+2 in three stages.

    Args:
        depth: 8, 14, 20, ...
        widths: of the stem and the three stages; at least 8 each, since oneDNN writes past its memory in the gradient
            of a strided 1x1 convolution of fewer channels (oneDNN issue 6035).
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    def __init__(self, depth: int, widths: tuple[int, ...], num_classes: int = 100, in_chans: int = 3):
        if min(widths) < 8:
            raise ValueError(f"widths must be at least 8 each, got {tuple(widths)}")
        super().__init__(num_classes, num_features=widths[-1])
        if depth < 8 or (depth - 2) % 6:
            raise ValueError(f"depth is expected to be 6n+2 (8, 14, 20, ...) but got {depth}")
        self.conv1 = nn.Conv2d(in_chans, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        n = (depth - 2) // 6
        self.layer1 = stage(widths[0], widths[1], n, stride=1)
        self.layer2 = stage(widths[1], widths[2], n, stride=2)
        self.layer3 = stage(widths[2], widths[3], n, stride=2)
        self.fc = linear_classifier(self.num_features, num_classes)
        init_convs(self)

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def stages(self):
        return [self.stem, self.layer1, self.layer2, self.layer3]


def stage(in_width: int, width: int, depth: int, stride: int) -> nn.Sequential:
    blocks = [BasicBlock(in_width, width, stride)]
    blocks += [BasicBlock(width, width, 1) for _ in range(depth - 1)]
    return nn.Sequential(*blocks)


def _resnet(name: str, pretrained: bool, depth: int, widths: tuple[int, ...] = NARROW, **kwargs) -> ResNet:
    return build_model_with_cfg(ResNet, name, pretrained, depth=depth, widths=widths, **kwargs)


default_cfgs = generate_default_cfgs({
    name: cifar_cfg()
    for name in (
        "resnet8", "resnet14", "resnet20", "resnet32", "resnet44", "resnet56", "resnet110", "resnet8x4", "resnet32x4",
    )
})


@register_model
def resnet8(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-8, widths 16, 32, 64."""
    return _resnet("resnet8", pretrained, 8, **kwargs)


@register_model
def resnet14(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-14, widths 16, 32, 64."""
    return _resnet("resnet14", pretrained, 14, **kwargs)


@register_model
def resnet20(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-20, widths 16, 32, 64."""
    return _resnet("resnet20", pretrained, 20, **kwargs)


@register_model
def resnet32(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-32, widths 16, 32, 64."""
    return _resnet("resnet32", pretrained, 32, **kwargs)


@register_model
def resnet44(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-44, widths 16, 32, 64."""
    return _resnet("resnet44", pretrained, 44, **kwargs)


@register_model
def resnet56(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-56, widths 16, 32, 64."""
    return _resnet("resnet56", pretrained, 56, **kwargs)


@register_model
def resnet110(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-110, widths 16, 32, 64."""
    return _resnet("resnet110", pretrained, 110, **kwargs)


@register_model
def resnet8x4(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-8 with stem 32 and widths 64, 128, 256."""
    return _resnet("resnet8x4", pretrained, 8, WIDE_X4, **kwargs)


@register_model
def resnet32x4(pretrained: bool = False, **kwargs) -> ResNet:
    """ResNet-32 with stem 32 and widths 64, 128, 256."""
    return _resnet("resnet32x4", pretrained, 32, WIDE_X4, **kwargs)
