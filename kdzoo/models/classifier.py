"""One face for every network: images in [0, 1] in, logits, stage maps and the classifier's input out.

    >>> model = kdzoo.create_model("resnet8x4", num_classes=100)
    >>> output = model.outputs(images, features=True)
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from kdzoo.output import ModelOutput


class Classifier(nn.Module):
    """A network with its normalisation.

    Args:
        network: maps normalised images [B, C, H, W] to logits [B, num_classes]. Ours, timm's,
            torchvision's, or any module; without timm's methods it is read through forward hooks.
        name: what the network is called, for messages and for the files written from it.
        num_classes: columns of the logits.
        in_chans: channels of the images.
        mean: per channel, subtracted from images in [0, 1].
        std: per channel, divided by.

    Raises:
        ValueError: ``mean`` or ``std`` does not have one number a channel, or a std is not positive.

    Example:
        >>> model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "linear", 10, 1, [0.5], [0.5])
        >>> model(torch.rand(2, 1, 8, 8)).shape
        torch.Size([2, 10])
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, network: nn.Module, name: str, num_classes: int, in_chans: int,
        mean: Sequence[float], std: Sequence[float],
    ):
        super().__init__()
        self.network, self.name, self.in_chans = network, name, in_chans
        self._num_classes = num_classes
        # Buffers of the wrapper's state: who copies the state copies the function.
        self.register_buffer("mean", torch.zeros(in_chans))
        self.register_buffer("std", torch.ones(in_chans))
        self.set_normalisation(mean, std)
        self._taps = Taps(network)
        self._head_place: str | None = None

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Replace mean and std, one number a channel each."""
        for label, values in (("mean", mean), ("std", std)):
            if len(values) != self.in_chans:
                raise ValueError(f"{label} is expected to have {self.in_chans} numbers but got {list(values)}")
        if not all(value > 0 for value in std):
            raise ValueError(f"std is expected to be positive but got {list(std)}")
        self.mean.copy_(torch.as_tensor(mean))
        self.std.copy_(torch.as_tensor(std))

    @property
    def num_classes(self) -> int:
        """Columns of the logits; a head may have grown by a class since it was put on."""
        return getattr(self.head, "num_classes", self._num_classes)

    @property
    def head(self) -> nn.Module | None:
        """The head that :meth:`set_head` put on; ``None`` for the network's own classifier."""
        return None if self._head_place is None else self.network.get_submodule(self._head_place)

    def set_head(self, build: Callable[[int], nn.Module]) -> None:
        """Put another head in the place of the network's linear classifier.

        Args:
            build: width D of the classifier's input -> a module from [B, D] to logits [B, num_classes]. A linear one
                starts from the weights of the classifier it replaces.

        Raises:
            ValueError: the network has no single linear classifier to replace.

        Example:
            >>> model.set_head(lambda width: ArcFaceHead(width, 100))
        """
        old = classifier_of(self.network)
        place = next((name for name, module in self.network.named_modules() if module is old), "")
        if not isinstance(old, nn.Linear) or not place:
            raise ValueError(f"{self.name} has no single linear classifier for a head to replace; use another model")
        head = build(old.in_features)
        if isinstance(head, nn.Linear) and (head.bias is None) == (old.bias is None):
            head.load_state_dict(old.state_dict())
        self.network.set_submodule(place, head)
        head.register_forward_pre_hook(self._taps.tap_classifier)
        self._head_place = place

    def normalise(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W] in [0, 1] to what the network was trained on."""
        if images.ndim != 4 or images.shape[1] != self.in_chans:
            raise ValueError(
                f"{self.name} takes images [B, {self.in_chans}, H, W] but got {list(images.shape)}; "
                "create the model with in_chans=<channels of your images>"
            )
        if not images.is_floating_point():
            raise ValueError(f"images are expected as floats in [0, 1] but got {images.dtype}; divide by 255")
        return (images - self.mean.view(-1, 1, 1)) / self.std.view(-1, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Images [B, C, H, W], floats in [0, 1], to logits [B, num_classes]."""
        return self.network(self.normalise(images))

    def outputs(self, images: Tensor, features: bool = False) -> ModelOutput:
        """The same logits, with what losses and detectors look at.

        Args:
            images: [B, C, H, W], floats in [0, 1].
            features: also return the stage maps; empty otherwise.

        Returns:
            ModelOutput with logits [B, num_classes], pooled [B, D] (the classifier's input) and
            features: a list of [B, D, H, W], from the stem to the last stage (transformers: one a block).
        """
        x, network, taps = self.normalise(images), self.network, self._taps
        taps.open = True
        try:
            if not has_timm_methods(network):
                logits, maps = network(x), last_of_each_size(taps.maps)
            elif features:
                last, maps = network.forward_intermediates(x)
                logits = network.forward_head(last)
            else:
                last, maps = network.forward_features(x), []
                logits = network.forward_head(last)
            pooled = taps.pooled
        finally:
            taps.clear()
        if pooled is None:
            # No single layer to listen at: distilled transformers average two heads.
            pooled = network.forward_head(last, pre_logits=True)
        return ModelOutput(logits, list(maps) if features else [], pooled)


def has_timm_methods(network: nn.Module) -> bool:
    names = ("forward_features", "forward_intermediates", "forward_head", "get_classifier")
    return all(hasattr(network, name) for name in names)


def classifier_of(network: nn.Module) -> nn.Module | None:
    """The layer whose output is the logits: timm's word for it, else the last linear layer or convolution.

    None where timm names no single layer (two heads, or a whole head module).
    """
    if has_timm_methods(network):
        classifier = network.get_classifier()
        return classifier if isinstance(classifier, (nn.Linear, nn.Conv2d)) else None
    for kind in (nn.Linear, nn.Conv2d):
        layers = [module for module in network.modules() if isinstance(module, kind)]
        if layers:
            return layers[-1]
    raise ValueError("the network has no linear layer and no convolution that could be its classifier")


class Taps:
    """Forward hooks that read the classifier's input and, where timm's methods are missing, the stage maps.

    Only the hook sees what reaches the classifier in every network: some have a batch norm or an
    auxiliary head behind what timm calls pre-logits. Stage maps are what the network's children, and
    the members of its containers, return before the classifier runs, in the network's own layout
    (torchvision's Swin: [B, H, W, D]).
    """

    def __init__(self, network: nn.Module):
        self.open = False
        self.maps: list[Tensor] = []  # as the children return them
        self.pooled: Tensor | None = None  # [B, D]
        classifier = classifier_of(network)
        if classifier is not None:
            classifier.register_forward_pre_hook(self.tap_classifier)
        if not has_timm_methods(network):
            for child in network.children():
                container = isinstance(child, (nn.Sequential, nn.ModuleList))
                for module in child.children() if container else (child,):
                    module.register_forward_hook(self.tap_map)

    def clear(self) -> None:
        """Stop recording and let go of what was recorded, or the graph of this step would outlive it."""
        self.open, self.maps, self.pooled = False, [], None

    def tap_classifier(self, module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if self.open:
            self.pooled = inputs[0] if inputs[0].ndim == 2 else inputs[0].mean((2, 3))

    def tap_map(self, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        pools = isinstance(module, (nn.AdaptiveAvgPool2d, nn.AvgPool2d, nn.MaxPool2d))
        if self.open and self.pooled is None and not pools and output.ndim >= 3:
            self.maps.append(output)


def last_of_each_size(maps: list[Tensor]) -> list[Tensor]:
    """Of each run of maps of one height and width (token maps: one length) the last."""
    following = [*maps[1:], None]
    return [x for x, after in zip(maps, following, strict=True) if after is None or after.shape[2:] != x.shape[2:]]
