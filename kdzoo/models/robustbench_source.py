"""Networks of RobustBench, built by its own package."""

from typing import Any

from torch import nn

from kdzoo.errors import ConfigError, UserError, did_you_mean
from kdzoo.models.checkpoint import local_path, read_state
from kdzoo.registry import MODELS

CLASSES = {"cifar10": 10, "cifar100": 100, "imagenet": 1000}
THREATS = ("Linf", "L2", "corruptions", "corruptions_3d")


@MODELS.register("robustbench")
class RobustBenchSource:
    """``robustbench:DATA/THREAT/NAME``, e.g. ``robustbench:cifar10/Linf/Carmon2019Unlabeled``.

    Its networks normalise inside, so mean is 0 and std 1 (Croce et al., NeurIPS 2021 Datasets and Benchmarks).
    """

    @staticmethod
    def names() -> list[str]:
        """Every model of the installed package; none where it is not installed."""
        try:
            return sorted(model_table())
        except UserError:
            return []

    @staticmethod
    def has(name: str) -> bool:
        data, _, rest = name.partition("/")
        return data in CLASSES and rest.partition("/")[0] in THREATS and bool(rest.partition("/")[2])

    @staticmethod
    def build(
        name: str, num_classes: int, in_chans: int, pretrained: bool, **kwargs: Any
    ) -> tuple[nn.Module, tuple[float, ...], tuple[float, ...]]:
        """The network; ``pretrained`` loads what ``robustbench:NAME`` is as a checkpoint."""
        table = model_table()
        if name not in table:
            raise ConfigError(f"robustbench has no model {name!r}{did_you_mean(name, table)}")
        classes = CLASSES[name.partition("/")[0]]
        if kwargs or in_chans != 3 or num_classes != classes:
            raise ConfigError(f"robustbench:{name} takes no options, images of 3 channels and {classes} classes")
        network = table[name]["model"]()
        if pretrained:
            network.load_state_dict(read_state(local_path(f"robustbench:{name}")))
        return network, (0.0,) * 3, (1.0,) * 3


def model_table() -> dict[str, dict[str, Any]]:
    """"DATA/THREAT/NAME" -> RobustBench's record of it.

    Raises:
        UserError: robustbench is not installed.
    """
    try:
        from robustbench.model_zoo import model_dicts
    except ImportError as error:
        raise UserError(
            f"robustbench can't be imported ({error}); run pip install --no-deps robustbench and what it says it lacks"
        ) from error
    return {
        f"{data.value}/{threat.value}/{name}": record
        for data, threats in model_dicts.items() for threat, models in threats.items()
        for name, record in models.items()
    }
