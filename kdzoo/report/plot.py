"""Line charts as inline SVG whose colours are the page's own, so that they follow light and dark.

matplotlib draws lines, ticks and numbers only. Titles, legends and the values under the pointer
are HTML: they wrap on a phone, and no text of a file reaches matplotlib's formula parser.
"""

import io
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

COLOURS = 8  # the style sheet's --s0 to --s7; beyond them the dashes change
DASHES = ("-", (0, (4, 2)), (0, (1, 1.5)))
EVERYONE = -1  # the slot of a line that stands for all groups

# Colours only matplotlib's output holds, each replaced by a variable of the style sheet.
_INK, _GRID, _EVERYONE = "#010203", "#010204", "#010205"
_VARIABLES = {_INK: "var(--muted)", _GRID: "var(--rule)", _EVERYONE: "var(--ink)"}
_SERIES = [f"#0102{16 + slot:02x}" for slot in range(COLOURS)]
_VARIABLES |= {colour: f"var(--s{slot})" for slot, colour in enumerate(_SERIES)}

_HEIGHT, _NARROW, _WIDE = 2.6, 4.6, 9.55  # inches; wide is two narrow ones and the gap between


@dataclass(frozen=True)
class Line:
    """One curve.

    Args:
        label: its name in the legend.
        slot: the group's number, which gives the colour; ``EVERYONE`` for a neutral one.
        epochs: x, ascending (of other charts than curves over epochs: what their axis says).
        mean: y.
        sd: half the height of the band around it at each x; empty for no band.
    """

    label: str
    slot: int
    epochs: list[int] | list[float]
    mean: list[float]
    sd: list[float]


def line_chart(
    title: str, lines: Sequence[Line], note: str = "", wide: bool = False, x_label: str = "epoch"
) -> str:
    """One ``<figure>``; a wide one spans two columns and has a narrow twin for narrow screens."""
    shapes = [(_NARROW, "narrow"), (_WIDE, "wide")] if wide else [(_NARROW, "")]
    plots = "".join(_plot(title, lines, width, name, x_label) for width, name in shapes)
    legend = "".join(f"<li>{swatch(line.slot)}{escape(line.label)}</li>" for line in lines)
    note = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f'<figure class="chart{" hero" if wide else ""}"><figcaption><h3>{escape(title)}</h3>{note}'
        f'<ul class="legend">{legend}</ul></figcaption>{plots}</figure>'
    )


def swatch(slot: int) -> str:
    """A short piece of the group's line."""
    if slot == EVERYONE:
        return '<i class="swatch" style="--c:var(--ink)"></i>'
    dash = ("", " dashed", " dotted")[slot // COLOURS % len(DASHES)]
    return f'<i class="swatch{dash}" style="--c:var(--s{slot % COLOURS})"></i>'


def _plot(title: str, lines: Sequence[Line], width: float, name: str, x_label: str) -> str:
    """The SVG, with what the pointer needs to read values off it."""
    svg, limits, span = _draw(title, lines, width, x_label)
    data = {
        "axis": x_label,
        "limits": limits,
        "span": span,
        "lines": [
            {
                "label": line.label,
                "slot": "ink" if line.slot == EVERYONE else f"s{line.slot % COLOURS}",
                "x": line.epochs,
                "y": [_short(value) for value in line.mean],
                "sd": [_short(value) for value in line.sd],
            }
            for line in lines
        ],
    }
    return (
        f'<div class="plot {name}" data-chart="{escape(json.dumps(data, separators=(",", ":")))}">{svg}'
        '<i class="cursor"></i><div class="readout"></div></div>'
    )


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _draw(title: str, lines: Sequence[Line], width: float, x_label: str) -> tuple[str, list[float], list[float]]:
    """The SVG's text, the x limits, and where they lie as shares of its width."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # svg.* can only be set there; the salt keeps the clip paths of two charts apart.
    settings = {"svg.fonttype": "none", "svg.hashsalt": f"{title} {width}", "text.usetex": False}
    with matplotlib.rc_context(settings):
        figure = Figure(figsize=(width, _HEIGHT))
        FigureCanvasSVG(figure)
        left, right = 0.5 / width, 1 - 0.1 / width
        axes = figure.add_axes((left, 0.155, right - left, 0.815))
        for line in lines:
            colour = _EVERYONE if line.slot == EVERYONE else _SERIES[line.slot % COLOURS]
            dash = DASHES[max(line.slot, 0) // COLOURS % len(DASHES)]
            marker = "o" if len(line.epochs) == 1 else None
            if line.sd:
                low = [mean - sd for mean, sd in zip(line.mean, line.sd, strict=True)]
                high = [mean + sd for mean, sd in zip(line.mean, line.sd, strict=True)]
                axes.fill_between(line.epochs, low, high, color=colour, alpha=0.18, linewidth=0)
            axes.plot(line.epochs, line.mean, color=colour, linestyle=dash, linewidth=1.7, marker=marker, markersize=4)
        axes.margins(x=0.02, y=0.06)
        ticks = 12 if width > _NARROW else 6
        axes.xaxis.set_major_locator(MaxNLocator(nbins=ticks, steps=[1, 2, 5, 10], integer=x_label == "epoch"))
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.set_xlabel(x_label, color=_INK, fontsize=10, labelpad=2)
        axes.grid(axis="y", color=_GRID, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.tick_params(colors=_INK, labelsize=10, length=0, pad=5)
        axes.yaxis.get_offset_text().set_color(_INK)
        for side, spine in axes.spines.items():
            spine.set(visible=side == "bottom", color=_GRID)
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        limits = [float(limit) for limit in axes.get_xlim()]
    return _themed(buffer.getvalue(), title), limits, [left, right]


def _themed(svg: str, title: str) -> str:
    """matplotlib's file as an inline element: no prologue, no metadata, no foreign names, the page's colours."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'(?<=<g) id="[^"]*"', "", svg)  # the same in every chart, and nobody refers to them
    view = re.search(r'viewBox="[^"]*"', svg)[0]
    svg = f'<svg {view} role="img" aria-label="{escape(title)}">' + svg[svg.index(">") + 1 :]
    svg = svg.replace("xlink:href", "href")
    for colour, variable in _VARIABLES.items():
        svg = svg.replace(colour, variable)
    return re.sub(r"\n\s*", "\n", svg)
