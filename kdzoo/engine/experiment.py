"""The keys of a config, their types and defaults. What is not here is a mistake, and told."""

import re
from dataclasses import dataclass, field
from typing import Literal

from kdzoo.config import Config
from kdzoo.errors import ConfigError, did_you_mean
from kdzoo.models import PAIRS
from kdzoo.registry import construct


@dataclass
class Network:
    """The student or the teacher.

    Args:
        name: a model name of kdzoo, timm or torchvision (``"resnet8x4"``, ``"torchvision:resnet18"``).
        checkpoint: weights to start from: a file, ``"zoo:NAME"`` (tools/download.py --list), ``"hf:OWNER/REPO/FILE"``,
            ``"pip:PACKAGE"``; ``"run:NAME"`` takes the last weights of that run of the same study.
        pretrained: take the library's own pretrained weights.
        options: further keywords of the model (``dict(drop_rate=0.1)``); ``mean`` and ``std`` replace the data's.
        head: ``dict(type="ArcFaceHead", ...)``, a registered head in the place of the network's classifier.
    """

    name: str | None = None
    checkpoint: str | None = None
    pretrained: bool = False
    options: dict = field(default_factory=dict)
    head: dict | None = None


@dataclass
class Runtime:
    """How a run is executed; nothing here changes what is learnt, but for precision and rounding.

    Args:
        precision: of the forward passes, by autocast; losses are always float32.
        compile: ``torch.compile`` student and teacher.
        channels_last: memory format of the networks.
        cuda_graph: replay forward and backward as one CUDA graph (one GPU, no gradient accumulation).
        accumulate: split each batch into this many parts to save memory; the step stays one.
        sync_bn: batch-norm statistics over all GPUs.
        teacher_cache: keep the teacher's logits of every augmented view on disk.
        cache_dir: where; the environment's ``KDZOO_CACHE`` or the user's cache folder where ``None``.
        log_every: steps between two readings of the meters (each waits for the device).
        evaluate_every: epochs between two evaluations; the last epoch always is one.
        checkpoint_seconds: least time between two checkpoints of a run.
        workers: processes that read images of streamed data sets.
        tensorboard: write a ``tensorboard/`` folder.
    """

    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    compile: bool = False
    channels_last: bool = True
    cuda_graph: bool = False
    accumulate: int = 1
    sync_bn: bool = False
    teacher_cache: bool = False
    cache_dir: str | None = None
    log_every: int = 50
    evaluate_every: int = 1
    checkpoint_seconds: float = 30.0
    workers: int = 4
    tensorboard: bool = True

    def __post_init__(self):
        for name in ("accumulate", "log_every", "evaluate_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass
class Experiment:
    """One training run, as a config says it.

    Args:
        data: ``dict(type="CIFAR100", ...)``.
        losses: ``[dict(type=..., weight=..., ...), ...]``.
        epochs: passes over the training images.
        optimizer: ``dict(type="SGD", lr=0.05, ...)``: torch's optimizers, then timm's.
        schedule: ``dict(type="MultiStep", milestones=[...])``.
        batch_size: images per optimizer step, over all processes.
        pair: a name of ``kdzoo.models.pairs``; gives student and teacher their names.
        student: a model name or ``dict(name=..., checkpoint=...)``.
        teacher: likewise; ``None`` trains plainly; of a list the logits are fused, see
            ``kdzoo.distill.EnsembleTeacher``.
        head: the student's head, ``dict(type="SVMHead", C=1.0)``; its loss is ``dict(type="HeadLoss")``.
        augment: ``[dict(type="PadCrop", padding=4), ...]``.
        augment_second: of a second view of each image, for losses that take one (MLKD).
        test_batch_size: images per evaluation batch.
        clip_grad: largest gradient norm; ``None`` leaves it.
        align_gradients: take from the distillation's gradient what opposes the task's (Dual-Head KD).
        project_gradients: train a natural copy beside the student and project the two once an epoch, as RAMP does from
            scratch: ``dict(beta=0.5)``, see ``kdzoo.engine.natural``.
        ema_decay: evaluate and keep an exponential moving average of the weights.
        seed: of initialisation, order and augmentation.
        name: of the run's folder; the config file's where ``None``.
        seeds: several runs that differ by seed.
        runs: a study, see ``kdzoo.engine.study``.
        runtime: see Runtime.
    """

    data: dict
    losses: list
    epochs: int
    optimizer: dict
    schedule: dict = field(default_factory=lambda: dict(type="Constant"))
    batch_size: int = 64
    pair: str | None = None
    student: str | dict | None = None
    teacher: str | dict | list | None = None
    head: dict | None = None
    augment: list = field(default_factory=list)
    augment_second: list | None = None
    test_batch_size: int = 500
    clip_grad: float | None = None
    align_gradients: bool = False
    project_gradients: dict | None = None
    ema_decay: float | None = None
    seed: int = 0
    name: str | None = None
    seeds: list | None = None
    runs: list | None = None
    runtime: dict = field(default_factory=dict)

    def __post_init__(self):
        for name, least in (("epochs", 1), ("batch_size", 2), ("test_batch_size", 1), ("seed", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} must be at least {least}, got {getattr(self, name)}")
        if self.clip_grad is not None and not self.clip_grad > 0:
            raise ValueError(f"clip_grad must be above 0, or None, got {self.clip_grad}")
        if self.ema_decay is not None and not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be from 0 to below 1, or None, got {self.ema_decay}")
        seeds = self.seeds or []
        if not all(isinstance(s, int) and not isinstance(s, bool) and 0 <= s < 2**63 for s in [self.seed, *seeds]):
            raise ValueError(f"every seed must be a whole number from 0 to below 2**63, got {seeds or self.seed}")
        if len(set(seeds)) < len(seeds):
            raise ValueError(f"seeds must differ from one another, got {seeds}; the same seed is the same run")

    @property
    def settings(self) -> Runtime:
        return construct(Runtime, self.runtime, "runtime", label="runtime")

    def networks(self) -> tuple[Network, list[Network]]:
        """The student and the teachers, with the pair's names filled in; no teacher trains plainly."""
        student = _network(self.student, "student")
        listed = self.teacher if isinstance(self.teacher, (list, tuple)) else [self.teacher]
        teachers = [_network(teacher, "teacher") for teacher in listed if teacher is not None]
        if self.pair is not None:
            if self.pair not in PAIRS:
                raise ConfigError(f"unknown pair {self.pair!r}{did_you_mean(self.pair, PAIRS)}", "pair")
            student.name = student.name or PAIRS[self.pair].student
            for teacher in teachers:
                teacher.name = teacher.name or PAIRS[self.pair].teacher
        student.head = student.head or self.head
        if student.name is None:
            raise ConfigError("no network to train; set student = 'NAME' or pair = 'TEACHER-STUDENT'", "student")
        if any(teacher.name is None for teacher in teachers):
            raise ConfigError("the teacher has no name; set teacher = dict(name=..., checkpoint=...)", "teacher")
        return student, teachers


def _network(value: str | dict | None, place: str) -> Network:
    return construct(Network, value if isinstance(value, dict) else dict(name=value), place, label=place)


def read_experiment(config: Config) -> Experiment:
    """Check a config's keys and types; ConfigError names the place, the nearest key and the file."""
    try:
        return construct(Experiment, config, label="the config")
    except ConfigError as error:
        raise locate(error, config) from None


def locate(error: ConfigError, config: Config) -> ConfigError:
    """The same error with the file that set the place it names."""
    if error.file is None:
        key = re.search(r"(?:got unknown|for) '(\w+)'", error.message)  # as the registry words it
        place = ".".join(part for part in (error.place, key[1] if key else "") if part)
        error.file = config.origin(place) or config.origin(error.place)
    return error
