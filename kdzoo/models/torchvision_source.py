"""Networks by torchvision's names."""

from typing import Any

from timm.models import adapt_input_conv
from torch import nn

from kdzoo.errors import ConfigError, UserError
from kdzoo.models.timm_source import first_line
from kdzoo.registry import MODELS

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@MODELS.register("torchvision")
class TorchvisionSource:
    """``torchvision:NAME``, or a bare name that timm does not know."""

    @staticmethod
    def names() -> list[str]:
        """Every classification network of torchvision."""
        from torchvision import models

        return models.list_models(module=models)

    @classmethod
    def has(cls, name: str) -> bool:
        return name in cls.names()

    @staticmethod
    def build(
        name: str, num_classes: int, in_chans: int, pretrained: bool, **kwargs: Any
    ) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
        """The network, and the mean and std of its pretrained weights (ImageNet's)."""
        from torchvision import models

        weights = models.get_model_weights(name).DEFAULT if pretrained else None
        classes = len(weights.meta["categories"]) if pretrained else num_classes
        if name in ("googlenet", "inception_v3") and not pretrained:
            kwargs.setdefault("init_weights", True)  # their default, which warns if it is not asked for
        label = f"torchvision:{name}"
        try:
            network = models.get_model(name, weights=weights, num_classes=classes, **kwargs)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{label} does not take these options: {first_line(error)}") from error
        except (OSError, RuntimeError) as error:
            raise UserError(
                f"the pretrained weights of {label} could not be had ({first_line(error)}); "
                "check the network, or use pretrained=False"
            ) from error
        drop_auxiliary_heads(network)
        if in_chans != 3:
            replace_first_conv(network, in_chans)
        if classes != num_classes:
            replace_classifier(network, num_classes)
        return network, IMAGENET_MEAN, IMAGENET_STD


def drop_auxiliary_heads(network: nn.Module) -> None:
    """GoogLeNet and Inception return their auxiliary logits too in training; a classifier has one."""
    if getattr(network, "aux_logits", False):
        network.aux_logits = False
        for name in ("aux1", "aux2", "AuxLogits"):
            if hasattr(network, name):
                setattr(network, name, None)


def replace_first_conv(network: nn.Module, in_chans: int) -> None:
    """A first convolution for other than three channels, its weights adapted as timm does (grey: summed)."""
    name, old = next((n, m) for n, m in network.named_modules() if isinstance(m, nn.Conv2d))
    new = nn.Conv2d(
        in_chans, old.out_channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None,
    )
    new.weight.data.copy_(adapt_input_conv(in_chans, old.weight.data))
    if old.bias is not None:
        new.bias.data.copy_(old.bias.data)
    network.set_submodule(name, new)


def replace_classifier(network: nn.Module, num_classes: int) -> None:
    """A fresh last layer for pretrained weights of another class count."""
    layers = [(n, m) for n, m in network.named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
    name, old = next((pair for pair in reversed(layers) if isinstance(pair[1], nn.Linear)), layers[-1])
    if isinstance(old, nn.Linear):
        new = nn.Linear(old.in_features, num_classes)
    else:
        new = nn.Conv2d(old.in_channels, num_classes, old.kernel_size)
    network.set_submodule(name, new)
