"""A natural copy beside the student: RAMP's gradient projection, once an epoch.

With ``project_gradients = dict(beta=0.5)`` in the config, every epoch starts two networks from the same weights: the
student, trained on the config's losses, and a copy, trained on clean images with the same batches, optimizer settings
and learning rate. At the epoch's end the student's weights become the projection of both, and the copy's too; each
keeps its own momentum. The two take their steps in turn, so one position in the epoch holds for both.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from accelerate.utils import DistributedType
from torch import Tensor

from kdzoo.distill import Distiller, build_terms, check_term
from kdzoo.engine import checkpoint
from kdzoo.engine.meters import Meters
from kdzoo.engine.optim import build_optimizer, build_schedule
from kdzoo.errors import ConfigError
from kdzoo.registry import construct
from kdzoo.robust.attacks.gradient_projection import project_gradients

if TYPE_CHECKING:  # setup builds what is here
    from kdzoo.engine.experiment import Experiment
    from kdzoo.engine.setup import Training

PLACE = "project_gradients"


@dataclass
class ProjectGradients:
    """The config's ``project_gradients``.

    Args:
        beta: share of the natural training, from 0 to 1.
        losses: of the natural copy; cross entropy.
    """

    beta: float = 0.5
    losses: list = field(default_factory=lambda: [dict(type="CrossEntropy")])

    def __post_init__(self):
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta must be from 0 to 1, got {self.beta}")
        for number, loss in enumerate(self.losses):
            check_term(loss, f"{PLACE}.losses[{number}]", taught=False)


@dataclass
class Natural:
    """The natural copy's training, and where the epoch began."""

    training: "Training"
    settings: ProjectGradients
    old: dict[str, Tensor] = field(default_factory=dict)  # the student's state as the epoch began
    meters: Meters | None = None

    def begin(self, training: "Training", step: int) -> None:
        """Start an epoch (or go on with one, after ``step`` steps)."""
        if step == 0:
            self.old = {key: value.detach().clone() for key, value in training.student.state_dict().items()}
            self.training.student.load_state_dict(self.old)
        self.training.distiller.train()
        self.meters = Meters(self.training.names, training.accelerator.device)

    def merge(self, training: "Training") -> None:
        """Project, at the end of an epoch."""
        self.meters.check()
        states = (self.training.student.state_dict(), training.student.state_dict())
        training.student.load_state_dict(project_gradients(self.old, *states, self.settings.beta))

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        natural = self.training
        state = checkpoint.model_and_optimizer_state(natural.accelerator, natural.distiller, natural.optimizer)
        return state | dict(old=self.old, schedule=natural.schedule.state_dict())

    def load(self, state: dict[str, Any]) -> None:
        """The reverse of :meth:`state`."""
        natural = self.training
        checkpoint.load_model_and_optimizer(natural.accelerator, natural.distiller, natural.optimizer, state)
        natural.schedule.load_state_dict(state["schedule"])
        device = natural.accelerator.device
        self.old = {key: value.to(device) for key, value in state["old"].items()}


def read_settings(experiment: "Experiment") -> ProjectGradients | None:
    """The config's ``project_gradients``, checked; ``None`` where it has none."""
    if experiment.project_gradients is None:
        return None
    return construct(ProjectGradients, experiment.project_gradients, PLACE, label=PLACE)


def build_natural(training: "Training") -> Natural | None:
    """The copy, where the config asks for one; built after the student's own training.

    Raises:
        ConfigError: a wrong key, or a setting that does not go with it.
    """
    experiment, accelerator = training.experiment, training.accelerator
    settings = read_settings(experiment)
    if settings is None:
        return None
    _check_combination(training)
    student = copy.deepcopy(training.student)
    raw = Distiller(student, build_terms(settings.losses, num_classes=training.data.num_classes))
    if raw.needs_index or raw.needs_second:
        raise ConfigError("the natural copy takes losses of one view without a memory of images", f"{PLACE}.losses")
    raw.to(accelerator.device)
    optimizer = build_optimizer(experiment.optimizer, raw)
    schedule = build_schedule(experiment.schedule, optimizer, experiment.epochs, len(training.data.train))
    wrapped, optimizer = accelerator.prepare(raw, optimizer)
    own = replace(
        training,
        student=student,
        raw=raw,
        distiller=wrapped,
        optimizer=optimizer,
        schedule=schedule,
        names=raw.names,
        teacher=None,
    )
    return Natural(own, settings)


def _check_combination(training: "Training") -> None:
    refused = (
        (training.accelerator.distributed_type == DistributedType.FSDP, "FSDP"),
        (training.ema is not None, "ema_decay"),
        (training.step_cap is not None, "optimizer.step_cap"),
        (training.experiment.align_gradients, "align_gradients"),
        (training.cache is not None, "runtime.teacher_cache"),
        (training.settings.cuda_graph, "runtime.cuda_graph"),
    )
    for holds, name in refused:
        if holds:
            raise ConfigError(f"weights can't be projected together with {name}; leave one of them out", PLACE)
    if any(p.requires_grad for p in training.raw.losses.parameters()):
        raise ConfigError("weights can't be projected with a loss that has weights of its own", PLACE)
