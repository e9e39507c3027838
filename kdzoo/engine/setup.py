"""From an experiment to everything that trains: data, networks, losses, optimizer, schedule."""

import copy
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import AutocastKwargs, DistributedType
from timm.utils import ModelEmaV3
from torch import Tensor, nn

from kdzoo.data import Batch, Data, build_data
from kdzoo.distill import Distiller, EnsembleTeacher, TeacherCache, build_terms, check_term, loss_context
from kdzoo.distill.teacher_cache import CacheCard
from kdzoo.engine.evaluate import gather_rows, predict, score
from kdzoo.engine.experiment import Experiment, Network, Runtime
from kdzoo.engine.natural import Natural, build_natural, read_settings
from kdzoo.engine.network import build_network
from kdzoo.engine.optim import build_optimizer, build_schedule
from kdzoo.engine.step_cap import StepCap
from kdzoo.errors import ConfigError, UserError
from kdzoo.models import Classifier, weights_hash
from kdzoo.models.classifier import classifier_of
from kdzoo.models.factory import find_source
from kdzoo.registry import AUGMENTS, DATASETS, HEADS
from kdzoo.zoo.cache import cache_folder
from kdzoo.zoo.index import find_entry


@dataclass
class Training:
    """All parts of one run, placed on their devices and prepared by accelerate."""

    experiment: Experiment
    settings: Runtime
    accelerator: Accelerator
    data: Data
    student: Classifier
    raw: Distiller
    distiller: nn.Module  # the same, as accelerate wraps it
    optimizer: Any
    schedule: torch.optim.lr_scheduler.LRScheduler
    names: list[str]  # of the loss terms
    facts: dict[str, Any]  # what the run's record says of student and teacher
    step_cap: StepCap | None = None
    ema: ModelEmaV3 | None = None
    cache: TeacherCache | None = None
    teacher: Classifier | None = None
    natural: Natural | None = None  # with project_gradients
    whole: Classifier | None = None  # under FSDP: the student with all its weights, which loop.py gathers into it

    @property
    def evaluated(self) -> Classifier:
        """The network that is evaluated and kept: the moving average where there is one, no shards of FSDP's."""
        if self.ema is not None:
            return self.ema.module
        return self.student if self.whole is None else self.whole

    def teacher_logits(self, batch: Batch) -> Tensor | None:
        """Cached teacher logits [B, C] of a batch; ``None`` without a cache."""
        if self.cache is None:
            return None
        return self.cache.logits(batch.index, batch.view, batch.images, self._teach)

    @torch.no_grad()
    def _teach(self, images: Tensor) -> Tensor:
        with self.accelerator.autocast():
            return self.raw.teach(images).logits


def preflight(experiment: Experiment) -> None:
    """Tell the mistakes that need no data and no network to see, before the first run of a study starts.

    Raises:
        ConfigError: with the place of the mistake.
    """
    _ = experiment.settings
    student, teachers = experiment.networks()
    for place, network in [("student", student), *(("teacher", teacher) for teacher in teachers)]:
        try:
            find_source(network.name)
        except ConfigError as error:
            error.place = place
            raise
        check_zoo_name(network, place)
        if network.head is not None:
            HEADS.check(network.head, "head" if place == "student" else f"{place}.head")
    for number, loss in enumerate(experiment.losses):
        check_term(loss, f"losses[{number}]", taught=bool(teachers))
    optimizer = build_optimizer(experiment.optimizer, nn.Linear(1, 1))
    build_schedule(experiment.schedule, optimizer, experiment.epochs, steps_per_epoch=100)
    read_settings(experiment)
    DATASETS.check(experiment.data, "data")
    for name, steps in (("augment", experiment.augment), ("augment_second", experiment.augment_second or [])):
        for number, step in enumerate(steps):
            AUGMENTS.check(step, f"{name}[{number}]")


def check_zoo_name(network: Network, place: str) -> None:
    """Refuse a ``zoo:NAME`` the index does not hold; nothing is downloaded."""
    if str(network.checkpoint).startswith("zoo:"):
        try:
            find_entry(str(network.checkpoint).removeprefix("zoo:"))
        except UserError as error:
            raise ConfigError(str(error), f"{place}.checkpoint") from error


def build_training(experiment: Experiment, device: str | None = None) -> Training:
    """Build every part; the student first, so that its initialisation depends on the seed alone.

    Args:
        experiment: the checked config.
        device: ``"cpu"``, or ``None`` for what accelerate finds.
    """
    settings = experiment.settings
    accelerator = _accelerator(settings, device)
    data = build_data(
        experiment.data,
        experiment.batch_size,
        experiment.augment,
        experiment.seed,
        accelerator.device,
        accelerator.process_index,
        accelerator.num_processes,
        experiment.test_batch_size,
        settings.workers,
        experiment.augment_second,
    )
    student_network, teacher_networks = experiment.networks()
    torch.manual_seed(experiment.seed)
    student = build_network(student_network, data, "student")
    facts: dict[str, Any] = {"student": _student_facts(student, student_network, experiment.seed), "teacher": None}
    if settings.sync_bn and accelerator.num_processes > 1:
        student = nn.SyncBatchNorm.convert_sync_batchnorm(student)
    student = _place(student, accelerator, settings)
    teacher = None
    if teacher_networks:
        teachers = [_place(build_network(n, data, "teacher"), accelerator, settings) for n in teacher_networks]
        facts["teacher"] = _teacher_facts(teachers, teacher_networks, data, accelerator)
        teacher = teachers[0] if len(teachers) == 1 else EnsembleTeacher(teachers)
    example = torch.zeros(2, *data.shape, device=accelerator.device)
    context = loss_context(student, teacher, example, data.train.size, experiment.epochs)
    if len(teacher_networks) == 1 and (classifier := classifier_of(teacher.network)) is not None:
        context["teacher_classifier"] = classifier
    context |= dict(student_head=student.head, train_labels=torch.tensor(data.train.labels))
    terms = build_terms(experiment.losses, **context)
    distiller = Distiller(student, terms, teacher, align=experiment.align_gradients)
    _check_combination(experiment, settings, distiller, accelerator)
    _place(distiller, accelerator, settings)  # the losses' adapters too
    if distiller.uses_teacher:
        distiller.fold_teacher(torch.linspace(0, 1, example.numel(), device=accelerator.device).view_as(example))
    ema = ModelEmaV3(student, decay=experiment.ema_decay) if experiment.ema_decay else None
    optimizer = build_optimizer(experiment.optimizer, distiller)
    step_cap = _step_cap(experiment, optimizer, student)
    schedule = build_schedule(experiment.schedule, optimizer, experiment.epochs, len(data.train))
    cache = _cache(experiment, settings, distiller, facts, data, accelerator) if settings.teacher_cache else None
    if settings.compile:
        distiller.compile()
    # Sharded, the student runs inside the Distiller only.
    whole = copy.deepcopy(student) if accelerator.distributed_type == DistributedType.FSDP else None
    wrapped, optimizer = accelerator.prepare(distiller, optimizer)
    if settings.cuda_graph:
        from kdzoo.engine.graph import capture

        capture(accelerator, wrapped, experiment, settings, data, cached=cache is not None)
    training = Training(
        experiment,
        settings,
        accelerator,
        data,
        student,
        distiller,
        wrapped,
        optimizer,
        schedule,
        distiller.names,
        facts,
        step_cap,
        ema,
        cache,
        teacher,
        whole=whole,
    )
    training.natural = build_natural(training)
    return training


def _check_combination(
    experiment: Experiment, settings: Runtime, distiller: Distiller, accelerator: Accelerator
) -> None:
    """Refuse settings that do not go together."""
    if distiller.needs_second and experiment.augment_second is None:
        message = "a loss takes a second view of the images; set augment_second = [dict(type='PadCrop'), ...]"
        raise ConfigError(message, "losses")
    if experiment.augment_second is not None and not distiller.needs_second:
        message = "no loss is taken on a second view; remove it, or set view='second' of a loss"
        raise ConfigError(message, "augment_second")
    uncaptured = distiller.needs_second or distiller.needs_index or distiller.align or distiller.runs_networks
    if settings.cuda_graph and uncaptured:
        message = "a CUDA graph holds no second view, memory of images, gradient alignment or objective; leave it out"
        raise ConfigError(message, "runtime.cuda_graph")
    if accelerator.distributed_type == DistributedType.FSDP:
        if distiller.align:
            raise ConfigError("gradients can't be aligned under FSDP", "align_gradients")
        if experiment.ema_decay:  # the average is of whole weights, a process holds a shard of them
            raise ConfigError("a moving average can't be kept under FSDP; leave it out", "ema_decay")


def _accelerator(settings: Runtime, device: str | None) -> Accelerator:
    # accelerate keeps one precision a process; the runs of a study may differ in it.
    AcceleratorState._reset_state(reset_partial_state=device == "cpu")
    if device not in (None, "cpu", "cuda", "mps"):
        raise UserError(f"unknown device {device!r}; expected cpu, cuda or mps")
    precision = {"fp32": "no"}.get(settings.precision, settings.precision)
    try:
        accelerator = Accelerator(
            mixed_precision=precision,
            cpu=device == "cpu",
            kwargs_handlers=[AutocastKwargs(cache_enabled=not settings.cuda_graph)],
        )
    except ValueError as error:  # say, fp16 without a GPU
        raise ConfigError(str(error), "runtime.precision") from error
    if settings.precision == "fp16" and accelerator.device.type == "cpu":
        raise ConfigError("fp16 needs a GPU; use 'bf16' or 'fp32' on a CPU", "runtime.precision")
    if device is not None and accelerator.device.type != device:
        raise UserError(f"no {device} device here, only {accelerator.device.type}; leave --device out")
    return accelerator


def _step_cap(experiment: Experiment, optimizer: torch.optim.Optimizer, student: Classifier) -> StepCap | None:
    """``optimizer = dict(..., step_cap=True)``, or a number for its limit."""
    limit = experiment.optimizer.get("step_cap", False)
    if limit is False:
        return None
    if not isinstance(limit, (bool, int, float)) or limit <= 0:
        raise ConfigError(f"step_cap must be True or a number above 0, got {limit!r}", "optimizer")
    return StepCap(optimizer, student, **({} if limit is True else dict(limit=limit)))


def _place(model: nn.Module, accelerator: Accelerator, settings: Runtime) -> nn.Module:
    memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
    return model.to(device=accelerator.device, memory_format=memory_format)


def _student_facts(student: Classifier, network: Network, seed: int) -> dict[str, Any]:
    init = f"random, seed {seed}"
    if network.checkpoint is not None:
        init = f"checkpoint {network.checkpoint}, sha256 {weights_hash(student)[:16]}"
    elif network.pretrained:
        init = "pretrained by its library"
    return dict(name=network.name, parameters=sum(p.numel() for p in student.parameters()), init=init)


def _teacher_facts(
    teachers: list[Classifier], networks: list[Network], data: Data, accelerator: Accelerator
) -> dict[str, Any]:
    """The teachers' own accuracy, so that a bad one is told before the student has learnt from it."""
    top1 = []
    chance = 1.0 / data.num_classes
    for teacher, network in zip(teachers, networks, strict=True):
        scores = score(*gather_rows(accelerator, *predict(teacher, data.test.epoch(0), accelerator.autocast)))
        if scores.top1 / 100 <= chance + 3 * math.sqrt(chance * (1 - chance) / data.test.size):
            accelerator.print(
                f"warning: the teacher {network.name} has {scores.top1:.1f} % on the test images, about chance; "
                "check teacher.checkpoint and the class order"
            )
        top1.append(scores.top1)
    hashes = [weights_hash(teacher) for teacher in teachers]
    return dict(
        name=" + ".join(network.name for network in networks),
        checkpoint=" + ".join(str(network.checkpoint) for network in networks),
        sha256=hashes[0] if len(hashes) == 1 else hashlib.sha256(" ".join(hashes).encode()).hexdigest(),
        top1=sum(top1) / len(top1),
    )


def cache_root(settings: Runtime) -> Path:
    """Where teacher caches lie: the config, ``KDZOO_CACHE``, or the user's cache folder."""
    if settings.cache_dir:
        return Path(settings.cache_dir)
    return cache_folder() / "teacher_logits"


def _teacher_key(weights: str, teachers: list[Network]) -> str:
    """Weights do not say all: a network's options (its pooling) and its head's (a scale) change the logits, too."""
    parts = [dict(name=t.name, options=t.options, head=t.head) for t in teachers]
    return hashlib.sha256(f"{weights} {json.dumps(parts, sort_keys=True)}".encode()).hexdigest()


def _cache(
    experiment: Experiment, settings: Runtime, distiller: Distiller, facts: dict, data: Data, accelerator: Accelerator
) -> TeacherCache | None:
    if distiller.runs_networks:
        raise ConfigError("an objective shows the teacher images of its own, not cached ones", "runtime.teacher_cache")
    if not distiller.uses_teacher:
        return None
    if distiller.features or distiller.needs_second:
        message = "a loss needs the teacher's features or a second view, the cache holds logits of the first"
        raise ConfigError(message, "runtime.teacher_cache")
    if data.train.views is None:
        names = ", ".join(a.get("type", "?") for a in experiment.augment)
        message = f"the views of {names} can't be numbered; only PadCrop and Flip can be cached"
        raise ConfigError(message, "runtime.teacher_cache")
    with torch.no_grad(), accelerator.autocast():
        output = distiller.teacher(torch.zeros(1, *data.shape, device=accelerator.device)).dtype
    _, teachers = experiment.networks()
    card = CacheCard(
        _teacher_key(facts["teacher"]["sha256"], teachers),
        data.train.fingerprint(local=True),
        data.train.augment_id,
        data.train.size,
        data.train.views,
        data.num_classes,
        settings.precision,
        {dtype: name for name, dtype in TeacherCache.DTYPES.items()}[output],
    )
    return TeacherCache(cache_root(settings), card, accelerator.device)
