"""ShuffleNetV1 (Zhang et al., CVPR 2018) and V2 (Ma et al., ECCV 2018) as the CIFAR distillation tables have them.

Both start with a 1x1 stem of 24 channels and no pooling, and halve the map in each of three stages.
Initialisation is torch's own, as in the code behind the tables.
"""

import torch
import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, linear_classifier

STEM = 24


def conv1x1(in_width: int, width: int, groups: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_width, width, 1, groups=groups, bias=False)


def depthwise(width: int, stride: int) -> nn.Conv2d:
    return nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)


class GroupedBottleneck(nn.Module):
    """V1: grouped 1x1, shuffle, depthwise 3x3, grouped 1x1; with stride 2 the pooled input is concatenated.

    Args:
        in_width: channels of the input.
        width: channels of the output; with stride 2, ``in_width`` of them are the pooled input.
        stride: 1 or 2.
        groups: of the 1x1 convolutions; the first one after the stem is not grouped.
    """

    def __init__(self, in_width: int, width: int, stride: int, groups: int):
        super().__init__()
        if stride == 2:
            width -= in_width
        hidden, first_groups = width // 4, 1 if in_width == STEM else groups
        self.conv1 = conv1x1(in_width, hidden, first_groups)
        self.bn1 = nn.BatchNorm2d(hidden)
        self.conv2 = depthwise(hidden, stride)
        self.bn2 = nn.BatchNorm2d(hidden)
        self.conv3 = conv1x1(hidden, width, groups)
        self.bn3 = nn.BatchNorm2d(width)
        self.stride, self.first_groups = stride, first_groups

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        if self.first_groups > 1:
            out = F.channel_shuffle(out, self.first_groups)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        if self.stride == 2:
            out = torch.cat([out, F.avg_pool2d(x, 3, 2, 1)], dim=1)
        else:
            out += x
        return F.relu(out, inplace=True)


class ShuffleNetV1(StagedNet):
    """ShuffleNetV1 with three groups.

    Args:
        widths: of the three stages.
        depths: blocks of the three stages.
        groups: of the 1x1 convolutions.
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    classifier_name = "linear"

    def __init__(
        self, widths: tuple[int, ...] = (240, 480, 960), depths: tuple[int, ...] = (4, 8, 4), groups: int = 3,
        num_classes: int = 100, in_chans: int = 3,
    ):
        super().__init__(num_classes, num_features=widths[-1])
        self.conv1 = conv1x1(in_chans, STEM)
        self.bn1 = nn.BatchNorm2d(STEM)
        in_width = STEM
        for k, (width, depth) in enumerate(zip(widths, depths, strict=True), start=1):
            blocks = [GroupedBottleneck(in_width, width, 2, groups)]
            blocks += [GroupedBottleneck(width, width, 1, groups) for _ in range(depth - 1)]
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
            in_width = width
        self.linear = linear_classifier(self.num_features, num_classes)

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def stages(self):
        return [self.stem, self.layer1, self.layer2, self.layer3]


class SplitBlock(nn.Module):
    """V2: half of the channels pass by, the other half goes through 1x1, depthwise 3x3, 1x1; then shuffle."""

    def __init__(self, width: int):
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = conv1x1(half, half), nn.BatchNorm2d(half)
        self.conv2, self.bn2 = depthwise(half, 1), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv1x1(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        passed, out = x.chunk(2, dim=1)
        out = F.relu(self.bn1(self.conv1(out)), inplace=True)
        out = self.bn2(self.conv2(out))
        out = F.relu(self.bn3(self.conv3(out)), inplace=True)
        return F.channel_shuffle(torch.cat([passed, out], dim=1), 2)


class DownBlock(nn.Module):
    """V2, stride 2: both branches see all channels and give half of the output each; then shuffle."""

    def __init__(self, in_width: int, width: int):
        super().__init__()
        half = width // 2
        self.conv1, self.bn1 = depthwise(in_width, 2), nn.BatchNorm2d(in_width)
        self.conv2, self.bn2 = conv1x1(in_width, half), nn.BatchNorm2d(half)
        self.conv3, self.bn3 = conv1x1(in_width, half), nn.BatchNorm2d(half)
        self.conv4, self.bn4 = depthwise(half, 2), nn.BatchNorm2d(half)
        self.conv5, self.bn5 = conv1x1(half, half), nn.BatchNorm2d(half)

    def forward(self, x: Tensor) -> Tensor:
        left = F.relu(self.bn2(self.conv2(self.bn1(self.conv1(x)))), inplace=True)
        right = F.relu(self.bn3(self.conv3(x)), inplace=True)
        right = F.relu(self.bn5(self.conv5(self.bn4(self.conv4(right)))), inplace=True)
        return F.channel_shuffle(torch.cat([left, right], dim=1), 2)


class ShuffleNetV2(StagedNet):
    """ShuffleNetV2.

    Args:
        widths: of the three stages and of the last 1x1 convolution.
        depths: blocks of the three stages behind the one that halves the map.
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    classifier_name = "linear"

    def __init__(
        self, widths: tuple[int, ...] = (116, 232, 464, 1024), depths: tuple[int, ...] = (3, 7, 3),
        num_classes: int = 100, in_chans: int = 3,
    ):
        super().__init__(num_classes, num_features=widths[-1])
        self.conv1, self.bn1 = conv1x1(in_chans, STEM), nn.BatchNorm2d(STEM)
        in_width = STEM
        for k, (width, depth) in enumerate(zip(widths[:-1], depths, strict=True), start=1):
            blocks = [DownBlock(in_width, width)] + [SplitBlock(width) for _ in range(depth)]
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
            in_width = width
        self.conv2, self.bn2 = conv1x1(in_width, widths[-1]), nn.BatchNorm2d(widths[-1])
        self.linear = linear_classifier(self.num_features, num_classes)

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def stages(self):
        return [self.stem, self.layer1, self.layer2, self.layer3]

    def final(self, x: Tensor) -> Tensor:
        return F.relu(self.bn2(self.conv2(x)), inplace=True)


default_cfgs = generate_default_cfgs({
    name: cifar_cfg(classifier="linear") for name in ("shufflenetv1", "shufflenetv2")
})


@register_model
def shufflenetv1(pretrained: bool = False, **kwargs) -> ShuffleNetV1:
    """ShuffleNetV1, 3 groups, widths 240, 480, 960 ("ShuffleV1")."""
    return build_model_with_cfg(ShuffleNetV1, "shufflenetv1", pretrained, **kwargs)


@register_model
def shufflenetv2(pretrained: bool = False, **kwargs) -> ShuffleNetV2:
    """ShuffleNetV2 1x, widths 116, 232, 464, 1024 ("ShuffleV2")."""
    return build_model_with_cfg(ShuffleNetV2, "shufflenetv2", pretrained, **kwargs)
