"""What a network is beside its weights, in words that are the same in every process."""

from functools import partial
from typing import Any

from torch import nn


def module_settings(network: nn.Module) -> str:
    """A line a module: its name, its class, and its own numbers, words and functions, such as strides and activations.

    Weights do not tell them: the same ones give other logits behind ReLU than behind softplus.
    """
    lines = (f"{name} {type(module).__qualname__} {_settings(module)}\n" for name, module in network.named_modules())
    return "".join(lines)


def _settings(module: nn.Module) -> str:
    own = ((name, _word(value)) for name, value in vars(module).items() if name[0] != "_" and name != "training")
    return " ".join(f"{name}={word}" for name, word in sorted(own) if word)


def _word(value: Any) -> str:
    """The same in every process; empty for what is none of the above."""
    if isinstance(value, partial):
        return f"{_word(value.func)}{_word(value.args)}{_word(sorted(value.keywords.items()))}"
    if isinstance(value, (tuple, list)):
        return f"({' '.join(map(_word, value))})"
    if isinstance(value, (str, int, float)):
        return repr(value)
    return getattr(value, "__qualname__", "")
