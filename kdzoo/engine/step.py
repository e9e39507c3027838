"""One optimizer step."""

from contextlib import nullcontext

import numpy as np
from torch import Tensor

from kdzoo.data import Batch
from kdzoo.distill import AlignedGradients, StepLosses
from kdzoo.engine.meters import CURE, Meters
from kdzoo.engine.setup import Training
from kdzoo.errors import UserError


def train_step(training: Training, batch: Batch, meters: Meters, number: int) -> None:
    """One optimizer step; nothing in it waits for the device."""
    accelerator, experiment = training.accelerator, training.experiment
    inputs = _inputs(training, batch)
    aligned = AlignedGradients(training.distiller.parameters()) if experiment.align_gradients else None
    parts = training.settings.accumulate
    usual = experiment.batch_size // accelerator.num_processes // parts  # images of a part of a full batch
    spans = _spans(len(batch.images), parts, least=min(2, usual))
    for span in spans:
        images, *rest = (None if x is None else x[span] for x in inputs)
        share = batch.weight * len(images) / len(batch.images)
        alone = accelerator.no_sync(training.distiller) if aligned or span is not spans[-1] else nullcontext()
        with alone:
            losses = _forward(training, images, rest, number)
            if aligned is None:
                accelerator.backward(losses.total * share)
            else:
                scaled = accelerator.scaler.scale if accelerator.scaler is not None else _same
                aligned.add(*(scaled(part * share) for part in training.raw.split(losses)))
        meters.update(losses._replace(terms=losses.terms.detach()), len(images), number)
    if aligned is not None:
        several = accelerator.num_processes > 1
        aligned.write(reduce=(lambda flat: accelerator.reduce(flat, "mean")) if several else None)
    if experiment.clip_grad is not None:
        accelerator.clip_grad_norm_(training.distiller.parameters(), experiment.clip_grad)
    if training.step_cap is not None:
        training.step_cap.watch(batch.images)
    training.optimizer.step()
    # To None: a gradient is a CUDA graph's own memory, to which the next replay's would be added after it is there.
    training.optimizer.zero_grad(set_to_none=True)
    training.schedule.step()
    if training.ema is not None:
        training.ema.update(training.student)


def _inputs(training: Training, batch: Batch) -> list[Tensor | None]:
    """What the Distiller takes, in its order; what no loss asks for stays behind."""
    index = batch.index if training.raw.needs_index else None
    if index is not None:
        index = index.to(batch.images.device, non_blocking=True)
    second = batch.second if training.raw.needs_second else None
    return [batch.images, batch.target, training.teacher_logits(batch), index, second]


def _spans(size: int, parts: int, least: int = 1) -> list[slice]:
    """The rows of each part of a batch; fewer parts where they would hold under ``least`` images or none.

    Batch norm needs two, which full batches give it where the last, smaller one would not.
    """
    parts = max(1, min(parts, size // max(1, least)))
    ends = [size * (part + 1) // parts for part in range(parts)]
    return [slice(first, end) for first, end in zip([0, *ends], ends, strict=False) if end > first]


def _forward(training: Training, images: Tensor, rest: list[Tensor | None], number: int) -> StepLosses:
    try:
        return training.distiller(images, *rest)
    except ValueError as error:  # a loss refuses its inputs: NaN logits on the CPU, a missing index, a wrong size
        cure = f"; {CURE}" if "NaN" in str(error) else ""
        raise UserError(f"step {number}: {error}{cure}") from error


def _same(x: Tensor) -> Tensor:
    return x


def step_seed(training: Training, number: int) -> int:
    """Hashed to 32 bits: torch's CPU generator reads no more of its seed."""
    key = [training.experiment.seed, number, training.accelerator.process_index]
    return int(np.random.SeedSequence(key).generate_state(1)[0])
