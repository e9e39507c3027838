"""From a config's student or teacher to the network: its normalisation, its head, its weights."""

import torch

from kdzoo.data import Data
from kdzoo.engine.experiment import Network
from kdzoo.errors import ConfigError
from kdzoo.models import Classifier, create_model, load_weights
from kdzoo.registry import HEADS


def build_network(network: Network, data: Data, place: str) -> Classifier:
    """The network for these images and classes, in training mode.

    Args:
        network: as the config has it.
        data: gives classes, channels and normalisation (unless ``network.options`` has its own).
        place: ``"student"`` or ``"teacher"``, for error messages.

    Raises:
        ConfigError: an unknown name, option or head, a network without a classifier to replace, or one that
            does not take images of this size.
        UserError: weights that do not load.
    """
    shared = dict(in_chans=data.shape[0], mean=data.mean, std=data.std, pretrained=network.pretrained)
    try:
        model = create_model(network.name, data.num_classes, **(shared | network.options))
    except TypeError as error:
        raise ConfigError(f"{network.name}: {error}", f"{place}.options") from error
    except ConfigError as error:
        error.place = error.place or place
        raise
    if network.head is not None:
        where = "head" if place == "student" else f"{place}.head"
        sizes = dict(num_classes=data.num_classes)
        try:
            model.set_head(lambda width: HEADS.build(network.head, where, in_features=width, **sizes))
        except ValueError as error:
            raise ConfigError(str(error), where) from error
    _check_size(model, data, place)
    if network.checkpoint is not None:
        load_weights(model, network.checkpoint)
    return model


@torch.no_grad()
def _check_size(model: Classifier, data: Data, place: str) -> None:
    """Try one image: transformers are made for one size, and pooling leaves nothing of a small one."""
    try:
        model.eval()(torch.zeros(1, *data.shape))
    except (AssertionError, RuntimeError, ValueError) as error:
        size = " x ".join(map(str, data.shape))
        reason = str(error).strip().split("\n")[0].rstrip(".")
        message = f"{model.name} does not take images of {size} ({reason}); choose another, or its options (img_size)"
        raise ConfigError(message, place) from error
    finally:
        model.train()
