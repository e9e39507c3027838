"""ROC curves and score histograms of out-of-distribution detection."""

import numpy as np

from kdzoo.report.plot import COLOURS, EVERYONE, Line, line_chart

HISTOGRAMS = ("MSP", "Mahalanobis")  # and what was chosen for the pictures


def roc_curves(record: dict[str, np.ndarray]) -> str:
    """One chart a set: the detectors with the highest AUROC on it, and MSP to compare with."""
    charts = []
    grid = np.linspace(0, 100, record["roc"].shape[2])
    for number, name in enumerate(record["sets"]):
        aurocs = record["auroc"][number]
        order = np.argsort(-aurocs, kind="stable")[: COLOURS - 2].tolist()
        names = [str(detector) for detector in record["detectors"]]
        if "MSP" in names and names.index("MSP") not in order:
            order.append(names.index("MSP"))
        lines = [
            Line(
                f"{names[place]} ({100 * aurocs[place]:.1f})", EVERYONE if names[place] == "MSP" else slot,
                grid.round(4).tolist(), (100 * record["roc"][number, place]).tolist(), [],
            )
            for slot, place in enumerate(order)
        ]  # fmt: skip
        note = "True positives in percent (in-distribution kept); AUROC in brackets."
        charts.append(line_chart(f"ROC: {name}", lines, note, x_label="false positives, %"))
    return f'<div class="charts">{"".join(charts)}</div>'


def histograms(record: dict[str, np.ndarray]) -> str:
    """Scores of the test set against those of each set, for some detectors."""
    names = [str(detector) for detector in record["detectors"]]
    chosen = [name for name in dict.fromkeys([*HISTOGRAMS, str(record["chosen"])]) if name in names]
    charts = []
    for name in chosen:
        place = names.index(name)
        for number, part in enumerate(record["sets"]):
            edges = record["edges"][number, place]
            middle = [float(f"{x:.4g}") for x in (edges[1:] + edges[:-1]) / 2]
            lines = [
                Line(label, slot, middle, (100 * record[key][number, place]).tolist(), [])
                for slot, (label, key) in enumerate([("test set", "counts_id"), (str(part), "counts_ood")])
            ]
            note = "Percent of the images a bin; higher scores are more in-distribution."
            charts.append(line_chart(f"{name}: scores on {part}", lines, note, x_label="score"))
    return f'<div class="charts">{"".join(charts)}</div>'
