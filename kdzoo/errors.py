"""Errors a user can mend. The tools print them as one line, without a stack trace."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """What was wrong, what was expected and what to do, in one sentence."""


class ConfigError(UserError):
    """A mistake in a config.

    Args:
        message: what is wrong and what was expected.
        place: where in the config, as a dotted path (``"losses[1]"``).
        file: the file (or ``"--cfg-options"``) that set it; filled in by whoever knows it.
    """

    def __init__(self, message: str, place: str = "", file: str | None = None):
        super().__init__(message)
        self.message, self.place, self.file = message, place, file

    def __str__(self) -> str:
        return ": ".join(str(part) for part in (self.file, self.place, self.message) if part)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """``" (did you mean 'temperature'?)"``, or the known names where none is near."""
    known = sorted(str(k) for k in known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.6)
    if not near:
        lower = {k.lower(): k for k in known}
        near = [lower[k] for k in difflib.get_close_matches(str(name).lower(), lower, n=3, cutoff=0.6)]
    if near:
        return f" (did you mean {' or '.join(repr(n) for n in near)}?)"
    if not known:
        return " (there are none)"
    return f" (known: {', '.join(known[:40])}{', ...' if len(known) > 40 else ''})"
