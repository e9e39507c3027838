"""kdzoo's own training step, as a config makes it: ``build_training`` and ``train_step`` of the engine."""

import io
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from itertools import chain, count
from typing import Any

import torch

from kdzoo.config import Config
from kdzoo.data import Batch
from kdzoo.engine.experiment import Experiment, read_experiment
from kdzoo.engine.meters import Meters
from kdzoo.engine.setup import build_training
from kdzoo.engine.step import train_step

EPOCHS = 240


def experiment(data: dict, teacher: str, student: str, batch_size: int, runtime: dict[str, Any]) -> Experiment:
    """KD by the CIFAR-100 recipe, with untrained networks: a step's speed does not depend on the weights."""
    return read_experiment(Config(dict(
        data=data,
        augment=[dict(type="PadCrop", padding=4), dict(type="Flip")],
        teacher=dict(name=teacher),
        student=dict(name=student),
        losses=[dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=4.0, weight=0.9)],
        epochs=EPOCHS,
        batch_size=batch_size,
        optimizer=dict(type="SGD", lr=0.05, momentum=0.9, weight_decay=5e-4),
        schedule=dict(type="MultiStep", milestones=[150, 180, 210]),
        runtime=dict(tensorboard=False, **runtime),
    )))


def mean_known(epochs: int = EPOCHS, views: int = 162) -> float:
    """Share of the views drawn by a whole run that it drew before, starting from an empty cache.

    An image's view is one of V, at random in each of E epochs: in the e-th it is new with probability
    ((V - 1) / V)^(e - 1). Pad-4 crop and flip have 9 * 9 * 2 views.
    """
    return 1 - views * (1 - (1 - 1 / views) ** epochs) / epochs


class KdzooLoop:
    """The engine's loop over batches, as something that can be timed.

    Args:
        name: in the table.
        experiment: what to train.
        device: ``"cpu"`` or ``"cuda"``.
        limit: name of the bare model that bounds it, if one does.
    """

    def __init__(self, name: str, experiment: Experiment, device: str, limit: str | None):
        self.name, self.limit, self.precision = name, limit, experiment.settings.precision
        self.training = quietly_built(experiment, device)

    def steps(self, number: int, count: int) -> Iterator[int]:
        """``count`` training steps as the engine's epochs do them; yields the images of each."""
        training = self.training
        meters = Meters(training.names, training.accelerator.device)
        training.distiller.train()
        for step, batch in zip(range(1, count + 1), self.batches(number), strict=False):
            torch.manual_seed(step)
            train_step(training, batch, meters, step)
            if step % training.settings.log_every == 0:
                meters.read()
            yield len(batch.images)

    def batches(self, number: int) -> Iterator[Batch]:
        """Endless batches, the same ones for the same round: epoch ``number`` and those that follow."""
        return chain.from_iterable(self.training.data.train.epoch(epoch) for epoch in count(number))

    def fill_cache(self, rounds: int, steps: int, share: float = 1.0) -> None:
        """Ask the teacher for the views that ``steps`` steps of each of these rounds will draw.

        To be called before another loop is built: accelerate's autocast is that of the last one.

        Args:
            rounds, steps: whose views.
            share: of the views, at random, that are asked for.
        """
        generator = torch.Generator().manual_seed(0)
        for number in range(rounds):
            for _, batch in zip(range(steps), self.batches(number), strict=False):
                known = torch.rand(len(batch.index), generator=generator) < share
                where = known.to(batch.images.device)
                some = replace(batch, index=batch.index[known], view=batch.view[known], images=batch.images[where])
                self.training.teacher_logits(some)
            self.training.cache.flush()


def quietly_built(experiment: Experiment, device: str):
    """``build_training`` without its warning that the teacher scores at chance, as here it must."""
    told = io.StringIO()
    with redirect_stdout(told):
        training = build_training(experiment, device)
    for line in told.getvalue().splitlines():
        if not line.startswith("warning: the teacher"):
            print(line)
    return training
