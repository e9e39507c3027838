"""Running one attack of the ensemble on one batch."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace

import torch
from torch import Tensor, nn

from kdzoo.errors import UserError
from kdzoo.robust.attacks.apgd import APGD
from kdzoo.robust.attacks.autoattack.versions import Part

BACKENDS = ("kdzoo", "pyautoattack")
OWN = {"apgd-ce": "ce", "apgd-dlr": "dlr", "apgd-t": "dlr-targeted"}  # losses of kdzoo's APGD
RHO, P_INIT = 0.75, 0.8  # AutoAttack's: APGD's share of improving steps, Square's first share of changed pixels


def perturb(
    part: Part,
    network: nn.Module,
    images: Tensor,
    target: Tensor,
    norm: str,
    eps: float,
    seed: int,
    backend: str = "kdzoo",
    numbers: Sequence[int] | None = None,
) -> Tensor:
    """What the attack makes of a batch: [B, C, H, W]; an image it did not break may come back changed.

    Global random number generators are as before when it returns.

    Args:
        part: the attack.
        network: images in [0, 1] -> float32 logits.
        images: [B, C, H, W] float32, contiguous; the network is right on them.
        target: [B] true classes.
        norm, eps: the budget.
        seed: of this call; the same batch and seed give the same answer.
        backend: whose APGD.
        numbers: [B] of the images in their set, for the random starts of kdzoo's APGD.
    """
    if not needs_pyautoattack(part, backend):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "the model returns probabilities")  # it is among the result's warnings
            return _own(part, norm, eps, seed).attack(network, images, target, numbers).adversarial
    attack = _peer(part, network, images.device, norm, eps, seed)
    cuda = [images.device] if images.device.type == "cuda" else []
    with torch.inference_mode(False), torch.no_grad(), torch.random.fork_rng(cuda):
        return attack.perturb(images, target)


@contextmanager
def own_randomness(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's generators seeded for a random network, so that it is the same in every run, and as before afterwards."""
    cuda = device.type == "cuda"
    with torch.random.fork_rng([device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        if cuda:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def needs_pyautoattack(part: Part, backend: str) -> bool:
    """kdzoo's own APGD drops broken images as it goes; FAB, Square and the margin of few classes are pyautoattack's."""
    return backend == "pyautoattack" or part.margin or part.name not in OWN


def _own(part: Part, norm: str, eps: float, seed: int) -> APGD:
    return APGD(
        norm, eps, part.steps, OWN[part.name], part.restarts, part.targets, part.eot, part.larger_eps, seed % 2**32
    )


def _peer(part: Part, network: nn.Module, device: torch.device, norm: str, eps: float, seed: int):
    """The attack of pyautoattack, which its authors keep."""
    peer = require_pyautoattack()
    common = dict(norm=norm, eps=eps, seed=seed, device=device, verbose=False, n_restarts=part.restarts)
    apgd = dict(n_iter=part.steps, eot_iter=part.eot, rho=RHO, use_largereps=part.larger_eps, logger=_Silent)
    if part.name in ("apgd-ce", "apgd-dlr"):
        attack = peer.APGDAttack(network, loss=part.name.removeprefix("apgd-"), **apgd, **common)
        if part.margin:
            attack.dlr_loss = logit_margin
        return attack
    if part.name == "apgd-t":
        attack = peer.APGDAttack_targeted(network, n_target_classes=part.targets, **apgd, **common)
        if part.margin:
            attack.dlr_loss_targeted = lambda logits, target: logit_difference(logits, target, attack.y_target)
        return attack
    if part.name == "square":
        return peer.SquareAttack(network, n_queries=part.queries, p_init=P_INIT, resc_schedule=False, **common)
    targeted = part.name == "fab-t"
    return peer.FABAttack_PT(network, n_iter=part.steps, targeted=targeted, n_target_classes=part.targets, **common)


def require_pyautoattack() -> SimpleNamespace:
    """The attack classes of pyautoattack.

    Raises:
        UserError: it is not installed.
    """
    try:
        from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
        from pyautoattack.fab_pt import FABAttack_PT
        from pyautoattack.square import SquareAttack
    except ImportError as error:
        raise UserError(f"AutoAttack needs pyautoattack ({error}); run pip install pyautoattack") from error
    return SimpleNamespace(
        APGDAttack=APGDAttack, APGDAttack_targeted=APGDAttack_targeted, FABAttack_PT=FABAttack_PT,
        SquareAttack=SquareAttack,
    )  # fmt: skip


class _Silent:
    """Takes the peer's warnings of zero gradients, which ``warnings.py`` looks for itself."""

    @staticmethod
    def warning(message: str) -> None:
        pass


def logit_margin(logits: Tensor, target: Tensor) -> Tensor:
    """[B] the largest other logit minus the true one."""
    rows = torch.arange(len(target), device=logits.device)
    others = logits.clone()
    others[rows, target] = -float("inf")
    return others.amax(dim=1) - logits[rows, target]


def logit_difference(logits: Tensor, target: Tensor, wanted: Tensor) -> Tensor:
    """[B] the wanted class's logit minus the true one."""
    rows = torch.arange(len(target), device=logits.device)
    return logits[rows, wanted] - logits[rows, target]
