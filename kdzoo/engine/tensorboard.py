"""The numbers of every epoch for TensorBoard."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kdzoo.engine.setup import Training
from kdzoo.files import told


@contextmanager
def scalar_writer(training: Training, path: Path, epochs: int) -> Iterator[Any]:
    """TensorBoard's writer; ``None`` where it is not wanted, or another process writes.

    Args:
        path: the run's folder.
        epochs: finished before; what lies in the folder of later ones is left out.
    """
    if not training.settings.tensorboard or not training.accelerator.is_main_process:
        yield None
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from torch.utils.tensorboard import SummaryWriter

    purge = epochs + 1 if epochs else None
    target = path / "tensorboard"
    with told(target):
        writer = SummaryWriter(str(target), purge_step=purge)
    hook, threading.excepthook = threading.excepthook, _quiet_writer
    try:
        yield writer
    finally:
        try:
            with told(target):  # it writes what it holds
                writer.close()
        finally:
            threading.excepthook = hook


def _quiet_writer(failure: Any) -> None:
    """TensorBoard's thread hands its error to whoever writes next; a stack trace of its own would tell it twice."""
    if type(failure.thread).__name__ != "_AsyncWriterThread":
        threading.__excepthook__(failure)


def write_scalars(writer, line: dict[str, Any]) -> None:
    for key, value in line.items():
        if key == "terms":
            for name, term in value.items():
                writer.add_scalar(f"terms/{name}", term, line["epoch"])
        elif key not in ("epoch", "step") and value is not None:
            writer.add_scalar(key, value, line["epoch"])
