"""VGG with batch norm for 32-pixel images (Simonyan and Zisserman, ICLR 2015), one linear layer on top.

Five blocks of 3x3 convolutions, a 2x2 max pool before the second to the fourth, global average
pooling at the end. "vgg8" has one convolution a block (Tian et al., CRD, ICLR 2020). timm owns the
plain names of the larger ones, so ours end in ``_cifar``.
"""

from functools import partial

import torch.nn.functional as F
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, init_convs, linear_classifier

WIDTHS = (64, 128, 256, 512, 512)


class VGG(StagedNet):
    """VGG in five blocks.

    Args:
        depths: number of convolutions in each of the five blocks.
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    classifier_name = "classifier"

    def __init__(self, depths: tuple[int, ...], num_classes: int = 100, in_chans: int = 3):
        super().__init__(num_classes, num_features=WIDTHS[-1])
        for k, (depth, width) in enumerate(zip(depths, WIDTHS, strict=True)):
            setattr(self, f"block{k}", block(in_chans, width, depth))
            in_chans = width
        self.classifier = linear_classifier(self.num_features, num_classes)
        init_convs(self)
        if num_classes:
            nn.init.normal_(self.classifier.weight, 0, 0.01)
            nn.init.zeros_(self.classifier.bias)

    def stage(self, k: int, x: Tensor) -> Tensor:
        # The fourth pool is for 64 pixels and more (8 and more here); a 32-pixel image keeps its 4x4 map.
        if 1 <= k <= 3 or (k == 4 and x.shape[-2] >= 8):
            x = F.max_pool2d(x, 2)
        return F.relu(getattr(self, f"block{k}")(x), inplace=True)

    def stages(self):
        return [partial(self.stage, k) for k in range(5)]


def block(in_width: int, width: int, depth: int) -> nn.Sequential:
    """Conv-BN-ReLU ``depth`` times, without the last ReLU (it belongs to the stage)."""
    layers = []
    for _ in range(depth):
        layers += [nn.Conv2d(in_width, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
        in_width = width
    return nn.Sequential(*layers[:-1])


def _vgg(name: str, pretrained: bool, depths: tuple[int, ...], **kwargs) -> VGG:
    return build_model_with_cfg(VGG, name, pretrained, depths=depths, **kwargs)


default_cfgs = generate_default_cfgs({
    name: cifar_cfg(first_conv="block0.0", classifier="classifier")
    for name in ("vgg8", "vgg11_cifar", "vgg13_cifar", "vgg16_cifar", "vgg19_cifar")
})


@register_model
def vgg8(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-8 with batch norm."""
    return _vgg("vgg8", pretrained, (1, 1, 1, 1, 1), **kwargs)


@register_model
def vgg11_cifar(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-11 with batch norm."""
    return _vgg("vgg11_cifar", pretrained, (1, 1, 2, 2, 2), **kwargs)


@register_model
def vgg13_cifar(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-13 with batch norm."""
    return _vgg("vgg13_cifar", pretrained, (2, 2, 2, 2, 2), **kwargs)


@register_model
def vgg16_cifar(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-16 with batch norm."""
    return _vgg("vgg16_cifar", pretrained, (2, 2, 3, 3, 3), **kwargs)


@register_model
def vgg19_cifar(pretrained: bool = False, **kwargs) -> VGG:
    """VGG-19 with batch norm."""
    return _vgg("vgg19_cifar", pretrained, (2, 2, 4, 4, 4), **kwargs)
