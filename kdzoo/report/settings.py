"""Section: what a reader needs to repeat each run."""

from collections.abc import Sequence
from html import escape

from kdzoo.report.groups import Group
from kdzoo.report.run import Run
from kdzoo.report.words import NOTHING, count, duration


def settings(groups: Sequence[Group]) -> str:
    """A folded block for each run."""
    return "".join(_run(group.label(run), run) for group in groups for run in group.runs)


def _run(label: str, run: Run) -> str:
    facts = {
        "status": run.status,
        "seed": NOTHING if run.seed is None else str(run.seed),
        "data": run.data,
        "images": f"{count(run.train_images)} to train, {count(run.test_images)} to test" if run.train_images else "",
        **run.facts,
        "time": duration(run.seconds) if run.seconds is not None else "",
        "throughput": "" if run.images_per_second is None else f"{run.images_per_second:,.0f} images/s",
        "device": ", ".join(part for part in (run.device, run.precision) if part),
        "versions": ", ".join(f"{name} {version}" for name, version in run.versions.items()),
        "problems": "; ".join(run.problems),
    }
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    source = f"<pre><code>{escape(run.config)}</code></pre>" if run.config else "<p class=note>No config.py.</p>"
    status = "" if run.finished else f"<span class=badge>{escape(run.status)}</span>"
    return f"<details><summary>{escape(label)}{status}</summary><dl>{rows}</dl>{source}</details>"
