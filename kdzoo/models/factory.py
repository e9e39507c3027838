"""``create_model``: a name in, a Classifier out, wherever the network comes from."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kdzoo.errors import ConfigError, did_you_mean
from kdzoo.models.checkpoint import load_weights
from kdzoo.models.classifier import Classifier
from kdzoo.registry import MODELS


def create_model(
    name: str, num_classes: int, in_chans: int = 3, mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None, pretrained: bool = False, checkpoint: str | Path | None = None, **kwargs: Any,
) -> Classifier:
    """Build a network with its normalisation.

    Args:
        name: a name of ours or timm's ("resnet8x4", "vit_tiny_patch16_224", a tag as in
            "resnet50.a1_in1k"), of torchvision ("torchvision:resnet18"; the prefix may go where timm does
            not know the name), or "SOURCE:NAME" of another registered source.
        num_classes: columns of the logits.
        in_chans: channels of the images; 1 for grey ones. timm's way of fitting pretrained weights applies.
        mean: per channel, of images in [0, 1]. Default: what the network's source records, that is
            CIFAR-100's statistics for our CIFAR networks, 0 for Agarap's, those of the pretrained
            weights (mostly ImageNet's) for timm and torchvision. Recorded for three channels and asked
            for another number, their average stands for every channel.
        std: likewise.
        pretrained: take the source's pretrained weights (downloads).
        checkpoint: a file of weights to load; its mean and std, where it has them, replace the above.
        kwargs: handed to the network, e.g. ``img_size=32, patch_size=4`` for a vision transformer.

    Returns:
        A Classifier in training mode.

    Raises:
        ConfigError: unknown name or option, or numbers that do not fit.
        UserError: pretrained weights out of reach, or a checkpoint that does not fit.

    Example:
        >>> model = create_model("resnet8x4", num_classes=100)
        >>> logits = model(images)  # [B, 3, H, W] in [0, 1] to [B, 100]
    """
    for label, value in (("num_classes", num_classes), ("in_chans", in_chans)):
        if not isinstance(value, int) or value < 1:
            raise ConfigError(f"{label} is expected to be a positive integer but got {value!r}")
    if pretrained and checkpoint is not None:
        raise ConfigError("a model takes its weights from pretrained=True or from checkpoint=..., not from both")
    source, short_name = find_source(name)
    network, own_mean, own_std = source.build(short_name, num_classes, in_chans, pretrained, **kwargs)
    try:
        model = Classifier(
            network, name, num_classes, in_chans,
            spread(own_mean, in_chans) if mean is None else mean,
            spread(own_std, in_chans) if std is None else std,
        )
    except ValueError as error:
        raise ConfigError(f"{name}: {error}") from error
    if checkpoint is not None:
        load_weights(model, checkpoint)
    return model


def find_source(name: str) -> tuple[Any, str]:
    """The source that has ``name`` ("SOURCE:NAME", or a bare name: timm first), and the name it knows it by."""
    sources = {label: MODELS.get(label) for label in MODELS.names()}
    label, colon, rest = name.partition(":")
    if colon and label in sources:
        if sources[label].has(rest):
            return sources[label], rest
        raise ConfigError(f"{label} has no model {rest!r}{did_you_mean(rest, sources[label].names())}")
    for label in ("timm", *(label for label in sources if label != "timm")):
        if sources[label].has(name):
            return sources[label], name
    known = {known_name for source in sources.values() for known_name in source.names()}
    raise ConfigError(f"unknown model {name!r}{did_you_mean(name, known)}")


def spread(values: Sequence[float], in_chans: int) -> tuple[float, ...]:
    """Recorded statistics for ``in_chans`` channels: as they are, or their average for each."""
    return tuple(values) if len(values) == in_chans else (sum(values) / len(values),) * in_chans
