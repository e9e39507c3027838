"""ResNet-50 for 32-pixel images: the bottleneck network of He et al. (CVPR 2016) with a 3x3 stem and no max pool.

timm's ``resnet50`` is the ImageNet network, so ours is ``resnet50_cifar``.
"""

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, init_convs, linear_classifier

EXPANSION = 4


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 to four times the width; ReLU after the sum."""

    def __init__(self, in_width: int, width: int, stride: int):
        super().__init__()
        out_width = EXPANSION * width
        self.conv1, self.bn1 = nn.Conv2d(in_width, width, 1, bias=False), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = nn.Conv2d(width, out_width, 1, bias=False), nn.BatchNorm2d(out_width)
        self.shortcut = nn.Sequential()
        if stride != 1 or in_width != out_width:
            conv = nn.Conv2d(in_width, out_width, 1, stride, bias=False)
            self.shortcut = nn.Sequential(conv, nn.BatchNorm2d(out_width))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        out = F.relu(self.bn2(self.conv2(out)), inplace=True)
        out = self.bn3(self.conv3(out))
        out += self.shortcut(x)
        return F.relu(out, inplace=True)


class BottleneckResNet(StagedNet):
    """Four stages of bottlenecks, widths 64 to 512 (256 to 2048 after expansion).

    Args:
        depths: blocks of the four stages.
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    classifier_name = "linear"

    def __init__(self, depths: tuple[int, ...] = (3, 4, 6, 3), num_classes: int = 100, in_chans: int = 3):
        super().__init__(num_classes, num_features=512 * EXPANSION)
        self.conv1, self.bn1 = nn.Conv2d(in_chans, 64, 3, 1, 1, bias=False), nn.BatchNorm2d(64)
        in_width = 64
        for k, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), start=1):
            blocks = [Bottleneck(in_width, width, stride=1 if k == 1 else 2)]
            blocks += [Bottleneck(EXPANSION * width, width, stride=1) for _ in range(depth - 1)]
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
            in_width = EXPANSION * width
        self.linear = linear_classifier(self.num_features, num_classes)
        init_convs(self)

    def stem(self, x: Tensor) -> Tensor:
        return F.relu(self.bn1(self.conv1(x)), inplace=True)

    def stages(self):
        return [self.stem, self.layer1, self.layer2, self.layer3, self.layer4]


default_cfgs = generate_default_cfgs({"resnet50_cifar": cifar_cfg(classifier="linear")})


@register_model
def resnet50_cifar(pretrained: bool = False, **kwargs) -> BottleneckResNet:
    """ResNet-50 for 32-pixel images (the literature's "ResNet50")."""
    return build_model_with_cfg(BottleneckResNet, "resnet50_cifar", pretrained, **kwargs)
