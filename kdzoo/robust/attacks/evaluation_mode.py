"""A model in evaluation mode for as long as it is attacked."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch every module to evaluation and give each its own mode back afterwards, also after an error.

    Parameters, their gradients and ``requires_grad`` are not touched. A plain function is let through as it is.

    Example:
        >>> with evaluation_mode(model):
        ...     logits = model(images)
    """
    modules = [module for module in model.modules() if module.training] if isinstance(model, nn.Module) else []
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module in modules:
            module.training = True
