"""Registries: a config says ``dict(type="KD", temperature=2.0)`` and gets the object.

Adding a class is one file with one decorator; the packages of registered classes
are imported on first use, so no central list is edited.

    >>> from kdzoo.registry import LOSSES
    >>> loss = LOSSES.build(dict(type="KD", temperature=2.0))
"""

import importlib
import inspect
import pkgutil
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

from kdzoo.errors import ConfigError, did_you_mean


class Registry:
    """Names of classes of one kind.

    Args:
        kind: what the classes are, for error messages (``"loss"``).
        package: the package whose modules register them; walked on first use.
    """

    def __init__(self, kind: str, package: str):
        self.kind, self.package = kind, package
        self._entries: dict[str, Callable] = {}
        self._walked = False

    def register(self, name: str | None = None) -> Callable[[Callable], Callable]:
        """Decorator: enter a class (or function) under its own name or ``name``."""

        def enter(target: Callable) -> Callable:
            key = name or target.__name__
            held = self._entries.get(key)
            same = held is not None and (held.__module__, held.__qualname__) == (target.__module__, target.__qualname__)
            if held is not None and not same:
                raise KeyError(f"the {self.kind} {key!r} is already registered by {held.__module__}")
            self._entries[key] = target
            return target

        return enter

    def names(self) -> list[str]:
        """All registered names, sorted."""
        self._walk()
        return sorted(self._entries)

    def get(self, name: str, place: str = "") -> Callable:
        """The class of that name; an unknown one raises ConfigError with the nearest names."""
        if name not in self._entries:
            self._walk()
        if name not in self._entries:
            raise ConfigError(f"unknown {self.kind} {name!r}{did_you_mean(name, self._entries)}", place)
        return self._entries[name]

    def build(self, cfg: Mapping[str, Any], place: str = "", **context: Any) -> Any:
        """Build ``cfg["type"]`` with the other keys as keywords.

        Args:
            cfg: ``dict(type="NAME", **keywords)``.
            place: where ``cfg`` stands in the config, for error messages.
            context: values the caller has to offer (say ``num_classes``); each goes to
                the constructor only where it takes that keyword and ``cfg`` does not set it.
        """
        target, arguments = self.check(cfg, place)
        return construct(target, arguments, place, context, label=cfg["type"])

    def check(self, cfg: Mapping[str, Any], place: str = "") -> tuple[Callable, dict[str, Any]]:
        """The class ``cfg`` names and its keywords, checked but not built."""
        if not isinstance(cfg, Mapping):
            raise ConfigError(f"expected dict(type=...) for a {self.kind}, got {cfg!r}", place)
        if not isinstance(cfg.get("type"), str):
            raise ConfigError(f"this {self.kind} has no type; write dict(type='NAME', ...)", place)
        target = self.get(cfg["type"], place)
        arguments = {k: v for k, v in cfg.items() if k != "type"}
        _check_arguments(target, arguments, place, cfg["type"])
        return target, arguments

    def _walk(self) -> None:
        if self._walked:
            return
        package = importlib.import_module(self.package)
        for module in pkgutil.walk_packages(package.__path__, self.package + "."):
            importlib.import_module(module.name)
        self._walked = True


def construct(
    target: Callable,
    arguments: Mapping[str, Any],
    place: str = "",
    context: Mapping[str, Any] | None = None,
    label: str | None = None,
) -> Any:
    """Call ``target(**arguments)``; every mistake in ``arguments`` is a ConfigError with its place.

    Serves registered classes and the data classes of the engine alike: unknown, missing
    and wrongly typed keywords are told before the call, and a ValueError or TypeError of the
    constructor (a value out of range, or of a type its hints leave open) is told with its place.
    """
    label = label or target.__name__
    parameters = inspect.signature(target).parameters
    known = _check_arguments(target, arguments, place, label)
    offered = {k: v for k, v in (context or {}).items() if k in known and k not in arguments}
    for key in known:
        if parameters[key].default is inspect.Parameter.empty and key not in arguments and key not in offered:
            raise ConfigError(f"{label} needs {key!r}; add {key}=... to it", place)
    try:
        return target(**arguments, **offered)
    except ConfigError as error:
        raise error if error.place else ConfigError(error.message, place, error.file) from None
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{label}: {error}", place) from error


def _check_arguments(target: Callable, arguments: Mapping[str, Any], place: str, label: str) -> list[str]:
    """The keywords ``target`` knows; ConfigError where ``arguments`` has another, or a value of a wrong type."""
    parameters = inspect.signature(target).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    known = [n for n, p in parameters.items() if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL) and n != "self"]
    hints = _hints(target)
    for key, value in arguments.items():
        if key not in known and not takes_any:
            raise ConfigError(f"{label} got unknown {key!r}{did_you_mean(key, known)}", place)
        if key in hints and not _fits(value, hints[key]):
            plain = isinstance(hints[key], type) and typing.get_origin(hints[key]) is None
            wanted = hints[key].__name__ if plain else str(hints[key]).replace("typing.", "")
            raise ConfigError(f"{label} expects {wanted} for {key!r}, got {value!r}", place)
    return known


def _hints(target: Callable) -> dict[str, Any]:
    """Type hints of the call; empty where they name something that is only imported for type checkers."""
    function = target.__init__ if inspect.isclass(target) else target
    try:
        return typing.get_type_hints(function)
    except NameError:
        return {}


def _fits(value: Any, hint: Any) -> bool:
    """Whether a config value can stand for a keyword annotated with ``hint``; unknown hints take anything."""
    origin = typing.get_origin(hint)
    if origin in (typing.Union, types.UnionType):
        return any(_fits(value, part) for part in typing.get_args(hint))
    if origin is typing.Literal:
        return value in typing.get_args(hint)
    parts = typing.get_args(hint)
    hint = origin or hint
    if hint in (None, type(None)):
        return value is None
    if hint is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (list, tuple):
        return isinstance(value, (list, tuple)) and _members_fit(value, hint, parts)
    if hint in (str, bool, dict):
        return isinstance(value, hint)
    # torch's optimizers take a number or a tensor; a word of a config is neither.
    return not (isinstance(value, str) and getattr(hint, "__name__", "") == "Tensor")


def _members_fit(values: list | tuple, hint: type, parts: tuple) -> bool:
    """``list[T]`` and ``tuple[T, ...]`` hold any number of T, ``tuple[T, U]`` one of each; bare ones hold anything."""
    if hint is tuple and parts and parts[-1] is not Ellipsis:
        return len(values) == len(parts) and all(_fits(v, part) for v, part in zip(values, parts, strict=True))
    return not parts or all(_fits(value, parts[0]) for value in values)


LOSSES = Registry("loss", "kdzoo.losses")
HEADS = Registry("head", "kdzoo.heads")
MODELS = Registry("model source", "kdzoo.models")
DATASETS = Registry("data set", "kdzoo.data")
AUGMENTS = Registry("augmentation", "kdzoo.data")
DETECTORS = Registry("detector", "kdzoo.robust.ood")
ATTACKS = Registry("attack", "kdzoo.robust.attacks")
OBJECTIVES = Registry("objective", "kdzoo.robust.objectives")  # losses that run the networks themselves
CHECKPOINTS = Registry("checkpoint source", "kdzoo.zoo")  # functions: what follows "NAME:" -> Path
CERTIFIERS = Registry("certifier", "kdzoo.robust.certify")
