"""The chart of certified accuracy against radius: steps with bands, as inline SVG in the page's colours."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from kdzoo.report.plot import COLOURS, swatch

SHAPES = {"wide": (960, 400), "narrow": (430, 300)}  # as in plot.py, a narrow twin for narrow screens
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 12, 44
DASHES = ("", "7 4", "2 3")


@dataclass(frozen=True)
class Curve:
    """One log.

    Args:
        label: in the legend.
        slot: the colour's number; beyond the colours the dashes change.
        radii: ascending.
        share: certified accuracy at each, in [0, 1].
        low, high: the band at each.
        steps: the share holds back to the radius before; else each radius stands alone, as a point.
    """

    label: str
    slot: int
    radii: list[float]
    share: list[float]
    low: list[float]
    high: list[float]
    steps: bool = True


def certified_chart(curves: Sequence[Curve]) -> str:
    """One ``<figure>`` with legend and SVG."""
    limit = _round_up(max(max(curve.radii, default=0.0) for curve in curves) * 1.04 or 1.0)
    legend = "".join(f"<li>{swatch(curve.slot)}{escape(curve.label)}</li>" for curve in curves)
    label = "Certified accuracy against L2 radius"
    plots = []
    for name, (width, height) in SHAPES.items():
        frame = _Frame(limit, width, height)
        drawn = [_steps(curve, frame) if curve.steps else _points(curve, frame) for curve in curves]
        plots.append(
            f'<div class="plot {name}"><svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}" '
            f'font-size="14">{frame.axes()}{"".join(drawn)}</svg></div>'
        )
    return (
        f'<figure class="chart"><figcaption><h3>{label}</h3><ul class="legend">{legend}</ul></figcaption>'
        f"{''.join(plots)}</figure>"
    )


@dataclass(frozen=True)
class _Frame:
    """From radius and share to the drawing's units."""

    limit: float
    width: int
    height: int

    def x(self, radius: float) -> float:
        return round(LEFT + (self.width - LEFT - RIGHT) * radius / self.limit, 1)

    def y(self, share: float) -> float:
        return round(self.height - BOTTOM - (self.height - TOP - BOTTOM) * share, 1)

    def axes(self) -> str:
        parts = []
        for share in (0, 0.2, 0.4, 0.6, 0.8, 1):
            y = self.y(share)
            parts.append(f'<path d="M{LEFT} {y}H{self.width - RIGHT}" stroke="var(--rule)" fill="none"/>')
            parts.append(_text(LEFT - 8, y + 5, f"{share:g}", "end"))
        most = self.width // 100
        step = next(step for step in (0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, self.limit) if self.limit / step <= most)
        for number in range(int(self.limit / step + 1e-9) + 1):
            parts.append(_text(self.x(number * step), self.height - BOTTOM + 20, f"{number * step:g}", "middle"))
        parts.append(_text((LEFT + self.width - RIGHT) / 2, self.height - 4, "L2 radius (pixels in [0, 1])", "middle"))
        return "".join(parts)


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" fill="var(--muted)">{escape(text)}</text>'


def _steps(curve: Curve, frame: _Frame) -> str:
    """At radius r the share of images certified at r or more: it holds on the left of each radius."""
    upper, lower = _path(curve.radii, curve.high, frame), _path(curve.radii, curve.low, frame)
    middle = _path(curve.radii, curve.share, frame)
    middle.append(f"{frame.x(curve.radii[-1])} {frame.y(0)}")  # beyond the last radius nothing is certified
    return (
        f'<path d="M{"L".join([*upper, *lower[::-1]])}Z" fill="{_colour(curve)}" opacity=".15"/>'
        f'<path d="M{"L".join(middle)}" fill="none" stroke="{_colour(curve)}" stroke-width="2"{_dash(curve)}/>'
    )


def _path(radii: Sequence[float], values: Sequence[float], frame: _Frame) -> list[str]:
    points = [f"{frame.x(0)} {frame.y(values[0])}"]
    for before, radius, value in zip([0.0, *radii], radii, values, strict=False):
        points += [f"{frame.x(before)} {frame.y(value)}", f"{frame.x(radius)} {frame.y(value)}"]
    return points


def _points(curve: Curve, frame: _Frame) -> str:
    """A dot with its interval at each decided radius."""
    parts = []
    for radius, share, low, high in zip(curve.radii, curve.share, curve.low, curve.high, strict=True):
        x, colour = frame.x(radius), _colour(curve)
        parts.append(f'<path d="M{x} {frame.y(low)}V{frame.y(high)}" stroke="{colour}" stroke-width="2"/>')
        parts.append(f'<circle cx="{x}" cy="{frame.y(share)}" r="4.5" fill="{colour}"/>')
    return "".join(parts)


def _colour(curve: Curve) -> str:
    return f"var(--s{curve.slot % COLOURS})"


def _dash(curve: Curve) -> str:
    dash = DASHES[curve.slot // COLOURS % len(DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


def _round_up(limit: float) -> float:
    """The next quarter: the axis ends at a round number."""
    return -(-limit // 0.25) * 0.25
