"""Optimizers and learning-rate schedules by name, from torch and timm."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from torch.optim import lr_scheduler

from kdzoo.engine.orthograd import orthograd
from kdzoo.errors import ConfigError, did_you_mean
from kdzoo.registry import construct


def build_optimizer(cfg: Mapping[str, Any], model: nn.Module) -> torch.optim.Optimizer:
    """An optimizer over the trainable parameters of ``model``.

    Args:
        cfg: ``dict(type="SGD", lr=0.05, momentum=0.9, ...)``; ``type`` is a class of torch.optim or
            a name of timm (``"lamb"``, ``"muon"``, ...). ``decay_all=False`` spares biases and
            normalisation weights (all parameters of one dimension) from weight decay; the
            CIFAR literature decays all, so that is the default. ``orthograd=True`` takes from each
            gradient its part along the weights (see ``kdzoo.engine.orthograd``). ``legacy_bn_lr=1.0`` repeats a
            fault of published code (RAMP's from scratch, after robust-finetuning's): the spared parameters keep that
            learning rate all along, whatever the schedule says; it takes ``decay_all=False``.

    Example:
        >>> optimizer = build_optimizer(dict(type="SGD", lr=0.05, weight_decay=5e-4), model)
    """
    arguments = dict(cfg)
    kind, decay_all = arguments.pop("type", None), arguments.pop("decay_all", True)
    orthogonal, legacy_lr = arguments.pop("orthograd", False), arguments.pop("legacy_bn_lr", None)
    arguments.pop("step_cap", None)  # needs the network: see build_training
    if not isinstance(kind, str):
        raise ConfigError("the optimizer has no type; write dict(type='SGD', lr=...)", "optimizer")
    parameters = [p for p in model.parameters() if p.requires_grad]
    groups: list = parameters
    if not decay_all:
        decayed, spared = [p for p in parameters if p.ndim > 1], [p for p in parameters if p.ndim <= 1]
        groups = [dict(params=decayed), dict(params=spared, weight_decay=0.0)]
    if legacy_lr is not None:
        if decay_all or isinstance(legacy_lr, bool) or not isinstance(legacy_lr, (int, float)) or legacy_lr <= 0:
            message = f"legacy_bn_lr must be a learning rate above 0 beside decay_all=False, got {legacy_lr!r}"
            raise ConfigError(message, "optimizer")
        groups[1]["unscheduled_lr"] = float(legacy_lr)
    optimizer = construct(_optimizer_class(kind), {"params": groups, **arguments}, "optimizer", label=kind)
    if legacy_lr is not None:
        optimizer.register_step_pre_hook(_keep_unscheduled)
    return orthograd(optimizer) if orthogonal else optimizer


def _keep_unscheduled(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Undo what the schedule did to the groups with a learning rate of their own."""
    for group in optimizer.param_groups:
        if "unscheduled_lr" in group:
            group["lr"] = group["unscheduled_lr"]


def _optimizer_class(kind: str) -> type[torch.optim.Optimizer]:
    # LBFGS evaluates the loss again and again in a step, SparseAdam takes sparse gradients, Adahessian second
    # derivatives: none fits the loop.
    unfit = ("Optimizer", "LBFGS", "SparseAdam", "adahessian")
    ours = {n: c for n, c in vars(torch.optim).items() if isinstance(c, type) and n not in unfit}
    if kind in ours:
        return ours[kind]
    from timm.optim import get_optimizer_class, list_optimizers

    theirs = [name for name in list_optimizers() if name not in unfit]
    if kind in theirs:
        try:
            return get_optimizer_class(kind, bind_defaults=False)
        except (AssertionError, ImportError) as error:  # bitsandbytes and Apex need a GPU and their packages
            raise ConfigError(f"{kind} can't be used here ({error}); choose another optimizer", "optimizer") from error
    near = did_you_mean(kind, [*ours, *theirs])
    raise ConfigError(f"unknown optimizer {kind!r}{near}", "optimizer")


def build_schedule(
    cfg: Mapping[str, Any], optimizer: torch.optim.Optimizer, epochs: int, steps_per_epoch: int
) -> lr_scheduler.LRScheduler:
    """A learning-rate schedule that is stepped after every optimizer step.

    Args:
        cfg: one of ``dict(type="Constant")``,
            ``dict(type="MultiStep", milestones=[150, 180, 210], gamma=0.1)`` (epochs; the
            literature's ``epoch > milestone`` with epochs counted from 1),
            ``dict(type="Cosine", final_factor=0.0)`` and
            ``dict(type="OneCycle", peak=0.3, start_factor=0.04, final_factor=1e-4)``
            (cosine up to the optimizer's lr at ``peak`` of the run, and down). All but OneCycle take
            ``warmup_epochs`` (linear, from ``warmup_factor`` = 0.001 of the lr).

    Example:
        >>> schedule = build_schedule(dict(type="Cosine", warmup_epochs=5), optimizer, 100, 782)
    """
    arguments = dict(cfg)
    kind = arguments.pop("type", None)
    if not isinstance(kind, str) or kind not in SCHEDULES:
        raise ConfigError(f"unknown schedule {kind!r}{did_you_mean(str(kind), SCHEDULES)}", "schedule")
    context = dict(optimizer=optimizer, epochs=epochs, steps_per_epoch=steps_per_epoch)
    if taken := sorted(context.keys() & arguments.keys()):
        raise ConfigError(f"{kind} takes {taken[0]!r} from the run; remove it here", "schedule")
    return construct(SCHEDULES[kind], arguments, "schedule", context, label=kind)


def _with_warmup(main: lr_scheduler.LRScheduler, optimizer, steps: int, factor: float) -> lr_scheduler.LRScheduler:
    if steps < 0:
        raise ValueError("warmup_epochs must be 0 or more; leave it out for no warm-up")
    if steps == 0:
        return main
    warmup = lr_scheduler.LinearLR(optimizer, start_factor=factor, total_iters=steps)
    return lr_scheduler.SequentialLR(optimizer, [warmup, main], milestones=[steps])


def _constant(optimizer, steps_per_epoch: int, warmup_epochs: float = 0, warmup_factor: float = 0.001):
    warm = round(warmup_epochs * steps_per_epoch)
    return _with_warmup(lr_scheduler.ConstantLR(optimizer, 1.0, 1), optimizer, warm, warmup_factor)


def _multi_step(
    optimizer,
    steps_per_epoch: int,
    milestones: list[float],
    gamma: float = 0.1,
    warmup_epochs: float = 0,
    warmup_factor: float = 0.001,
):
    warm = round(warmup_epochs * steps_per_epoch)
    steps = [round(m * steps_per_epoch) - warm for m in milestones]
    if any(s <= 0 for s in steps):
        raise ValueError(f"every milestone must lie after the warm-up, got {list(milestones)}")
    return _with_warmup(lr_scheduler.MultiStepLR(optimizer, steps, gamma), optimizer, warm, warmup_factor)


def _cosine(
    optimizer,
    epochs: int,
    steps_per_epoch: int,
    final_factor: float = 0.0,
    warmup_epochs: float = 0,
    warmup_factor: float = 0.001,
):
    warm = round(warmup_epochs * steps_per_epoch)
    lowest = optimizer.param_groups[0]["lr"] * final_factor
    main = lr_scheduler.CosineAnnealingLR(optimizer, max(1, epochs * steps_per_epoch - warm), eta_min=lowest)
    return _with_warmup(main, optimizer, warm, warmup_factor)


def _one_cycle(
    optimizer,
    epochs: int,
    steps_per_epoch: int,
    peak: float = 0.3,
    start_factor: float = 0.04,
    final_factor: float = 1e-4,
):
    if not 0 < start_factor or not 0 <= final_factor:
        raise ValueError(f"start_factor must be above 0 and final_factor 0 or more, got {start_factor}, {final_factor}")
    return lr_scheduler.OneCycleLR(
        optimizer,
        max_lr=[group["lr"] for group in optimizer.param_groups],
        total_steps=epochs * steps_per_epoch + 1,
        pct_start=peak,
        div_factor=1 / start_factor,
        final_div_factor=start_factor / final_factor if final_factor else math.inf,
        cycle_momentum=False,
    )


SCHEDULES = {"Constant": _constant, "MultiStep": _multi_step, "Cosine": _cosine, "OneCycle": _one_cycle}
