"""Steps no longer than the radius in which cross-entropy's Taylor series converges."""

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.optim import Optimizer

from kdzoo.errors import UserError

SHORTEST = 1e-12  # a spread below it sets no bound


def convergence_radius(slopes: Tensor, logits: Tensor | None = None) -> Tensor:
    r""":math:`\rho = \pi / \Delta` for each sample, with Delta = max - min of its logits' slopes.

    Cross-entropy along a line is the logarithm of a sum of exponentials; continued to complex steps,
    that sum is nowhere 0 within this distance, so the Taylor series converges there. It is a lower bound
    under linearised logits; for two classes the exact distance is
    :math:`\sqrt{\delta^2 + \pi^2} / \Delta`, delta the difference of the logits.

    Args:
        slopes: [B, C], the logits' derivatives along the direction (one Jacobian-vector product).
        logits: [B, C]; where given and C = 2, the exact distance is returned.

    Returns:
        [B], in lengths of the direction; infinite where all slopes of a row are equal.

    Source: Sao, Ghosts of Softmax: Complex Singularities That Limit Safe Step Sizes in Cross-Entropy,
    2026 (arXiv 2603.13552; the authors' README was read).

    Example:
        >>> convergence_radius(torch.tensor([[0.0, 1.0, -1.0]]))
        tensor([1.5708])
    """
    spread = slopes.amax(dim=1) - slopes.amin(dim=1)
    reach = torch.full_like(spread, math.pi)
    if logits is not None and logits.shape[1] == 2:
        reach = torch.hypot(logits[:, 0] - logits[:, 1], reach)
    return torch.where(spread > SHORTEST, reach / spread.clamp_min(SHORTEST), torch.inf)


class _StepScale(ABC):
    """Hooks on an optimizer's step that shorten the step it has just made, never lengthen it."""

    def __init__(self, optimizer: Optimizer, model: nn.Module):
        self.optimizer, self.model = optimizer, model
        self.scale: Tensor | None = None
        self._images: Tensor | None = None
        self._before: list[Tensor] = []
        optimizer.register_step_pre_hook(self._remember)
        optimizer.register_step_post_hook(self._shorten)

    def watch(self, images: Tensor) -> None:
        """Tell the images [B, C, H, W] the next step is for; to be called before each step."""
        self._images = images

    @abstractmethod
    def factor(self, images: Tensor, before: dict[str, Tensor], step: dict[str, Tensor]) -> Tensor:
        """What the step is multiplied by, a scalar; names are the model's, of the parameters that may move."""

    def _logits(self, images: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        buffers = {name: b.clone() for name, b in self.model.named_buffers()}  # so that statistics do not move
        return functional_call(self.model, (parameters, buffers), (images,))

    def _parameters(self) -> list[Tensor]:
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    @torch.no_grad()
    def _remember(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        if self._images is None:
            raise UserError("the step cap has not seen this step's images; call watch(images) before optimizer.step()")
        self._before = [p.detach().clone() for p in self._parameters()]

    @torch.no_grad()
    def _shorten(self, optimizer: Optimizer, args: tuple, kwargs: dict) -> None:
        parameters, before = self._parameters(), self._before
        place = {p: i for i, p in enumerate(parameters)}
        moved = {name: place[p] for name, p in self.model.named_parameters() if p in place}
        start = {name: before[i] for name, i in moved.items()}
        step = {name: parameters[i] - before[i] for name, i in moved.items()}
        self.scale = scale = self.factor(self._images, start, step)
        for p, old in zip(parameters, before, strict=True):
            p.copy_(torch.where(scale < 1, old + scale * (p - old), p))  # an uncapped step stays as it was, to the bit
        self._images, self._before = None, []


class StepCap(_StepScale):
    r"""Shorten every step of an optimizer to the convergence radius along it: one Jacobian-vector product.

    With p the step the optimizer proposes (momentum, weight decay and all) and J p the change of
    the logits to first order, the step is :math:`r = \max_x \Delta(J p) / \pi` radii long; it is multiplied by
    min(1, limit / r). In place of gradient clipping. Parameters outside the model (a loss's
    adapters) are shortened alike.

    It is a pair of hooks: the optimizer stays itself, with its ``state_dict`` and its schedule, and
    the cap has no state to save. The product is taken at the weights before the step, in the mode the model
    is in and in the parameters' precision, and leaves the model's buffers alone; the authors'
    tutorials put the model into evaluation mode for it. Dropout draws a mask of its own. Under DDP the
    largest r of all processes counts; FSDP's sharded parameters are not supported. The argument
    needs logits that are analytic in the step: ReLU's kinks are left out of it.

    Args:
        optimizer: any of torch.optim or timm.
        model: images -> logits [B, C], with (some of) the optimizer's parameters.
        limit: largest r, 1 as the authors'.

    Attributes:
        ratio: r of the last step's proposal, a scalar tensor on the device.
        scale: what the last step was multiplied by, likewise.

    Source: Sao, Ghosts of Softmax, 2026 (arXiv 2603.13552). The authors' code ships another rule,
    :class:`LogitGapScale`; their README and tutorials describe this one.

    Example:
        >>> cap = StepCap(optimizer, model)
        >>> cap.watch(images)
        >>> optimizer.step()
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module, limit: float = 1.0):
        if not 0 < limit < math.inf:
            raise ValueError(f"limit must be above 0, got {limit}")
        super().__init__(optimizer, model)
        self.limit = limit
        self.ratio: Tensor | None = None

    def factor(self, images: Tensor, before: dict[str, Tensor], step: dict[str, Tensor]) -> Tensor:
        def logits_of(parameters: dict[str, Tensor]) -> Tensor:
            return self._logits(images, parameters)

        # The fused attention kernels have no forward derivative.
        with torch.autocast(images.device.type, enabled=False), sdpa_kernel(SDPBackend.MATH):
            logits, slopes = jvp(logits_of, (before,), (step,))
        ratio = (1 / convergence_radius(slopes, logits)).max()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(ratio, torch.distributed.ReduceOp.MAX)
        self.ratio = ratio
        return (self.limit / ratio.clamp_min(torch.finfo(ratio.dtype).tiny)).clamp_max(1.0)


class LogitGapScale(_StepScale):
    r"""Multiply every step by :math:`\mathrm{clip}(\pi / \mathrm{mean}_x(\max_c z - \min_c z), floor, 1)`.

    The rule the authors of Ghosts of Softmax ship as an optimizer: cheaper than :class:`StepCap` (one forward
    pass), but it looks at the logits alone, not at the step, and bounds nothing.

    Args:
        optimizer: any of torch.optim or timm.
        model: images -> logits [B, C].
        floor: smallest factor, 0.01 as the authors'.

    Example:
        >>> gap = LogitGapScale(optimizer, model)
        >>> gap.watch(images)
        >>> optimizer.step()
    """

    def __init__(self, optimizer: Optimizer, model: nn.Module, floor: float = 0.01):
        if not 0 < floor <= 1:
            raise ValueError(f"floor must be in (0, 1], got {floor}")
        super().__init__(optimizer, model)
        self.floor = floor

    def factor(self, images: Tensor, before: dict[str, Tensor], step: dict[str, Tensor]) -> Tensor:
        logits = self._logits(images, before)
        gap = (logits.amax(dim=1) - logits.amin(dim=1)).mean()
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.all_reduce(gap, torch.distributed.ReduceOp.SUM)
            gap = gap / torch.distributed.get_world_size()
        return (math.pi / (gap + 1e-6)).clamp(self.floor, 1.0)
