"""Read logits and the features of named layers of any network in one forward pass."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class LayerReader:
    """Images in, logits and one feature vector a layer out; gradients flow through.

    A feature is the spatial mean of what the layer returns: [B, D, H, W] and [B, T, D] (tokens) become [B, D],
    [B, D] stays.

    Args:
        model: maps images to logits [B, C]. Of a ``kdzoo`` Classifier the names are those of its network.
        layers: names as in ``model.named_modules()``, or ``"pooled"`` for the input of the classifier; ``None``:
            the stage maps of a Classifier, called ``stage0`` (the stem), ``stage1``, ...

    Raises:
        ValueError: a layer that does not exist (those that do are listed), no layer at all.

    Example:
        >>> read = LayerReader(kdzoo.create_model("resnet8", 10), ["layer1", "pooled"])
        >>> logits, features = read(torch.rand(2, 3, 32, 32))
        >>> features["layer1"].shape
        torch.Size([2, 16])
    """

    def __init__(self, model: nn.Module, layers: Sequence[str] | None = None):
        self.model, self.network = model, getattr(model, "network", model)
        self.stages = layers is None
        if self.stages and not hasattr(model, "outputs"):
            names = [name for name, _ in self.network.named_modules() if name]
            raise ValueError(f"a {type(model).__name__} does not name its stages; give layers, from: {_listed(names)}")
        self.layers = list(layers or [])
        if not self.stages:
            self._check()

    def _check(self) -> None:
        modules = {name: module for name, module in self.network.named_modules() if name}
        missing = [name for name in self.layers if name not in modules and name != "pooled"]
        if missing or not self.layers:
            told = f"there is no layer {missing[0]!r}" if missing else "no layer was given"
            raise ValueError(f"{told}; there are: pooled, {_listed(list(modules))}")
        self._modules = {name: modules[name] for name in self.layers if name != "pooled"}
        if "pooled" in self.layers and not hasattr(self.model, "outputs"):
            self._classifier = last_linear(self.network)

    def __call__(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """[B, C, H, W] -> logits [B, C] and a dict of [B, D], in the order of the layers."""
        if self.stages:
            logits, _, found = self.with_pooled(images)
            return logits, found
        found: dict[str, Tensor] = {}
        # The mean is taken at once: a ReLU in place may overwrite what the layer returned.
        hooks = [
            module.register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, spatial_mean(out, name)))
            for name, module in self._modules.items()
        ]
        if hasattr(self, "_classifier"):
            keep = self._classifier.register_forward_pre_hook(
                lambda _, inputs: found.__setitem__("pooled", spatial_mean(inputs[0], "pooled"))
            )
            hooks.append(keep)
        try:
            if "pooled" in self.layers and hasattr(self.model, "outputs"):
                output = self.model.outputs(images)
                logits, found["pooled"] = output.logits, output.pooled
            else:
                logits = self.model(images)
        finally:
            for hook in hooks:
                hook.remove()
        return logits, {name: found[name] for name in self.layers}

    def with_pooled(self, images: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Logits [B, C], the classifier's input [B, D] and the layers' features, of one pass."""
        if self.stages:
            output = self.model.outputs(images, features=True)
            maps = {f"stage{k}": spatial_mean(x, f"stage{k}") for k, x in enumerate(output.features)}
            return output.logits, output.pooled, maps
        more = LayerReader(self.model, list(dict.fromkeys([*self.layers, "pooled"])))
        logits, found = more(images)
        return logits, found["pooled"], {name: found[name] for name in self.layers}


def spatial_mean(x: Tensor, name: str) -> Tensor:
    """[B, D, H, W] or [B, T, D] to [B, D]; [B, D] unchanged."""
    if isinstance(x, Tensor) and 2 <= x.ndim <= 4:
        return x if x.ndim == 2 else x.mean(dim=1) if x.ndim == 3 else x.mean(dim=(2, 3))
    shape = list(x.shape) if isinstance(x, Tensor) else type(x).__name__
    raise ValueError(f"the layer {name!r} returns {shape}, not a map [B, D, H, W], tokens or a vector; name another")


def last_linear(network: nn.Module) -> nn.Linear:
    """The classifier: the last linear layer."""
    layers = [module for module in network.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError(f"{type(network).__name__} has no linear layer; give weight and bias of the classifier")
    return layers[-1]


def linear_classifier(model: nn.Module) -> nn.Linear:
    """The one linear layer that makes the logits of the classifier's input; ValueError where something else does.

    Some other linear layer of the network would be taken for it: of a head's experts or codes, of one of two heads.
    """
    network = getattr(model, "network", model)
    if hasattr(model, "set_head") and model.head is not None:
        layer = model.head
    else:
        layer = network.get_classifier() if hasattr(network, "get_classifier") else last_linear(network)
    if not isinstance(layer, nn.Linear):
        name = getattr(model, "name", type(network).__name__)
        told = f"the classifier of {name} is a {type(layer).__name__}, not one linear layer"
        raise ValueError(f"{told}; choose another detector, or give weight and bias")
    return layer


def classifier_parameters(model: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight [C, D] and bias [C] of the linear classifier, detached."""
    layer = linear_classifier(model)
    bias = torch.zeros(layer.out_features).to(layer.weight) if layer.bias is None else layer.bias
    return layer.weight.detach(), bias.detach()


def _listed(names: list[str], most: int = 60) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
