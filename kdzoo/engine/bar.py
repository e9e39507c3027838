"""The progress bar of a run."""

import sys
import time
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from kdzoo.engine.meters import Means
from kdzoo.engine.setup import Training

if TYPE_CHECKING:  # loop imports this module
    from kdzoo.engine.loop import Progress


class Bar:
    """The progress bar of one run: steps, ETA, images/s, losses, accuracy. Silent but on the main process."""

    def __init__(self, training: Training, progress: "Progress", label: str):
        length = len(training.data.train)
        self.epochs, self.progress, self.text = training.experiment.epochs, progress, {}
        self.bar = tqdm(
            total=self.epochs * length,
            initial=progress.epoch * length + progress.step,
            desc=label,
            unit="step",
            disable=not training.accelerator.is_main_process,
            dynamic_ncols=True,
            mininterval=0.5 if sys.stderr.isatty() else 20,
            bar_format="{desc} {percentage:3.0f}% [{elapsed} < {remaining}]{postfix}",
        )
        self.images, self.start = progress.images, time.monotonic()

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.close()

    def advance(self) -> None:
        self.bar.update()

    def show(self, means: Means) -> None:
        rate = (self.progress.images - self.images) / max(1e-9, time.monotonic() - self.start)
        self.text |= {"epoch": f"{self.progress.epoch + 1}/{self.epochs}", "img/s": f"{rate:,.0f}"}
        self.text |= {name: f"{value:.3f}" for name, value in means.terms.items()}
        self._write()

    def told(self, line: dict[str, Any]) -> None:
        if "test_top1" in line:
            self.text["test"] = f"{line['test_top1']:.2f} %"
        self._write()

    def _write(self) -> None:
        self.bar.set_postfix_str("  ".join(f"{k} {v}" for k, v in self.text.items()), refresh=False)
