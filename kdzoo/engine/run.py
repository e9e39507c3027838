"""One run: from a resolved config to a folder with weights, log and metrics."""

from pathlib import Path
from typing import Any

from kdzoo.config import Config
from kdzoo.engine import folder
from kdzoo.engine.experiment import locate, read_experiment
from kdzoo.engine.loop import Progress, fit
from kdzoo.engine.setup import Training, build_training
from kdzoo.errors import ConfigError


def train_run(
    config: Config, path: Path, label: str, resume: bool = False, device: str | None = None
) -> dict[str, Any]:
    """Train one seed of one config.

    Args:
        config: the resolved config, without ``runs`` and ``seeds``.
        path: the run's folder.
        label: the progress bar's name.
        resume: go on where the folder's checkpoint is; a finished run is returned as it is.
        device: ``"cpu"``, ``"cuda"`` or ``None`` for what there is.

    Returns:
        The final metrics, as in ``metrics.json``.
    """
    if resume:
        folder.check_same_config(path, config)
        if (metrics := folder.read_metrics(path)) is not None:
            return metrics
    try:
        training = build_training(read_experiment(config), device)
    except ConfigError as error:
        raise locate(error, config) from error
    if training.accelerator.is_main_process:
        if not resume:  # first, because a folder with a log is known as a run's, and may be set aside
            folder.write_text(path / folder.LOG, "")
        folder.write_text(path / folder.CONFIG, config.dump())
    training.accelerator.wait_for_everyone()
    progress = fit(training, path, label, resume)
    metrics = _metrics(config, training, progress)
    if training.accelerator.is_main_process:
        folder.write_json(path / folder.METRICS, metrics)
    training.accelerator.wait_for_everyone()
    return metrics


def _metrics(config: Config, training: Training, progress: Progress) -> dict[str, Any]:
    experiment, data = training.experiment, training.data
    metrics = dict(
        name=experiment.name or Path(config.file or "run").stem,
        config=config.file,
        seed=experiment.seed,
        epochs=experiment.epochs,
        data=experiment.data["type"],
        train_images=data.train.size,
        test_images=data.test.size,
        **training.facts,
        losses=experiment.losses,
        last=progress.last,
        best=progress.best,
        seconds=round(progress.seconds, 1),
        images_per_second=round(progress.images / max(progress.seconds, 1e-9), 1),
        device=_device_name(training),
        processes=training.accelerator.num_processes,
        precision=training.settings.precision,
        unreadable_images=len(data.train.broken),
        versions=folder.versions(),
        git=folder.git_revision(),
    )
    if training.cache is not None:
        metrics["teacher_cache"] = dict(computed=training.cache.computed, served=training.cache.served)
    return metrics


def _device_name(training: Training) -> str:
    device = training.accelerator.device
    if device.type != "cuda":
        return device.type
    import torch

    return torch.cuda.get_device_name(device)
