"""Batch norm folded into the convolutions before it: the same function up to rounding, in fewer passes."""

import copy

import torch
from torch import Tensor, nn

FOLD_TOLERANCE = 1e-3  # of the largest logit; folding is exact up to float32's rounding, a hundredth of this


class Folded(nn.Module):
    """A network whose batch norms are folded away, behind its model's own normalisation.

    Args:
        model: in evaluation mode; a kdzoo ``Classifier`` or any module that torch.fx can trace.

    Raises:
        ValueError: the network can't be traced (its Python code branches on its input).

    Example:
        >>> SmoothedClassifier(Folded(model), num_classes=10, sigma=0.25)
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.normalise = copy.deepcopy(model).requires_grad_(False) if hasattr(model, "normalise") else None
        network = self.normalise.network if self.normalise is not None else copy.deepcopy(model).requires_grad_(False)
        self.network = fold_batch_norm(network)
        if self.normalise is not None:
            self.normalise.network = nn.Identity()  # only its mean and std are needed
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """[B, C, H, W] in [0, 1] to logits [B, K]."""
        return self.network(images if self.normalise is None else self.normalise.normalise(images))


@torch.no_grad()
def folded_or_none(model: nn.Module, images: Tensor) -> Folded | None:
    """The folded network; ``None`` where it can't be traced or is not the same function, rounding (TF32's too) aside.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits, in evaluation mode.
        images: a few, to compare the folded network with the model.
    """
    try:
        network = Folded(model)
    except ValueError:
        return None
    wanted, got = _compared(model, network, images)
    return network if (got - wanted).abs().max() <= FOLD_TOLERANCE * wanted.abs().max().clamp_min(1) else None


def _compared(model: nn.Module, network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of both, in float64.

    On NVIDIA GPUs from Ampere on, float32 convolutions round their inputs to TF32 by default, and by more than the
    tolerance: whether a network is folded, which is part of a result's settings, must not hang on that noise.
    """
    try:
        wanted, got = (copy.deepcopy(each).double()(images.double()) for each in (model, network))
    except (RuntimeError, TypeError):  # a device without float64, or a network that casts its images itself
        wanted, got = model(images), network(images)
    return wanted, got


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """A traced network with every batch norm that directly follows a convolution folded into it."""
    from torch.fx import symbolic_trace
    from torch.nn.utils.fusion import fuse_conv_bn_eval

    try:
        graph = symbolic_trace(network)
    except Exception as error:  # torch.fx raises whatever the network's code raises on a symbol
        raise ValueError(f"the network can't be traced ({error}); use it without folding") from error
    modules = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        before = node.args[0] if node.op == "call_module" and node.args else None
        if not isinstance(before, torch.fx.Node) or before.op != "call_module" or len(before.users) > 1:
            continue
        convolution, norm = modules[before.target], modules[node.target]
        if type(convolution) is not nn.Conv2d or type(norm) is not nn.BatchNorm2d or norm.running_mean is None:
            continue
        if sum(other.target == before.target for other in graph.graph.nodes) > 1:
            continue  # a convolution that is called twice may have two norms
        parent, _, name = before.target.rpartition(".")
        fused = fuse_conv_bn_eval(convolution, norm)
        setattr(graph.get_submodule(parent), name, fused)
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph
