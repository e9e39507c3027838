"""What the adversarial objectives share: budgets a norm, attacks in evaluation mode, one draw for all processes."""

from collections.abc import Mapping, Sequence
from types import NoneType

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.robust.attacks.apgd_run import RunResult
from kdzoo.robust.attacks.apgd_train import apgd_train
from kdzoo.robust.attacks.budget import CIFAR_EPS, check_eps
from kdzoo.robust.attacks.projections import NORMS


class AdversarialObjective(nn.Module):
    """Base of the objectives that train on attacked images.

    Args:
        norms: the threat models, of ``"Linf"``, ``"L2"`` and ``"L1"``.
        eps: budgets of pixels in [0, 1], a number for all norms or ``dict(Linf=..., ...)``; what it leaves out, and
            ``None``, is the CIFAR setting: Linf 8/255, L2 0.5, L1 12 (ImageNet: 4/255, 2, 255).
        steps: of the attack, a number or a dict likewise; default 10.
        step_size: of attacks that take one; ``None``: the attack's default.

    Raises:
        ValueError: no norm or an unknown one, a budget or step size that is not above 0, no step.
    """

    runs_networks = True

    def __init__(
        self,
        norms: Sequence[str],
        eps: float | dict | None = None,
        steps: int | dict = 10,
        step_size: float | None = None,
    ):
        super().__init__()
        if not norms:
            raise ValueError(f"norms must name one of {', '.join(NORMS)} or more, got none")
        if step_size is not None and not step_size > 0:
            raise ValueError(f"step_size must be above 0, got {step_size}")
        self.step_size = step_size
        self.norms = tuple(norms)
        self.eps = _by_norm("eps", eps, CIFAR_EPS)
        self.steps = _by_norm("steps", steps, dict.fromkeys(NORMS, 10))
        for norm in self.norms:
            if norm not in NORMS:
                raise ValueError(f"norm must be one of {', '.join(NORMS)}, got {norm!r}")
            check_eps(self.eps[norm], norm)
            if not isinstance(self.steps[norm], int) or self.steps[norm] < 1:
                raise ValueError(f"steps must be whole numbers of at least 1, got {self.steps[norm]!r}")

    def attack(self, student: nn.Module, images: Tensor, target: Tensor, norm: str) -> RunResult:
        """The student's worst images within one norm's budget, found in evaluation mode."""
        if target.ndim != 1:
            raise ValueError(f"an attack needs class indices [B], got {list(target.shape)}; take Mixup or CutMix out")
        return apgd_train(student, images, target, norm, self.eps[norm], self.steps[norm])


def _by_norm(name: str, given: float | Mapping[str, float] | None, defaults: dict[str, float]) -> dict[str, float]:
    if given is None:
        return dict(defaults)
    if not isinstance(given, Mapping):
        return dict.fromkeys(NORMS, given)
    if unknown := set(given) - set(NORMS):
        raise ValueError(f"{name} is expected to have keys of {', '.join(NORMS)}, got {sorted(unknown)[0]!r}")
    for norm, value in given.items():
        if isinstance(value, bool) or not isinstance(value, (int, float, NoneType)):
            raise ValueError(f"{name} of {norm} is expected to be a number, got {value!r}")
    return defaults | {norm: value for norm, value in given.items() if value is not None}


def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross entropy in float32, outside of autocast."""
    with torch.autocast(logits.device.type, enabled=False):
        return F.cross_entropy(logits.float(), target)


def kl(target_logits: Tensor, logits: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(softmax(target_logits / t) || softmax(logits / t)) of each row [B], float32; both sides get gradients."""
    with torch.autocast(logits.device.type, enabled=False):
        log_p = F.log_softmax(target_logits.float() / temperature, dim=1)
        log_q = F.log_softmax(logits.float() / temperature, dim=1)
        return (log_p.exp() * (log_p - log_q)).sum(dim=1)


def shared_draw() -> float:
    """A number of [0, 1), the same on every process; from the CPU's generator, which the engine seeds a step."""
    draw = torch.rand(1)
    if several_processes():
        dist.all_reduce(draw := draw.to(_collective_device()))
        draw = draw % 1.0  # a sum of uniform numbers is uniform modulo 1
    return draw.item()


def several_processes() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _collective_device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")
