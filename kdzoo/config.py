"""Config files: plain Python, one assignment a key, with inheritance and overrides.

    # configs/cifar100/lskd/resnet32x4-resnet8x4.py
    _base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py"]
    pair = "resnet32x4-resnet8x4"

The dialect is that of mmengine (``_base_``, ``_delete_``, ``a.b=1`` overrides), so the same
files load in its Config too. A config file is code: run only those you trust.
"""

import ast
import copy
import math
import pprint
import re
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from kdzoo.errors import ConfigError

BASE, DELETE = "_base_", "_delete_"
COMMAND_LINE = "--cfg-options"


class Section(dict):
    """A dict whose keys are attributes as well: ``cfg.optimizer.lr``."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value


class Config(Section):
    """A resolved config. Build one with ``Config.from_file`` or from a dict.

    Args:
        values: the top-level keys.
        file: where it came from, for error messages.
        origins: dotted path -> the file (or ``--cfg-options``) that set it.

    Example:
        >>> cfg = Config.from_file("configs/quickstart.py", overrides={"optimizer.lr": 0.1})
        >>> cfg.optimizer.lr
        0.1
    """

    def __init__(self, values: Mapping[str, Any], file: str | None = None, origins: dict[str, str] | None = None):
        super().__init__(_wrap(dict(values)))
        object.__setattr__(self, "file", file)
        object.__setattr__(self, "origins", dict(origins or {}))

    @classmethod
    def from_file(cls, path: str | Path, overrides: Mapping[str, Any] | Sequence[str] | None = None) -> "Config":
        """Read a config file, its bases and the overrides.

        Args:
            path: the file.
            overrides: ``{"optimizer.lr": 0.05}`` or the words of the command line,
                ``["optimizer.lr=0.05", "losses.1.weight=3"]``.

        Raises:
            ConfigError: no such file, a syntax error, a cyclic base, an override that fits nowhere.
        """
        origins: dict[str, str] = {}
        values = _read(Path(path), (), origins)
        config = cls(values, str(path), origins)
        return config.override(overrides) if overrides else config

    def override(self, overrides: Mapping[str, Any] | Sequence[str], origin: str = COMMAND_LINE) -> "Config":
        """A copy with some values replaced; dotted keys reach into dicts and, by number, into lists."""
        if not isinstance(overrides, Mapping):
            overrides = dict(parse_override(word) for word in overrides)
        values, origins = self.to_dict(), dict(self.origins)
        for key, value in overrides.items():
            _check_plain(value, key, origin)
            _set(values, key, value, origin)
            origins[key] = origin
        return Config(values, self.file, origins)

    def to_dict(self) -> dict[str, Any]:
        """A deep copy made of plain dicts and lists."""
        return _unwrap(self)

    def dump(self) -> str:
        """Python source that reads back to the same config."""
        lines = [
            f"{key} = {pprint.pformat(value, width=100, sort_dicts=False)}" for key, value in self.to_dict().items()
        ]
        return "\n".join(lines) + "\n"

    def origin(self, place: str) -> str | None:
        """The file that set ``place`` (say ``losses[1]``), or the nearest thing around it."""
        path = re.sub(r"\[(\d+)\]", r".\1", place)
        while path:
            if path in self.origins:
                return self.origins[path]
            path = path.rpartition(".")[0]
        return self.file

    def __deepcopy__(self, memo: dict) -> "Config":
        return Config(self.to_dict(), self.file, self.origins)


def parse_override(word: str) -> tuple[str, Any]:
    """``"losses.1.weight=3"`` -> ``("losses.1.weight", 3)``; what is no Python literal stays a string."""
    key, equals, text = word.partition("=")
    if not equals or not key:
        raise ConfigError(f"expected KEY=VALUE, got {word!r}; write for example optimizer.lr=0.05", file=COMMAND_LINE)
    try:
        return key, ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):  # what literal_eval documents
        return key, text


def merge(base: dict[str, Any], child: Mapping[str, Any]) -> dict[str, Any]:
    """A new dict: ``child`` over ``base``, dict into dict; all else is replaced.

    A dict in ``child`` with ``_delete_=True`` replaces the base's dict instead of merging into it.
    """
    merged = copy.deepcopy(base)
    for key, value in child.items():
        if isinstance(value, Mapping):
            value = dict(value)
            replace = value.pop(DELETE, False)
            inherited = merged.get(key)
            value = merge(inherited if isinstance(inherited, dict) and not replace else {}, value)
        merged[key] = copy.deepcopy(value)
    return merged


def _read(path: Path, above: tuple[Path, ...], origins: dict[str, str]) -> dict[str, Any]:
    """Run one file over its bases; ``above`` are the files that led here."""
    resolved = path.resolve()
    if resolved in above:
        chain = " -> ".join(p.name for p in (*above[above.index(resolved) :], resolved))
        raise ConfigError(f"cyclic {BASE}: {chain}; remove one of them", file=str(path))
    if not path.is_file():
        led = f" (named as a base of {above[-1].name})" if above else ""
        raise ConfigError(f"no such config file{led}; check the path", file=str(path))
    own = _run(path)
    bases = own.pop(BASE, [])
    if isinstance(bases, str):
        bases = [bases]
    if not isinstance(bases, (list, tuple)) or not all(isinstance(b, str) for b in bases):
        raise ConfigError(f"{BASE} must be a path or a list of paths, got {bases!r}", file=str(path))
    values: dict[str, Any] = {}
    for base in bases:
        values = merge(values, _read(path.parent / base, (*above, resolved), origins))
    _note_origins(own, "", str(path), origins)
    return merge(values, own)


def _run(path: Path) -> dict[str, Any]:
    """The public assignments of one file."""
    scope: dict[str, Any] = {"__file__": str(path), "__name__": path.stem}
    try:
        source = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"can't be read ({error}); expected Python source in UTF-8", file=str(path)) from error
    try:
        exec(compile(source, str(path), "exec"), scope)
    except SyntaxError as error:
        raise ConfigError(f"line {error.lineno} is not Python: {error.msg}", file=str(path)) from None
    except (Exception, SystemExit) as error:
        line = error.__traceback__.tb_next.tb_lineno if error.__traceback__.tb_next else "?"
        raise ConfigError(f"line {line}: {type(error).__name__}: {error}", file=str(path)) from error
    hidden = (types.ModuleType, types.FunctionType, type)
    values = {k: v for k, v in scope.items() if not k.startswith("__") and not isinstance(v, hidden)}
    for key, value in values.items():
        _check_plain(value, key, str(path))
    return values


def _check_plain(value: Any, place: str, file: str) -> None:
    """Only values that can be written down again: the run's folder keeps the resolved config."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"keys must be strings, got {key!r}", place, file)
            _check_plain(item, f"{place}.{key}", file)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            _check_plain(item, f"{place}[{number}]", file)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"expected a finite number, got {value}", place, file)
    elif type(value) not in (str, int, float, bool, type(None)):  # a subclass, say NumPy's, has a repr of its own
        raise ConfigError(f"expected a number, string, list or dict, got a {type(value).__name__}", place, file)


def _note_origins(value: Any, path: str, file: str, origins: dict[str, str]) -> None:
    if isinstance(value, Mapping):
        if path and value.get(DELETE):
            for stale in [p for p in origins if p.startswith(path + ".")]:
                del origins[stale]
        for key, item in value.items():
            _note_origins(item, f"{path}.{key}" if path else key, file, origins)
    if path:
        origins[path] = file


def _set(values: dict[str, Any], key: str, value: Any, origin: str) -> None:
    """Set a dotted key in place."""
    *way, last = key.split(".")
    holder: Any = values
    for depth, step in enumerate(way):
        here = ".".join(way[: depth + 1])
        if isinstance(holder, list):
            holder = holder[_index(holder, step, here, origin)]
        else:
            if holder.get(step) is None:
                holder[step] = {}
            holder = holder[step]
        if isinstance(holder, tuple):
            raise ConfigError("is a tuple and can't be changed in part; give it whole", here, origin)
        if not isinstance(holder, (dict, list)):
            raise ConfigError(f"is {holder!r}, so it has no {key!r}; check the key", here, origin)
    if isinstance(holder, list):
        holder[_index(holder, last, key, origin)] = value
    else:
        holder[last] = value


def _index(holder: list, step: str, place: str, origin: str) -> int:
    if not step.isdecimal() or int(step) >= len(holder):
        raise ConfigError(f"expected a number from 0 to {len(holder) - 1}, got {step!r}", place, origin)
    return int(step)


def _wrap(value: Any) -> Any:
    if isinstance(value, Mapping):
        return Section((k, _wrap(v)) for k, v in value.items())
    if isinstance(value, (list, tuple)):
        return type(value)(_wrap(v) for v in value)
    return value


def _unwrap(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _unwrap(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_unwrap(v) for v in value)
    return copy.deepcopy(value)
