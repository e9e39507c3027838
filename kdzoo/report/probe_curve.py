"""The two-regimes curve: accuracy of two probes against the number of training samples, as text and picture."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from kdzoo.files import atomic_path
from kdzoo.heads.probes import ProbePoint

COLOURS = {"naive Bayes": "#0072b2", "logistic regression": "#d55e00"}


def summarise(points: Sequence[ProbePoint]) -> dict[str, list[tuple[int, float, float, float, int]]]:
    """Probe -> (samples, mean accuracy, sample standard deviation, mean seconds, draws), by samples."""
    curves: dict[str, list[tuple[int, float, float, float, int]]] = {}
    for probe in dict.fromkeys(point.probe for point in points):
        own = [point for point in points if point.probe == probe]
        for size in sorted({point.samples for point in own}):
            at = [point for point in own if point.samples == size]
            accuracy = [point.accuracy for point in at]
            sd = float(np.std(accuracy, ddof=1)) if len(at) > 1 else 0.0
            seconds = float(np.mean([point.seconds for point in at]))
            curves.setdefault(probe, []).append((size, float(np.mean(accuracy)), sd, seconds, len(at)))
    return curves


def curve_table(points: Sequence[ProbePoint]) -> list[str]:
    """Lines of text: one a size, test accuracy (mean and sample standard deviation over draws) of each probe."""
    curves = summarise(points)
    lines = [f"{'samples':>8}  " + "  ".join(f"{name + ' %':>26}" for name in curves)]
    for rows in zip(*curves.values(), strict=True):
        cells = "  ".join(f"{f'{mean:.2f} ± {sd:.2f} ({seconds:.2f} s)':>26}" for _, mean, sd, seconds, _ in rows)
        lines.append(f"{rows[0][0]:>8,}  {cells}")
    return lines


def draw_curve(points: Sequence[ProbePoint], title: str, path: str | Path) -> None:
    """Write the picture; bands are one sample standard deviation over the draws."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    for name, rows in summarise(points).items():
        size, mean, sd = (np.array([row[i] for row in rows]) for i in range(3))
        axes.plot(size, mean, marker="o", markersize=4, label=name, color=COLOURS.get(name))
        axes.fill_between(size, mean - sd, mean + sd, alpha=0.2, linewidth=0, color=COLOURS.get(name))
    axes.set_xscale("log")
    axes.set(xlabel="training samples", ylabel="test accuracy (%)", title=title)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
