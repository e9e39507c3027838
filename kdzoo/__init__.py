"""kdzoo: distil small, strong and trustworthy image classifiers.

    >>> import kdzoo
    >>> cfg = kdzoo.Config.from_file("configs/quickstart.py", overrides={"epochs": 5})
    >>> metrics = kdzoo.train(cfg)

Names are imported on first use, so that ``import kdzoo`` costs next to nothing.
"""

import importlib

__version__ = "0.1.0"

_HOMES = {
    "Config": "kdzoo.config",
    "ConfigError": "kdzoo.errors",
    "UserError": "kdzoo.errors",
    "ModelOutput": "kdzoo.output",
    "build_loss": "kdzoo.losses",
    "create_model": "kdzoo.models",
    "create_pair": "kdzoo.models",
    "train": "kdzoo.engine",
    "evaluate": "kdzoo.engine",
}
__all__ = sorted(_HOMES) + ["__version__"]


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'kdzoo' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
