"""MobileNetV2 (Sandler et al., CVPR 2018) at half width: the "MobileNetV2" of the CIFAR distillation tables.

Expansion 6, ReLU instead of ReLU6, a stride-2 stem and a stride-1 second group, so that a 32-pixel
image ends in a 2x2 map. The stage maps are linear bottlenecks, without a ReLU.
"""

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, init_convs, linear_classifier

# expansion, width at full size, blocks, stride of the first block
GROUPS = ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))


def conv_bn_relu(in_width: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_width, width, kernel, stride, kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]


class InvertedResidual(nn.Module):
    """1x1 expansion, 3x3 depthwise, linear 1x1 projection; a shortcut where the shape stays."""

    def __init__(self, in_width: int, width: int, stride: int, expansion: int):
        super().__init__()
        hidden = in_width * expansion
        self.conv = nn.Sequential(
            *conv_bn_relu(in_width, hidden, 1),
            *conv_bn_relu(hidden, hidden, 3, stride, groups=hidden),
            *conv_bn_relu(hidden, width, 1)[:-1],
        )
        self.residual = stride == 1 and in_width == width

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self.residual else self.conv(x)


class MobileNetV2(StagedNet):
    """MobileNetV2 of any width for small images.

    Args:
        width_mult: factor on every width but the last (1280 features).
        num_classes: classes of the classifier.
        in_chans: channels of the images.
    """

    classifier_name = "classifier"

    def __init__(self, width_mult: float = 0.5, num_classes: int = 100, in_chans: int = 3):
        super().__init__(num_classes, num_features=1280)
        width = int(32 * width_mult)
        self.conv1 = nn.Sequential(*conv_bn_relu(in_chans, width, 3, stride=2))
        self.blocks = nn.ModuleList()
        for expansion, full_width, depth, stride in GROUPS:
            group = []
            for k in range(depth):
                in_width, width = width, int(full_width * width_mult)
                group.append(InvertedResidual(in_width, width, stride if k == 0 else 1, expansion))
            self.blocks.append(nn.Sequential(*group))
        self.conv2 = nn.Sequential(*conv_bn_relu(width, self.num_features, 1))
        self.classifier = nn.Sequential(linear_classifier(self.num_features, num_classes))
        init_convs(self)
        if num_classes:
            nn.init.normal_(self.get_classifier().weight, 0, 0.01)
            nn.init.zeros_(self.get_classifier().bias)

    def stages(self):
        first, second, third, *_ = self.blocks
        return [
            self.conv1,
            lambda x: second(first(x)),
            third,
            lambda x: self.blocks[4](self.blocks[3](x)),
            lambda x: self.blocks[6](self.blocks[5](x)),
        ]

    def final(self, x: Tensor) -> Tensor:
        return self.conv2(x)

    def get_classifier(self) -> nn.Module:
        return self.classifier[0]

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        super().reset_classifier(num_classes, global_pool)
        self.classifier = nn.Sequential(self.classifier)


default_cfgs = generate_default_cfgs({
    "mobilenetv2_half": cifar_cfg(first_conv="conv1.0", classifier="classifier.0"),
})


@register_model
def mobilenetv2_half(pretrained: bool = False, **kwargs) -> MobileNetV2:
    """MobileNetV2 at half width for 32-pixel images ("mobile_half", T=6)."""
    return build_model_with_cfg(MobileNetV2, "mobilenetv2_half", pretrained, **kwargs)
