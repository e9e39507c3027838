"""Auto-PGD (Croce and Hein, ICML 2020): projected ascent with momentum whose step size finds itself."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.apgd_run import RunResult, run_apgd
from kdzoo.robust.attacks.attack_loss import LOSSES, check_loss, loss_for
from kdzoo.robust.attacks.budget import add_towards, check_eps, verify_budget, within_budget
from kdzoo.robust.attacks.checks import check_batch, check_logits
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.attacks.projections import project_l1_box
from kdzoo.robust.attacks.start import apgd_start, start_noise


@ATTACKS.register()
@dataclass
class APGD:
    """Auto-PGD with the settings of AutoAttack.

    Args:
        norm: Linf, L2 or L1.
        eps: budget; default 8/255.
        steps: default 100.
        loss: ce, dlr, dlr-targeted or ce-targeted (the targeted ones try the most likely other classes in turn).
        restarts: random starts, for each target class; default 1.
        targets: classes tried by a targeted loss; default 9, at most as many as there are others.
        eot: passes a gradient is averaged over, for models that are random; default 1.
        large_eps: L1 only: 30 % of the steps at 3 eps, 30 % at 2 eps, then at eps, each from the one before.
        seed: of the starts.

    Example:
        >>> adversarial = APGD(norm="L2", eps=0.5, loss="dlr")(model, images, target)
    """

    norm: str = "Linf"
    eps: float = 8 / 255
    steps: int = 100
    loss: str = "ce"
    restarts: int = 1
    targets: int = 9
    eot: int = 1
    large_eps: bool = False
    seed: int = 0

    def __post_init__(self):
        check_eps(self.eps, self.norm)
        check_loss(self.loss)
        if min(self.steps, self.restarts, self.targets, self.eot) < 1:
            raise ValueError(
                "steps, restarts, targets and eot are expected to be 1 or more but got "
                f"{self.steps}, {self.restarts}, {self.targets}, {self.eot}"
            )
        if self.large_eps and self.norm != "L1":
            raise ValueError(f"large_eps is expected with the norm L1 alone but got {self.norm}")

    def __call__(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        return self.attack(model, images, target).adversarial

    def attack(
        self,
        model: nn.Module,
        images: Tensor,
        target: Tensor,
        numbers: Sequence[int] | None = None,
        drop_broken: bool = True,
    ) -> RunResult:
        """The attack with all it knows.

        Args:
            model, images, target: as of :func:`apgd`.
            numbers: [B] of the images in their set, which their random starts depend on; default 0..B-1.
            drop_broken: stop working on an image once it is misclassified (default).

        Returns:
            ``adversarial`` [B, ...], ``broken`` [B] (images misclassified from the start included, which come back as
            they are), ``best`` and ``loss`` of the restart that reached the highest loss.
        """  # fmt: skip
        check_batch(images, target)
        if not len(images):
            empty = torch.zeros(0, device=images.device)
            return RunResult(images.clone(), empty.bool(), images.clone(), empty)
        check_eps(self.eps, self.norm, images[0].numel())
        if images.dtype not in (torch.float32, torch.float64):
            raise ValueError(
                f"APGD counts pixels in the images' type, which is expected float32 or float64 but got {images.dtype}; "
                "attack a network in half precision in float32 under autocast"
            )
        with torch.inference_mode(False), torch.no_grad(), evaluation_mode(model):
            images, target = images.detach().clone(), target.clone().long()
            logits = model(images)
            check_logits(logits, target)
            result = self._restarts(model, images, target, logits, numbers, drop_broken)
            result.adversarial = verify_budget(result.adversarial, images, self.norm, self.eps)
            result.best = verify_budget(result.best, images, self.norm, self.eps)
        return result

    def _restarts(self, model, images: Tensor, target: Tensor, logits: Tensor, numbers, drop_broken: bool) -> RunResult:
        loss = loss_for(self.loss, logits.shape[1])
        classes = [None]
        if loss.endswith("targeted"):
            # Not what follows the largest logit: where two are equal, that may be the true class.
            order = logits.scatter(1, target[:, None], -math.inf).argsort(dim=1)
            classes = [order[:, -place] for place in range(1, min(self.targets, logits.shape[1] - 1) + 1)]
        broken = logits.argmax(dim=1) != target
        worst = images.new_full((len(images),), -math.inf)
        result = RunResult(images.clone(), broken, images.clone(), worst)
        numbers = list(range(len(images))) if numbers is None else list(numbers)
        for draw in range(len(classes) * self.restarts):
            rows = (~result.broken).nonzero().squeeze(1)
            if not len(rows):
                break
            noise = start_noise(images[rows], self.seed, draw, [numbers[row] for row in rows.tolist()])
            wanted = classes[draw // self.restarts]
            found = self._one(
                model, images[rows], target[rows], noise, LOSSES[loss], None if wanted is None else wanted[rows],
                drop_broken,
            )  # fmt: skip
            _merge(result, found, rows)
        return result

    def _one(self, model, images, target, noise, loss, wanted, drop_broken: bool) -> RunResult:
        options = dict(wanted=wanted, eot=self.eot)
        if not self.large_eps:
            start = apgd_start(images, noise, self.norm, self.eps)
            start = within_budget(start, images, self.norm, self.eps)
            return run_apgd(
                model, images, target, start, self.norm, self.eps, self.steps, loss, drop_broken=drop_broken, **options
            )
        first = math.ceil(0.3 * self.steps)
        x = images + project_l1_box(images, noise, 3 * self.eps)
        for times, steps in ((3, first), (2, first), (1, self.steps - 2 * first)):
            radius = times * self.eps
            x = add_towards(images, project_l1_box(images, x - images, radius).double())
            changed = (x != images).flatten(1).sum(dim=1).to(images.dtype)
            if steps < 1:
                continue
            found = run_apgd(
                model, images, target, x, "L1", radius, steps, loss, share=changed / images[0].numel() / 1.5,
                sparsity=changed, drop_broken=drop_broken and times == 1, **options,
            )  # fmt: skip
            x = found.best
        return found


def _merge(result: RunResult, found: RunResult, rows: Tensor) -> None:
    """Take over what is broken, and where nothing is broken what has the higher loss."""
    higher = found.loss > result.loss[rows]
    better = found.broken | higher
    result.adversarial[rows[better]] = found.adversarial[better]
    result.best[rows[higher]], result.loss[rows[higher]] = found.best[higher], found.loss[higher]
    result.broken[rows] = result.broken[rows] | found.broken


def apgd(
    model: nn.Module | Callable[[Tensor], Tensor],
    x: Tensor,
    y: Tensor,
    norm: str = "Linf",
    eps: float = 8 / 255,
    steps: int = 100,
    loss: str = "ce",
    **options,
) -> Tensor:
    """Adversarial images of a batch by Auto-PGD: [B, ...] in [0, 1], at most ``eps`` away in ``norm``.

    An image that was broken comes back as its first misclassified point; one that withstood, as the point of the
    highest loss; one that is misclassified already, as it is. The model is in evaluation mode meanwhile and comes back
    as it was.

    Args:
        model: images in [0, 1] -> logits [B, K], with its normalisation inside.
        x: [B, ...] floats in [0, 1].
        y: [B] true classes.
        norm: Linf, L2 or L1.
        eps: budget.
        steps: default 100, as in AutoAttack.
        loss: ce, dlr, dlr-targeted or ce-targeted.
        **options: restarts, targets, eot, large_eps and seed of :class:`APGD`.

    Raises:
        ValueError: images outside [0, 1], labels out of range, eps not positive or more than the box, an unknown norm.

    Example:
        >>> adversarial = apgd(model, images, target, "Linf", 8 / 255, 100, "dlr")
        >>> robust = (model(adversarial).argmax(dim=1) == target).float().mean()
    """
    return APGD(norm, eps, steps, loss, **options)(model, x, y)
