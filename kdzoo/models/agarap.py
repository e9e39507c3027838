"""The CNN of Agarap, "An Architecture Combining CNN and SVM for Image Classification" (arXiv 1712.03541, 2017).

Two 5x5 convolutions with 2x2 max pooling, a hidden layer of 1024 units with dropout, a linear readout;
images in [0, 1] without further normalisation.
"""

import torch.nn.functional as F
from timm.layers import to_2tuple
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from torch import Tensor, nn

from kdzoo.models.staged import StagedNet, cifar_cfg, linear_classifier


class AgarapCNN(StagedNet):
    """Agarap's CNN.

    Args:
        num_classes: classes of the readout.
        in_chans: channels of the images.
        img_size: side of the images in pixels, or (height, width); the hidden layer's size depends on it.
        drop_rate: share of hidden units dropped in training (paper: keep 0.5).
    """

    def __init__(
        self, num_classes: int = 10, in_chans: int = 1, img_size: int | tuple[int, int] = 28, drop_rate: float = 0.5,
    ):
        super().__init__(num_classes, num_features=1024)
        # "Same" pooling of an odd side keeps the rest: 28, 14, 7.
        self.grid = tuple((side + 3) // 4 for side in to_2tuple(img_size))
        self.img_size, self.drop_rate = to_2tuple(img_size), drop_rate
        self.conv1 = nn.Conv2d(in_chans, 32, 5, padding=2)
        self.conv2 = nn.Conv2d(32, 64, 5, padding=2)
        self.fc1 = nn.Linear(64 * self.grid[0] * self.grid[1], self.num_features)
        self.fc = linear_classifier(self.num_features, num_classes)
        for module in self.modules():
            if isinstance(module, (nn.Conv2d, nn.Linear)):
                nn.init.trunc_normal_(module.weight, std=0.1, a=-0.2, b=0.2)
                nn.init.constant_(module.bias, 0.1)

    def first(self, x: Tensor) -> Tensor:
        return F.relu(self.conv1(x), inplace=True)

    def second(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.max_pool2d(x, 2, ceil_mode=True)), inplace=True)

    def stages(self):
        return [self.first, self.second]

    def final(self, x: Tensor) -> Tensor:
        return F.max_pool2d(x, 2, ceil_mode=True)

    def pool(self, x: Tensor) -> Tensor:
        if x.shape[-2:] != self.grid:
            raise ValueError(f"agarap_cnn was built for {self.img_size} pixels; pass img_size=<side of your images>")
        hidden = F.relu(self.fc1(x.flatten(1)), inplace=True)
        return F.dropout(hidden, self.drop_rate, self.training)


default_cfgs = generate_default_cfgs({
    "agarap_cnn": cifar_cfg(
        num_classes=10, input_size=(1, 28, 28), fixed_input_size=True, mean=(0.0,), std=(1.0,),
    ),
})


@register_model
def agarap_cnn(pretrained: bool = False, **kwargs) -> AgarapCNN:
    """Agarap's CNN for 28-pixel grey images and 10 classes."""
    return build_model_with_cfg(AgarapCNN, "agarap_cnn", pretrained, **kwargs)
