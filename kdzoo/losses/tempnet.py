"""KD with a learnt temperature for every image, as a module."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses import functional as KF
from kdzoo.losses.functional.checks import full_precision, widen
from kdzoo.losses.functional.tempnet import check_range, check_rho
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


class TempNet(nn.Module):
    """Logits [B, C] -> a temperature [B] in (low, high).

    The network of Qiu et al. (ICML 2024): a two-layer projection of the normalised logits, then a
    weighted sum of its outputs with softmax weights less their mean. Ours differs in two points: the
    logits are centred first, so that a shift changes nothing, and the last layer starts at zero
    weights, so that training starts from ``start`` for every image.

    Args:
        num_classes: C.
        start: the temperature at the beginning, between low and high.
        low, high: bounds of the temperature.
        hidden: width, 256 as the authors'.
        dropout: between the two layers, 0.5 as the authors'.

    Example:
        >>> TempNet(num_classes=100)(teacher_logits).shape
        torch.Size([64])
    """

    def __init__(
        self,
        num_classes: int,
        start: float = 4.0,
        low: float = 1.0,
        high: float = 8.0,
        hidden: int = 256,
        dropout: float = 0.5,
    ):
        super().__init__()
        check_range(low, high)
        if not low < start < high:
            raise ValueError(f"temperature must start between low={low} and high={high}, got {start}")
        self.low, self.high = low, high
        self.projection = nn.Sequential(
            nn.Linear(num_classes, hidden), nn.Sigmoid(), nn.Dropout(dropout), nn.Linear(hidden, hidden)
        )
        self.log_scale = nn.Parameter(torch.zeros(()))
        self.last = nn.Linear(hidden, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.constant_(self.last.bias, math.log((start - low) / (high - start)))

    def forward(self, logits: Tensor) -> Tensor:
        logits = logits.to(self.last.weight.dtype)
        x = self.projection(F.normalize(logits - logits.mean(dim=1, keepdim=True), dim=1))  # [B, hidden]
        weights = torch.softmax(x * torch.exp(-self.log_scale), dim=1) - 1 / x.shape[1]
        return self.low + (self.high - self.low) * torch.sigmoid(self.last(weights * x).squeeze(1))


@LOSSES.register()
class TempNetKD(nn.Module):
    """KD whose temperature a small network reads off the teacher's logits, image by image.

    The sum of two terms: KD at that temperature (detached), which trains the student
    (:func:`kdzoo.losses.functional.personal_kd`), and ``balance`` times the robust loss of the
    frozen teacher on the labels, which trains the network as its authors do and gives the student no
    gradient (:func:`kdzoo.losses.functional.tempered_cross_entropy`; it may be negative). Their use for
    distillation is ours. ``PersonalKD`` solves for the same temperatures without a network.

    Args:
        num_classes: C; the Distiller offers it.
        temperature: where every image starts; KD's 4.
        low, high: bounds of the temperature; the authors' language models have 0.01 and 1.2 or 2.
        rho: in nats, above 0 and below log C; larger is sharper.
        hidden, dropout: of the network.
        balance: weight of the network's own loss, above 0.

    Example:
        >>> loss = TempNetKD(num_classes=100, rho=1.0)
        >>> value = loss(student_output, teacher_output, target)
    """

    needs_teacher = True

    def __init__(
        self,
        num_classes: int,
        temperature: float = 4.0,
        low: float = 1.0,
        high: float = 8.0,
        rho: float = 1.0,
        hidden: int = 256,
        dropout: float = 0.5,
        balance: float = 1.0,
    ):
        super().__init__()
        check_rho(rho)
        if not balance > 0:
            raise ValueError(f"balance must be above 0, got {balance}")
        self.rho, self.balance = rho, balance
        self.tempnet = TempNet(num_classes, temperature, low, high, hidden, dropout)

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        logits = widen(teacher.logits.detach())
        with full_precision(logits):
            temperature = self.tempnet(logits)
        taught = KF.personal_kd(student.logits, logits, temperature)
        return taught + self.balance * KF.tempered_cross_entropy(logits, target, temperature, self.rho)
