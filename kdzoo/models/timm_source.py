"""Networks by timm's names, those of this package among them."""

from typing import Any

import timm
from torch import nn

from kdzoo.errors import ConfigError, UserError
from kdzoo.registry import MODELS


@MODELS.register("timm")
class TimmSource:
    """``timm:NAME``, or the bare name; also timm's own ``hf-hub:`` and ``local-dir:`` names."""

    @staticmethod
    def names() -> list[str]:
        """Every architecture timm knows, without pretrained tags."""
        return timm.list_models()

    @staticmethod
    def has(name: str) -> bool:
        return name.startswith(("hf-hub:", "local-dir:")) or timm.is_model(name.split(".")[0])

    @staticmethod
    def build(
        name: str, num_classes: int, in_chans: int, pretrained: bool, **kwargs: Any
    ) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
        """The network, and the mean and std of its images [0, 1] as timm records them."""
        try:
            network = timm.create_model(name, pretrained, num_classes=num_classes, in_chans=in_chans, **kwargs)
        except TypeError as error:
            raise ConfigError(f"{name} does not take these options: {first_line(error)}") from error
        except Exception as error:
            if pretrained:
                raise UserError(
                    f"the pretrained weights of {name} could not be had ({first_line(error)}); "
                    "check the name and the network, or use pretrained=False"
                ) from error
            raise ConfigError(f"timm cannot build {name}: {first_line(error)}") from error
        cfg = network.pretrained_cfg
        return network, tuple(cfg["mean"]), tuple(cfg["std"])


def first_line(error: Exception) -> str:
    """The first line of an error of another library, or its kind where it says nothing."""
    return str(error).strip().partition("\n")[0] or type(error).__name__
