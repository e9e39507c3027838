"""Wide residual networks WRN-d-k (Zagoruyko and Komodakis, BMVC 2016), pre-activation.

The stage maps are the residual stream as RepDistiller hands it to feature losses: block outputs
before the next batch norm and ReLU. The last map of ``forward_features`` is after both.
"""

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, init_convs, linear_classifier


class BasicBlock(nn.Module):
    """BN-ReLU-conv twice; where the width changes, the shortcut is a 1x1 convolution of the activated input."""

    def __init__(self, in_width: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.convShortcut = None if in_width == width else nn.Conv2d(in_width, width, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.convShortcut is None else self.convShortcut(out)
        out = F.relu(self.bn2(self.conv1(out)), inplace=True)
        return self.conv2(out) + shortcut


class Group(nn.Module):
    """n blocks; a module of its own because the published names say ``block1.layer.0``."""

    def __init__(self, in_width: int, width: int, depth: int, stride: int):
        super().__init__()
        blocks = [BasicBlock(in_width, width, stride)]
        blocks += [BasicBlock(width, width, 1) for _ in range(depth - 1)]
        self.layer = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)


class WideResNet(StagedNet):
    """WRN-depth-widen, depth 6n+4, no dropout.

    Args:
        depth: 16, 22, 28, 40, ...
        widen: factor on the widths 16, 32, 64 of the three groups.
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    def __init__(self, depth: int, widen: int, num_classes: int = 100, in_chans: int = 3):
        super().__init__(num_classes, num_features=64 * widen)
        if depth < 10 or (depth - 4) % 6:
            raise ValueError(f"depth is expected to be 6n+4 (16, 22, 28, ...) but got {depth}")
        n = (depth - 4) // 6
        self.conv1 = nn.Conv2d(in_chans, 16, 3, 1, 1, bias=False)
        self.block1 = Group(16, 16 * widen, n, stride=1)
        self.block2 = Group(16 * widen, 32 * widen, n, stride=2)
        self.block3 = Group(32 * widen, 64 * widen, n, stride=2)
        self.bn1 = nn.BatchNorm2d(64 * widen)
        self.fc = linear_classifier(self.num_features, num_classes)
        init_convs(self)
        if num_classes:
            nn.init.zeros_(self.fc.bias)

    def stages(self):
        return [self.conv1, self.block1, self.block2, self.block3]

    def final(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(x), inplace=True)


def _wrn(name: str, pretrained: bool, depth: int, widen: int, **kwargs) -> WideResNet:
    return build_model_with_cfg(WideResNet, name, pretrained, depth=depth, widen=widen, **kwargs)


default_cfgs = generate_default_cfgs({
    name: cifar_cfg() for name in ("wrn_16_1", "wrn_16_2", "wrn_28_10", "wrn_40_1", "wrn_40_2")
})


@register_model
def wrn_16_1(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-16-1."""
    return _wrn("wrn_16_1", pretrained, 16, 1, **kwargs)


@register_model
def wrn_16_2(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-16-2."""
    return _wrn("wrn_16_2", pretrained, 16, 2, **kwargs)


@register_model
def wrn_28_10(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-28-10, the usual wide network of adversarial training."""
    return _wrn("wrn_28_10", pretrained, 28, 10, **kwargs)


@register_model
def wrn_40_1(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-40-1."""
    return _wrn("wrn_40_1", pretrained, 40, 1, **kwargs)


@register_model
def wrn_40_2(pretrained: bool = False, **kwargs) -> WideResNet:
    """WRN-40-2."""
    return _wrn("wrn_40_2", pretrained, 40, 2, **kwargs)
