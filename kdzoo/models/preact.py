"""Pre-activation ResNet-18 (He et al., Identity Mappings, ECCV 2016) for 32-pixel images.

The usual network of adversarial training on CIFAR, with the paper's batch norm and ReLU before the
pooling (Rice et al., ICML 2020, have them too; some ports leave them out). The stage maps are the
residual stream, before the next batch norm and ReLU.
"""

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, init_convs, linear_classifier


class PreActBlock(nn.Module):
    """BN-ReLU-conv twice; where the shape changes, the shortcut is a 1x1 convolution of the activated input."""

    def __init__(self, in_width: int, width: int, stride: int):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(in_width)
        self.conv1 = nn.Conv2d(in_width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.shortcut = None
        if stride != 1 or in_width != width:
            self.shortcut = nn.Sequential(nn.Conv2d(in_width, width, 1, stride, bias=False))

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(x), inplace=True)
        shortcut = x if self.shortcut is None else self.shortcut(out)
        out = F.relu(self.bn2(self.conv1(out)), inplace=True)
        return self.conv2(out) + shortcut


class PreActResNet(StagedNet):
    """Four stages of pre-activation blocks, widths 64, 128, 256, 512.

    Args:
        depths: blocks of the four stages.
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    classifier_name = "linear"

    def __init__(self, depths: tuple[int, ...] = (2, 2, 2, 2), num_classes: int = 100, in_chans: int = 3):
        super().__init__(num_classes, num_features=512)
        self.conv1 = nn.Conv2d(in_chans, 64, 3, 1, 1, bias=False)
        in_width = 64
        for k, (width, depth) in enumerate(zip((64, 128, 256, 512), depths, strict=True), start=1):
            blocks = [PreActBlock(in_width, width, stride=1 if k == 1 else 2)]
            blocks += [PreActBlock(width, width, stride=1) for _ in range(depth - 1)]
            setattr(self, f"layer{k}", nn.Sequential(*blocks))
            in_width = width
        self.bn = nn.BatchNorm2d(self.num_features)
        self.linear = linear_classifier(self.num_features, num_classes)
        init_convs(self)

    def stages(self):
        return [self.conv1, self.layer1, self.layer2, self.layer3, self.layer4]

    def final(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(x), inplace=True)


default_cfgs = generate_default_cfgs({"preact_resnet18": cifar_cfg(classifier="linear")})


@register_model
def preact_resnet18(pretrained: bool = False, **kwargs) -> PreActResNet:
    """Pre-activation ResNet-18."""
    return build_model_with_cfg(PreActResNet, "preact_resnet18", pretrained, **kwargs)
