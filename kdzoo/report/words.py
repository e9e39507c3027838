"""Numbers and settings in words."""

from collections.abc import Mapping, Sequence
from typing import Any

from kdzoo.report.stats import Gain

NOTHING = "–"


def losses_in_words(losses: Sequence[Mapping[str, Any]]) -> str:
    """``"0.1 × CrossEntropy + 9 × KD(temperature=2, standardize)"``; a weight of 1 is not said.

    A setting that is ``True`` is its name alone; one that is ``False`` or ``None`` is left out.
    """
    return " + ".join(_loss(loss) for loss in losses) or NOTHING


def _loss(loss: Mapping[str, Any]) -> str:
    settings = []
    for name, value in loss.items():
        if name in ("type", "weight") or value is False or value is None:
            continue
        settings.append(name if value is True else f"{name}={number(value)}")
    weight = loss.get("weight", 1)
    front = "" if weight == 1 else f"{number(weight)} × "
    return front + str(loss.get("type", "?")) + (f"({', '.join(settings)})" if settings else "")


def number(value: Any) -> str:
    """A setting as short as it can be told: ``2.0`` is ``2``, ``0.1`` stays."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def count(value: int | None) -> str:
    """``83204`` -> ``"83,204"``."""
    return NOTHING if value is None else f"{value:,}"


def duration(seconds: float | None) -> str:
    """``"4.2 s"``, ``"5 min 1 s"``, ``"2 h 5 min"``."""
    if seconds is None:
        return NOTHING
    if seconds < 59.5:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def gain_in_words(gain: Gain) -> str:
    """The difference between a distilled student and the same network alone, with its uncertainty."""
    over_seeds = gain.spread
    text = f"{over_seeds.mean:+.2f}" + (f" ± {over_seeds.sd:.2f}" if over_seeds.sd is not None else "")
    text += " points of last top-1"
    if gain.interval is None:
        return f"{text} (one seed, so no deviation is known)"
    low, high = gain.interval
    return (
        f"{text}, better in {gain.wins} of {over_seeds.n} seeds "
        f"(paired 95 % interval {low:+.2f} to {high:+.2f})"
    )
