"""What the kernels have to give: each loss's rows in float64, by the functional losses where they have it."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.losses import functional as KF

CLASSES = (2, 3, 10, 100, 127, 1000, 1025, 21841)


@dataclass(frozen=True)
class Case:
    """One kernel with one choice of parameters.

    ``rows(student, teacher, target)`` is the loss of each row, differentiable by autograd; ``inputs`` says which
    of the teacher and the target the kernel takes.
    """

    name: str
    rows: Callable[[Tensor, Tensor, Tensor], Tensor]
    options: dict = field(default_factory=dict)
    inputs: str = "teacher target"
    cosines: bool = False  # scores are cosines, in [-1, 1]

    @property
    def id(self) -> str:
        return "-".join([self.name, *(f"{key}{value}" for key, value in self.options.items())])

    def call(self, kernel, student: Tensor, teacher: Tensor, target: Tensor, **more) -> tuple[Tensor, Tensor | None]:
        teacher = teacher if "teacher" in self.inputs else None
        return kernel(student, teacher, target if "target" in self.inputs else None, **self.options, **more)


@dataclass(frozen=True)
class Expected:
    """Rows [B] and the gradient [B, C] of their sum, in float64."""

    loss: Tensor
    grad: Tensor


def expected(case: Case, student: Tensor, teacher: Tensor, target: Tensor) -> Expected:
    """The reference on the same (possibly rounded) inputs."""
    student = student.detach().double().requires_grad_()
    loss = case.rows(student, teacher.double(), target)
    (grad,) = torch.autograd.grad(loss.sum(), student)
    return Expected(loss.detach(), grad)


def dist_inter(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Row by row: the intra-class part, here without weight, would carry one row's NaN to all."""
    pairs = zip(student.split(1), teacher.split(1), strict=True)
    return torch.cat([KF.dist(s, t, gamma=0.0, temperature=temperature, reduction="none") for s, t in pairs])


def l2_svm(scores: Tensor, teacher: Tensor, target: Tensor, C: float = 1.0) -> Tensor:
    sign = 2.0 * F.one_hot(target, scores.shape[1]) - 1
    return C * (1 - sign * scores).clamp_min(0).square().sum(dim=1)


def margin_softmax(cosines: Tensor, target: Tensor, scale: float, margin: float, kind: str) -> Tensor:
    """By the angle itself, where the kernel uses the addition theorem."""
    label = F.one_hot(target, cosines.shape[1]).bool()
    moved = cosines - margin
    if kind == "arcface":
        angle = cosines.clamp(-1 + 1e-12, 1 - 1e-12).acos()
        moved = torch.where(angle <= math.pi - margin, (angle + margin).cos(), cosines - margin * math.sin(margin))
    return F.cross_entropy(scale * torch.where(label, moved, cosines), target, reduction="none")


def _kd(**options) -> Case:
    return Case("kd", lambda s, t, y: KF.kd(s, t, reduction="none", **options), options, "teacher")


def _ce_kd(ce_weight: float, kd_weight: float, **options) -> Case:
    def rows(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        ce = F.cross_entropy(s, y, reduction="none")
        return ce_weight * ce + kd_weight * KF.kd(s, t, reduction="none", **options)

    return Case("ce_kd", rows, dict(ce_weight=ce_weight, kd_weight=kd_weight, **options))


def _of(name: str, inputs: str = "teacher target", **options) -> Case:
    """A case whose name, inputs and options are the functional loss's."""
    loss = getattr(KF, name)

    def rows(s: Tensor, t: Tensor, y: Tensor) -> Tensor:
        given = [dict(teacher=t, target=y)[key] for key in inputs.split()]
        return loss(s, *given, reduction="none", **options)

    return Case(name, rows, options, inputs)


def _margin(kind: str, scale: float, margin: float = 0.0) -> Case:
    options = dict(kind=kind, scale=scale, margin=margin)
    return Case("margin_softmax", lambda s, t, y: margin_softmax(s, y, **options), options, "target", cosines=True)


CASES = (
    _kd(temperature=4.0),
    _kd(temperature=2.0, standardize=True),
    _ce_kd(0.1, 0.9, temperature=4.0),
    _ce_kd(0.1, 9.0, temperature=2.0, standardize=True),
    _of("dkd", alpha=1.0, beta=8.0, temperature=4.0),
    _of("dkd", alpha=9.0, beta=18.0, temperature=2.0, standardize=True),
    _of("nkd", gamma=1.5, temperature=1.0),
    _of("nkd", gamma=3.5, temperature=3.0),
    _of("binary_kl", "teacher", temperature=2.0),
    _of("binary_kl_norm", "teacher", temperature=2.0),
    _of("pld", temperature=4.0),
    Case("dist_inter", lambda s, t, y: dist_inter(s, t, 2.0), dict(temperature=2.0), "teacher"),
    Case("l2_svm", lambda s, t, y: l2_svm(s, t, y, 0.5), dict(C=0.5), "target"),
    _margin("none", 20.0),
    _margin("cosface", 64.0, 0.35),
    _margin("arcface", 16.0, 0.5),
    _of("cross_entropy", "target"),
    _of("cross_entropy", "target", label_smoothing=0.1),
    _of("stablemax_cross_entropy", "target"),
)  # fmt: skip
