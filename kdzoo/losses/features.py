"""What the feature losses share: finding the maps of both models, bringing two to one size, small adapters.

They are all held to one contract: half precision is widened to float32 and autocast is off (adapters
included), the teacher is detached, and a length under ``SHORT`` counts as zero, in value and in gradient.
"""

from collections.abc import Sequence
from math import isqrt

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses.functional.checks import widen
from kdzoo.output import ModelOutput

# The gradient of x / |x| is 1 / |x|. The published code divides by max(|x|, 1e-12) and passes up to 1e12 on,
# for features that are all but equal or zero; under this length ours counts as zero and passes nothing on.
SHORT = 1e-4


def wide_pair(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both widened, the teacher detached."""
    return widen(student), widen(teacher.detach())


def check_numbers(x: Tensor, name: str) -> Tensor:
    """Widened ``x``; ValueError unless it is floating and not empty, and (where a look is free) without NaN."""
    if not x.is_floating_point() or x.numel() == 0:
        raise ValueError(f"{name} must be floating and not empty, got {x.dtype} {list(x.shape)}")
    x = widen(x)
    visible = x.device.type == "cpu" and not torch.compiler.is_compiling()
    if visible and x.detach().sum().isnan() and x.isnan().any():
        raise ValueError(f"{name} must be numbers, got NaN")
    return x


def as_map(feature: Tensor, name: str = "a stage map") -> Tensor:
    """A widened map [B, D, H, W] of a stage map, or of tokens [B, N, D].

    Tokens become a square grid, without up to two leading class tokens; if their number allows
    none, a line [B, D, 1, N].
    """
    feature = check_numbers(feature, name)
    if feature.ndim == 4:
        return feature
    if feature.ndim != 3:
        raise ValueError(f"{name} must be [B, D, H, W] or tokens [B, N, D], got {list(feature.shape)}")
    size, tokens, width = feature.shape
    for extra in range(min(3, tokens)):
        side = isqrt(tokens - extra)
        if side * side == tokens - extra:
            return feature[:, extra:].transpose(1, 2).reshape(size, width, side, side)
    return feature.transpose(1, 2).unsqueeze(2)


def stage_maps(output: ModelOutput | None, who: str, loss: str) -> list[Tensor]:
    """The output's stage maps; ValueError where there are none."""
    if output is None:
        raise ValueError(f"{loss} needs a teacher's stage maps; give a teacher, or remove this loss")
    if not output.features:
        raise ValueError(
            f"{loss} needs the {who}'s stage maps but features is empty; call outputs(images, features=True), "
            "and take no cached teacher logits"
        )
    return output.features


def pair_up(
    student: ModelOutput, teacher: ModelOutput | None, stages: Sequence[Sequence[int]] | None, loss: str
) -> list[tuple[Tensor, Tensor]]:
    """Maps that belong together, widened, the teacher's detached.

    Args:
        student, teacher: outputs with stage maps.
        stages: pairs [student's stage, teacher's stage] (0: the stem, -1: the last); ``None``
            pairs all but the stem, in order.
        loss: its name, for messages.
    """
    maps, taught = stage_maps(student, "student", loss), stage_maps(teacher, "teacher", loss)
    if stages is None:
        if len(maps) != len(taught):
            raise ValueError(
                f"{loss} pairs equal numbers of stages but the student has {len(maps)} maps and the teacher "
                f"{len(taught)}; say which belong together, e.g. stages=[[-2, -2], [-1, -1]]"
            )
        if len(maps) < 2:
            raise ValueError(f"{loss} skips the stem and there is no further map; set stages=[[0, 0]]")
        stages = [[k, k] for k in range(1, len(maps))]
    for ours, theirs in stages:
        if not -len(maps) <= ours < len(maps) or not -len(taught) <= theirs < len(taught):
            raise ValueError(
                f"{loss} cannot pair stage {ours} of the student's {len(maps)} maps with stage {theirs} of the "
                f"teacher's {len(taught)}; count from 0, the stem"
            )
    pairs = [
        (as_map(maps[i], f"student.features[{i}]"), as_map(taught[j].detach(), f"teacher.features[{j}]"))
        for i, j in stages
    ]
    for pair in pairs:
        check_batch(*pair)
    return pairs


def check_stages(stages: Sequence[Sequence[int]] | None) -> Sequence[Sequence[int]] | None:
    """``stages`` itself; ValueError unless it is ``None`` or pairs of integers."""
    if stages is not None and (not stages or not all(map(_is_pair, stages))):
        raise ValueError(f"stages must be pairs [student's stage, teacher's stage], got {stages!r}")
    return stages


def _is_pair(stages: object) -> bool:
    return isinstance(stages, (list, tuple)) and len(stages) == 2 and all(isinstance(k, int) for k in stages)


def pooled_pair(student: ModelOutput, teacher: ModelOutput | None, loss: str) -> tuple[Tensor, Tensor]:
    """The classifiers' inputs [B, D_s] and [B, D_t], widened, the teacher's detached."""
    if teacher is None:
        raise ValueError(f"{loss} needs a teacher; give one, or remove this loss")
    for output, who in ((student, "student"), (teacher, "teacher")):
        if output.pooled is None or output.pooled.ndim != 2:
            got = "None" if output.pooled is None else list(output.pooled.shape)
            raise ValueError(
                f"{loss} needs pooled [B, D], the {who}'s classifier input, but got {got}; "
                "call outputs(images, features=True), and take no cached teacher logits"
            )
    ours = check_numbers(student.pooled, "student.pooled")
    theirs = check_numbers(teacher.pooled.detach(), "teacher.pooled")
    check_batch(ours, theirs)
    return ours, theirs


def same_size(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps [B, D, H, W] at one height and width: the larger is average-pooled (adaptively) to the smaller."""
    size = tuple(map(min, student.shape[2:], teacher.shape[2:]))
    return resize(student, size), resize(teacher, size)


def check_batch(student: Tensor, teacher: Tensor) -> None:
    if len(student) != len(teacher):
        raise ValueError(f"student and teacher must have one batch size, got {len(student)} and {len(teacher)}")


def resize(feature: Tensor, size: tuple[int, ...]) -> Tensor:
    return feature if feature.shape[2:] == size else F.adaptive_avg_pool2d(feature, size)


def unit(x: Tensor, dim: int, short: float = SHORT) -> Tensor:
    """x / |x| along ``dim``; zero, with a zero gradient, where |x| is under ``short``."""
    square = x.square().sum(dim, keepdim=True)
    long = square > short**2
    return torch.where(long, x * torch.where(long, square, 1.0).rsqrt(), 0.0)


def largest(x: Tensor, dims: tuple[int, ...]) -> Tensor:
    """The largest |x| over ``dims`` (kept), without gradient; infinity where it is under 1e-4.

    What does not see the scale of x can divide by it first: powers and products cannot overflow
    then, the gradient is the same, and an all but zero x becomes zero.
    """
    most = x.detach().abs().amax(dims, keepdim=True)
    return most.masked_fill(most < SHORT, float("inf"))


class AdapterNorm(nn.BatchNorm2d):
    """Batch norm that takes its running statistics where a batch has one value a channel, and so no variance."""

    def forward(self, x: Tensor) -> Tensor:
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


def connector(width: int, out_width: int) -> nn.Sequential:
    """1x1 convolution without bias and batch norm, He-initialised by the fan-out."""
    conv = nn.Conv2d(width, out_width, 1, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(conv, AdapterNorm(out_width))
