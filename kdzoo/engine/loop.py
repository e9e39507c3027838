"""The training loop: epochs, evaluation, checkpoints."""

import copy
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from kdzoo.engine import checkpoint, folder
from kdzoo.engine.bar import Bar
from kdzoo.engine.evaluate import confusion_matrix, gather_rows, predict, score, write_evaluation
from kdzoo.engine.interrupt import Interrupt, Interrupted
from kdzoo.engine.meters import Meters, NonFiniteLoss
from kdzoo.engine.setup import Training
from kdzoo.engine.step import step_seed, train_step
from kdzoo.engine.tensorboard import scalar_writer, write_scalars
from kdzoo.files import told
from kdzoo.models import save_weights


@dataclass
class Progress:
    """Where a run is; what a checkpoint holds beside weights and optimizer."""

    epoch: int = 0  # epochs finished
    step: int = 0  # steps done of the epoch under way
    seconds: float = 0.0  # spent so far, over all sittings
    epoch_seconds: float = 0.0  # of the epoch under way
    images: int = 0  # trained on so far
    last: dict[str, Any] = field(default_factory=dict)
    best: dict[str, Any] = field(default_factory=dict)
    best_weights: dict[str, Tensor] | None = None


def fit(training: Training, path: Path, label: str, resume: bool) -> Progress:
    """Train to the end (or until asked to stop), writing into the run's folder as it goes."""
    progress, meters = Progress(), Meters(training.names, training.accelerator.device)
    if resume:
        _resume(training, path, progress, meters)
    scalars = scalar_writer(training, path, progress.epoch)
    with Interrupt() as interrupt, Bar(training, progress, label) as bar, scalars as writer:
        saved = time.monotonic()
        while progress.epoch < training.experiment.epochs:
            saved = _epoch(training, path, label, progress, meters, interrupt, bar, saved)
            _finish_epoch(training, path, progress, meters, bar, writer)
            meters = Meters(training.names, training.accelerator.device)
            over = progress.epoch == training.experiment.epochs
            if _due(training, saved) or over:
                save(training, path, progress, None)
                saved = time.monotonic()
        if _any(training, interrupt.asked):  # during the last evaluation: a study must not go on to its next run
            raise Interrupted(f"stopped {label} after its last epoch")
    write_last(training, path, progress)
    return progress


def _epoch(
    training: Training, path: Path, label: str, progress: Progress, meters: Meters, interrupt, bar, saved: float
) -> float:
    """The rest of one epoch; returns when the last checkpoint was written."""
    settings, epoch = training.settings, progress.epoch
    length = len(training.data.train)
    training.distiller.train()
    training.raw.set_epoch(epoch)
    if training.natural is not None:
        training.natural.begin(training, progress.step)
    start = time.monotonic()
    for batch in training.data.train.epoch(epoch, progress.step):
        number = epoch * length + progress.step
        # Keyed by the step: dropout is the same whether or not the run was interrupted before.
        torch.manual_seed(step_seed(training, number))
        train_step(training, batch, meters, number + 1)
        if training.natural is not None:
            train_step(training.natural.training, batch, training.natural.meters, number + 1)
        progress.step += 1
        progress.images += len(batch.images)
        bar.advance()
        look = progress.step % settings.log_every == 0 or progress.step == length
        if look:
            _flush(training)
            bar.show(meters.read())
        # Under DDP all ranks must stop at one step, so the question goes round only where one waits anyway.
        if (look or training.accelerator.num_processes == 1) and _any(training, interrupt.asked):
            _account(progress, start)
            save(training, path, progress, meters)
            raise Interrupted(f"stopped {label} after {progress.epoch} epochs and {progress.step} steps")
        if look and progress.step < length and _due(training, saved):
            start = _account(progress, start)
            save(training, path, progress, meters)
            saved = time.monotonic()
    _account(progress, start)
    return saved


def _finish_epoch(training: Training, path: Path, progress: Progress, meters: Meters, bar, writer) -> None:
    """Evaluate, remember the best, write the log line."""
    experiment, accelerator = training.experiment, training.accelerator
    _flush(training)
    if training.natural is not None:
        training.natural.merge(training)
    means = meters.read(accelerator.reduce if accelerator.num_processes > 1 else None)
    progress.epoch, progress.step = progress.epoch + 1, 0
    line: dict[str, Any] = dict(
        epoch=progress.epoch,
        step=progress.epoch * len(training.data.train),
        lr=training.optimizer.param_groups[0]["lr"],
        loss=means.loss,
        terms=means.terms,
        train_top1=means.top1,
    )
    if progress.epoch % training.settings.evaluate_every == 0 or progress.epoch == experiment.epochs:
        start = time.monotonic()
        _share_statistics(training)
        _gather_weights(training)
        own = predict(training.evaluated, training.data.test.epoch(0), accelerator.autocast)
        logits, target = gather_rows(accelerator, *own)
        scores = score(logits, target)
        progress.last = dict(epoch=progress.epoch, **scores.asdict())
        line |= dict(test_top1=scores.top1, test_top5=scores.top5, test_nll=scores.nll)
        if not progress.best or scores.top1 > progress.best["top1"]:
            progress.best = dict(progress.last)
            progress.best_weights = {k: v.detach().cpu().clone() for k, v in training.evaluated.state_dict().items()}
        if progress.epoch == experiment.epochs and accelerator.is_main_process:
            confusion = confusion_matrix(logits, target)
            write_evaluation(path / folder.EVALUATION, confusion, *own, training.data.test, training.data.classes)
        progress.seconds += time.monotonic() - start
    rate = training.data.train.size / max(progress.epoch_seconds, 1e-9)
    line |= dict(seconds=round(progress.epoch_seconds, 3), images_per_second=round(rate, 1))
    progress.epoch_seconds = 0.0
    if accelerator.is_main_process:
        folder.append_log(path, line)
        if writer is not None:
            with told(path / "tensorboard"):
                write_scalars(writer, line)
    bar.told(line)


def _share_statistics(training: Training) -> None:
    """Give every process the main one's batch-norm statistics, which are the ones that are kept.

    DDP shares them as a forward begins; after the last step each process has its own, and would test another network.
    """
    accelerator = training.accelerator
    if accelerator.num_processes > 1 and training.whole is None:  # FSDP's is gathered
        for buffer in training.evaluated.buffers():
            torch.distributed.broadcast(buffer, 0)


def save(training: Training, path: Path, progress: Progress, meters: Meters | None) -> None:
    """Checkpoint: ``best.safetensors``, then ``last/state.pt``, from which the former can be made again."""
    accelerator = training.accelerator
    _check_finite(training, progress)
    sums = None if meters is None else meters.state(accelerator.reduce if accelerator.num_processes > 1 else None).cpu()
    state = checkpoint.model_and_optimizer_state(accelerator, training.distiller, training.optimizer)
    natural = None if training.natural is None else training.natural.state()
    if not accelerator.is_main_process:
        return
    state |= dict(
        epoch=progress.epoch,
        step=progress.step,
        seconds=progress.seconds,
        epoch_seconds=progress.epoch_seconds,
        images=progress.images,
        last=progress.last,
        best=progress.best,
        best_weights=progress.best_weights,
        schedule=_plain(training.schedule.state_dict()),
        scaler=accelerator.scaler.state_dict() if accelerator.scaler is not None else None,
        ema=training.ema.state_dict() if training.ema is not None else None,
        meters=sums,
        natural=_plain(natural),
    )
    write_best(training, path, progress)
    checkpoint.save_state(path / "last", state)


def _check_finite(training: Training, progress: Progress) -> None:
    """A gradient can overflow under a finite loss; such weights must not replace the last good state."""
    finite = torch.stack([p.detach().isfinite().all() for p in training.distiller.parameters()]).all()
    if not finite:
        raise NonFiniteLoss(
            f"the weights became NaN or infinite in epoch {progress.epoch + 1}, up to step {progress.step}; "
            "lower optimizer.lr or set clip_grad"
        )


def write_best(training: Training, path: Path, progress: Progress) -> None:
    """``best.safetensors``: the evaluated weights of the best epoch, under the network's own names."""
    if progress.best_weights is not None:
        _write_weights(training, path / folder.BEST, progress.best_weights, progress.best)


def write_last(training: Training, path: Path, progress: Progress) -> None:
    """``last.safetensors``: the evaluated weights of the last epoch."""
    _gather_weights(training)
    weights = training.evaluated.state_dict()
    if training.accelerator.is_main_process:
        _write_weights(training, path / folder.LAST, weights, progress.last)


def _write_weights(training: Training, path: Path, weights: dict[str, Tensor], scores: dict[str, Any]) -> None:
    model = copy.deepcopy(training.evaluated).cpu()
    model.load_state_dict(weights)
    facts = dict(epoch=str(scores["epoch"]), top1=f"{scores['top1']:.4f}", seed=str(training.experiment.seed))
    save_weights(model, path, facts)


def _resume(training: Training, path: Path, progress: Progress, meters: Meters) -> None:
    state = checkpoint.load_state(path / "last")
    if state is None:
        training.accelerator.print(f"{path} holds no checkpoint yet; starting at the first epoch")
        if training.accelerator.is_main_process:
            folder.rewind_log(path, 0)
        return
    checkpoint.load_model_and_optimizer(training.accelerator, training.distiller, training.optimizer, state)
    training.schedule.load_state_dict(state["schedule"])
    if state["scaler"] is not None and training.accelerator.scaler is not None:
        training.accelerator.scaler.load_state_dict(state["scaler"])
    if training.ema is not None and state["ema"] is not None:
        training.ema.load_state_dict(state["ema"])
    if state["meters"] is not None and training.accelerator.is_main_process:
        meters.load(state["meters"])
    if training.natural is not None:
        training.natural.load(state["natural"])
    for name in ("epoch", "step", "seconds", "epoch_seconds", "images", "last", "best", "best_weights"):
        setattr(progress, name, state[name])
    if training.accelerator.is_main_process:
        folder.rewind_log(path, progress.epoch)
        write_best(training, path, progress)
    training.accelerator.print(f"resumed {path} after epoch {progress.epoch}, step {progress.step}")


def _gather_weights(training: Training) -> None:
    """Under FSDP: the weights of all processes into the network that is evaluated, on every process."""
    if training.whole is None:
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights = get_model_state_dict(training.distiller, options=StateDictOptions(full_state_dict=True))
    own = {name.removeprefix("student."): x for name, x in weights.items() if name.startswith("student.")}
    training.whole.load_state_dict(own)


def _flush(training: Training) -> None:
    if training.cache is not None:
        training.cache.flush()


def _any(training: Training, asked: bool) -> bool:
    """Whether any process says so; all have to ask."""
    if training.accelerator.num_processes == 1:
        return asked
    flag = torch.tensor([int(asked)], device=training.accelerator.device)
    return bool(training.accelerator.reduce(flag, "sum").item())


def _due(training: Training, saved: float) -> bool:
    """Whether a checkpoint is due; of several processes the main one's clock decides, so that all save or none."""
    due = time.monotonic() - saved >= training.settings.checkpoint_seconds
    return _any(training, due and training.accelerator.is_main_process)


def _account(progress: Progress, start: float) -> float:
    """Add the time since ``start``; returns now."""
    now = time.monotonic()
    progress.seconds += now - start
    progress.epoch_seconds += now - start
    return now


def _plain(value: Any) -> Any:
    """Schedules keep dict subclasses (MultiStepLR a Counter), which ``weights_only`` loading refuses."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(v) for v in value)
    return value
