"""One run of APGD (Croce and Hein, ICML 2020; L1: "Mind the box", ICML 2021) from a given start."""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from kdzoo.robust.attacks.ascent import Ascent
from kdzoo.robust.attacks.attack_loss import AttackLoss
from kdzoo.robust.attacks.projections import per_image

RHO = 0.75  # share of steps that has to raise the loss, or the step is halved
L1_SHRINK, L1_LEAST, L1_SPARSER = 1.5, 10.0, 0.95


@dataclass
class RunResult:
    """What a run found, a row an image.

    Args:
        adversarial: [B, ...] a misclassified image where ``broken``; elsewhere the one of the highest loss.
        broken: [B] whether a misclassified image was found.
        best: [B, ...] the image of the highest loss.
        loss: [B] that loss.
    """

    adversarial: Tensor
    broken: Tensor
    best: Tensor
    loss: Tensor


@dataclass
class State:
    """Everything a run knows of each image; rows are dropped together."""

    row: Tensor  # [b] place in the batch
    images: Tensor
    target: Tensor
    wanted: Tensor
    x: Tensor
    before: Tensor
    gradient: Tensor
    best: Tensor
    best_gradient: Tensor
    loss: Tensor  # [b] the best so far
    checked: Tensor  # [b] the best at the last check
    last: Tensor  # [b] the latest loss
    rises: Tensor  # [b] steps since the last check that raised it
    halved: Tensor  # [b] whether the last check halved the step
    step: Tensor  # [b, 1, ...]
    share: Tensor  # [b] of pixels that an L1 step moves
    sparsity: Tensor  # [b] pixels changed at the last check
    found: Tensor
    broken: Tensor

    def select(self, rows: Tensor) -> "State":
        return State(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass
class Checks:
    """When the step size is looked at: after 22 % of the steps, then gaps 3 % shorter each, down to 6 % (L1: 4 %)."""

    norm: str
    steps: int

    def places(self) -> set[int]:
        if self.norm == "L1":
            gap, shrink, least = max(int(0.04 * self.steps), 1), 0, 1
        else:
            gap, shrink, least = (max(int(share * self.steps), 1) for share in (0.22, 0.03, 0.06))
        found, place = set(), gap
        while place <= self.steps:
            found.add(place)
            gap = max(gap - shrink, least)
            place += gap
        return found


def run_apgd(
    model: Callable[[Tensor], Tensor],
    images: Tensor,
    target: Tensor,
    start: Tensor,
    norm: str,
    eps: float,
    steps: int,
    loss: AttackLoss,
    wanted: Tensor | None = None,
    share: float | Tensor = 0.2,
    sparsity: Tensor | None = None,
    drop_broken: bool = True,
    eot: int = 1,
    last_gradient: bool = True,
) -> RunResult:
    """Climb ``loss`` from ``start`` for ``steps`` steps.

    A step costs one forward and one backward pass, whose logits serve the prediction, too. With ``drop_broken`` an
    image leaves the batch once it is misclassified, and its first misclassified image counts: after every step on the
    CPU, and on other devices (where asking waits for the device) only at the checks and after steps 1, 2, 4, 8, ...
    Without, the last misclassified image counts, as in the published code. Between those places nothing waits.

    Args:
        model: images -> logits, in evaluation mode.
        images: [B, ...] in [0, 1].
        target: [B].
        start: [B, ...] within the budget.
        norm, eps, steps: as of :class:`~kdzoo.robust.attacks.apgd.APGD`.
        loss: of :mod:`~kdzoo.robust.attacks.attack_loss`.
        wanted: [B] classes of a targeted loss.
        share: of the pixels that the first L1 steps move; a number or [B].
        sparsity: [B] pixels changed at the start, for L1; default all.
        drop_broken: see above.
        eot: forward and backward passes a gradient is averaged over, for models that are random.
        last_gradient: False leaves out the backward pass of the last step, which only a check would use.
    """
    climb, checks = Ascent(norm, eps), Checks(norm, steps).places()
    state = _begin(model, images, target, start, norm, eps, loss, wanted, share, sparsity, eot)
    result = RunResult(state.x.clone(), state.broken.clone(), state.best.clone(), state.loss.clone())
    asks = range(steps + 1) if images.device.type == "cpu" else checks | {2**power for power in range(20)}
    for done in range(steps):
        if drop_broken and done in asks:
            state = _drop(state, result)
            if not len(state.row):
                return result
        moved = climb(
            state.x, state.before, state.gradient, state.images, state.step, state.share, 0.75 if done else 1.0
        )
        state.before, state.x = state.x, moved
        wanted_rows = None if wanted is None else state.wanted
        final = done + 1 == steps and not last_gradient
        logits, value, gradient = _look(model, moved, state.target, loss, wanted_rows, eot, not final)
        state.gradient = state.gradient if gradient is None else gradient
        _remember(state, logits, value, drop_broken)
        if done + 1 in checks and not final:
            gap = done + 1 - max((place for place in checks if place <= done), default=0)
            _check_l1(state, eps) if norm == "L1" else _check(state, gap)
    _write(state, result)
    return result


def _begin(model, images, target, start, norm, eps, loss, wanted, share, sparsity, eot) -> State:
    logits, value, gradient = _look(model, start, target, loss, wanted, eot, True)
    count, pixels = len(images), images[0].numel() if len(images) else 1
    ones = torch.ones(count, device=images.device, dtype=images.dtype)
    first = eps if norm == "L1" else 2 * eps
    return State(
        row=torch.arange(count, device=images.device), images=images, target=target,
        wanted=target if wanted is None else wanted, x=start, before=start, gradient=gradient, best=start,
        best_gradient=gradient, loss=value, checked=value, last=torch.zeros_like(value), rises=torch.zeros_like(value),
        halved=torch.ones_like(value, dtype=torch.bool), step=first * per_image(ones, images), share=share * ones,
        sparsity=pixels * ones if sparsity is None else sparsity, found=start, broken=logits.argmax(dim=1) != target,
    )  # fmt: skip


def _look(model, x: Tensor, target: Tensor, loss: AttackLoss, wanted: Tensor | None, eot: int, want_gradient: bool):
    """Logits [b, K] and loss [b] of the last pass, and the mean gradient over ``eot`` passes."""
    total = None
    for _ in range(eot if want_gradient else 1):
        # Gradients stay on where none is wanted: under autocast a forward without them would leave cast weights, cut
        # off from their gradients, in the cache that the training step's forward uses.
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = model(x)
            value = loss(logits if logits.dtype == torch.float64 else logits.float(), target, wanted)
            if want_gradient:
                (gradient,) = torch.autograd.grad(value.sum(), x)
                total = gradient if total is None else total + gradient
    if total is not None and eot > 1:
        total = total / eot
    return logits.detach(), value.detach(), total


def _remember(state: State, logits: Tensor, value: Tensor, first: bool) -> None:
    wrong = logits.argmax(dim=1) != state.target
    news = wrong & ~state.broken if first else wrong
    state.found = torch.where(per_image(news, state.x), state.x, state.found)
    state.broken = state.broken | wrong
    better = value > state.loss
    wide = per_image(better, state.x)
    state.best = torch.where(wide, state.x, state.best)
    state.best_gradient = torch.where(wide, state.gradient, state.best_gradient)
    state.loss = torch.where(better, value, state.loss)
    # The published code compares the first loss with 0, not with the loss at the start.
    state.rises, state.last = state.rises + (value > state.last), value


def _check(state: State, gap: int) -> None:
    """Halve the step where the loss rose too rarely, or the best stayed; go on from the best point there."""
    stuck = (state.rises <= gap * RHO) | (~state.halved & (state.checked >= state.loss))
    state.halved, state.checked, state.rises = stuck, state.loss, torch.zeros_like(state.rises)
    state.step = torch.where(per_image(stuck, state.x), state.step / 2, state.step)
    _return_to_best(state, stuck)


def _check_l1(state: State, eps: float) -> None:
    """As sparse as the best point is; where that became sparser, start over from it with the full step."""
    changed = (state.best != state.images).flatten(1).sum(dim=1).to(state.sparsity)
    sparser = changed / state.sparsity < L1_SPARSER
    state.share = changed / state.images[0].numel() / 1.5
    step = torch.where(per_image(sparser, state.x), torch.full_like(state.step, eps), state.step / L1_SHRINK)
    state.step, state.sparsity = step.clamp(eps / L1_LEAST, eps), changed
    _return_to_best(state, sparser)


def _return_to_best(state: State, rows: Tensor) -> None:
    wide = per_image(rows, state.x)
    state.x = torch.where(wide, state.best, state.x)
    state.gradient = torch.where(wide, state.best_gradient, state.gradient)


def _drop(state: State, result: RunResult) -> State:
    """Write broken images into the result and go on without them."""
    gone = state.broken.nonzero().squeeze(1)
    if not len(gone):
        return state
    _write(state.select(gone), result)
    return state.select((~state.broken).nonzero().squeeze(1))


def _write(state: State, result: RunResult) -> None:
    adversarial = torch.where(per_image(state.broken, state.x), state.found, state.best)
    result.adversarial[state.row], result.broken[state.row] = adversarial, state.broken
    result.best[state.row], result.loss[state.row] = state.best, state.loss
