"""AMU-Tuning: a zero-shot classifier, corrected where it is unsure by a linear predictor on other features."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from kdzoo.heads.uncertainty import check_uncertainty, uncertainty
from kdzoo.heads.zero_shot import (
    Pair,
    accuracy,
    check_pair,
    check_text_weights,
    one_hot,
    unit_tensor,
    zero_shot_logits,
)


@dataclass
class AMUOutput:
    """Logits [B, K]: of the fusion, of the zero-shot branch, and (standardised) of the auxiliary branch."""

    logits: Tensor
    clip_logits: Tensor
    aux_logits: Tensor


class AMUTuning:
    r"""Few-shot tuning of a zero-shot classifier from cached features.

    Fused logits are :math:`z + \alpha\,\kappa(x)\,\tilde z`: z the zero-shot logits, :math:`\tilde z` a bias-free
    linear predictor's on unit auxiliary features, standardised over the classes, and kappa how unsure z is
    (:func:`kdzoo.heads.uncertainty.uncertainty`). The predictor starts at the class means of the shots and trains on
    :math:`\lambda\,CE(fused) + (1 - \lambda)\,CE(\tilde z)`. The encoders stay frozen, so features are enough.

    Args:
        text_weights: [D, K], one unit column a class: text embeddings, or class means
            (:func:`kdzoo.heads.zero_shot.class_mean_weights`).
        alpha: of the fusion, 0.5.
        balance: lambda in [0, 1], 0.35 as in the authors' command (their code's default is 1).
        kind, power, constant: of the uncertainty. It is on by default; the authors' published command leaves it off.
        epochs: over the shots, 50.
        lr: of AdamW (weight decay 0.01, eps 1e-4, cosine over all steps), 1e-3.
        batch_size: 8.
        scale: of the zero-shot logits, CLIP's 100.
        seed: of the batches.

    ``fit`` keeps the epoch that is best on the validation samples, where there are some, and else the last. The
    authors choose it on the test set; here nothing sees that before ``score``.

    Source: Tang et al., AMU-Tuning: Effective Logit Bias for CLIP-based Few-shot Learning, CVPR 2024. Written from the
    formulas; the predictor's start divides by true counts, also where shots are unbalanced.

    Example:
        >>> amu = AMUTuning(text_weights).fit((clip, aux), y, validation=((clip_val, aux_val), y_val))
        >>> amu.score((clip_test, aux_test), y_test)
    """

    def __init__(
        self,
        text_weights: Tensor | np.ndarray,
        alpha: float = 0.5,
        balance: float = 0.35,
        kind: str = "kurtosis",
        power: float = 0.4,
        constant: float | None = None,
        epochs: int = 50,
        lr: float = 1e-3,
        batch_size: int = 8,
        scale: float = 100.0,
        seed: int = 0,
    ):
        check_uncertainty(kind, power, constant)
        if not 0 <= balance <= 1:
            raise ValueError(f"balance must be in [0, 1], got {balance}")
        if epochs < 0 or batch_size < 1 or not lr > 0:
            raise ValueError(f"epochs >= 0, batch_size >= 1 and lr > 0 are needed, got {epochs}, {batch_size}, {lr}")
        self.text_weights = check_text_weights(text_weights)
        self.alpha, self.balance, self.epochs, self.lr, self.batch_size = alpha, balance, epochs, lr, batch_size
        self.kind, self.power, self.constant, self.scale, self.seed = kind, power, constant, scale, seed
        self.weight: Tensor | None = None  # [K, A]
        self.history: list[float] = []  # validation accuracy in percent; entry 0 is before training

    @property
    def classes(self) -> int:
        return self.text_weights.shape[1]

    def start(self, aux: Tensor | np.ndarray, y: Tensor | np.ndarray) -> "AMUTuning":
        """Put the predictor at the class means of unit features [N, A]; no renormalisation, as in the paper."""
        aux = unit_tensor(aux, "aux features")
        member = one_hot(y, len(aux), self.classes).to(aux)  # [N, K]
        counts = member.sum(0)
        if (counts == 0).any():
            raise ValueError(f"y has no sample of class {int((counts == 0).nonzero()[0])}; every class needs a shot")
        self.weight = member.T @ aux / counts[:, None]
        return self

    def fit(self, features: Pair, y: Tensor | np.ndarray, validation: tuple[Pair, Tensor] | None = None) -> "AMUTuning":
        """Train the predictor on the shots.

        Args:
            features: (zero-shot branch [N, D], auxiliary [N, A]); not changed.
            y: [N] classes 0 to K - 1, each at least once.
            validation: ((features, auxiliary), labels) to choose the epoch by.

        Raises:
            ValueError: wrong shapes, NaN, a class without a shot.
        """
        clip, aux, y = check_pair(features, y, self.text_weights)
        self.start(aux, y)
        self.weight.requires_grad_()
        optimizer = torch.optim.AdamW([self.weight], lr=self.lr, weight_decay=0.01, eps=1e-4)
        steps = max(1, self.epochs * -(-len(y) // self.batch_size))
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
        generator = torch.Generator().manual_seed(self.seed)
        best, kept, self.history = -1.0, self.weight.detach().clone(), []
        for epoch in range(self.epochs + 1):
            if epoch:
                for rows in torch.randperm(len(y), generator=generator).to(y.device).split(self.batch_size):
                    optimizer.zero_grad()
                    self.loss((clip[rows], aux[rows]), y[rows]).backward()
                    optimizer.step()
                    schedule.step()
            if validation is not None:
                self.history.append(self.score(*validation))
            if validation is None or self.history[-1] > best:
                best, kept = self.history[-1] if self.history else best, self.weight.detach().clone()
        self.weight = kept
        return self

    def outputs(self, features: Pair) -> AMUOutput:
        """Fused and both branches' logits; ``fit`` or ``start`` comes first."""
        if self.weight is None:
            raise ValueError("this AMUTuning has no predictor yet; call fit first")
        clip, aux, _ = check_pair(features, None, self.text_weights)
        clip_logits = zero_shot_logits(clip, self.text_weights.to(clip), self.scale)
        aux_logits = standardise(aux @ self.weight.to(aux).T)
        kappa = uncertainty(clip_logits, self.kind, self.power, self.constant).to(aux_logits.dtype)
        return AMUOutput(clip_logits + self.alpha * kappa * aux_logits, clip_logits, aux_logits)

    def loss(self, features: Pair, y: Tensor) -> Tensor:
        """The training loss, a scalar."""
        output = self.outputs(features)
        fused, alone = F.cross_entropy(output.logits, y), F.cross_entropy(output.aux_logits, y)
        return self.balance * fused + (1 - self.balance) * alone

    @torch.no_grad()
    def predict(self, features: Pair) -> np.ndarray:
        """Classes [B]."""
        return self.outputs(features).logits.argmax(dim=1).cpu().numpy()

    def score(self, features: Pair, y: Tensor | np.ndarray) -> float:
        """Accuracy in percent."""
        return accuracy(self.predict(features), y)


def standardise(logits: Tensor) -> Tensor:
    """[B, K] less its mean over classes, divided by its deviation (K - 1); a flat row becomes zeros."""
    std = logits.std(dim=1, keepdim=True)
    return (logits - logits.mean(dim=1, keepdim=True)) / std.clamp_min(torch.finfo(logits.dtype).eps)


def choose_amu(
    text_weights: Tensor | np.ndarray,
    features: Pair,
    y: Tensor,
    validation: tuple[Pair, Tensor],
    alphas: Iterable[float] = (0.1, 0.5, 1.0, 2.0, 5.0),
    powers: Iterable[float] = (0.4,),
    **keywords: object,
) -> AMUTuning:
    """AMUTuning with the alpha and power that are best on the validation samples (of equals, the first tried).

    Example:
        >>> amu = choose_amu(text_weights, (clip, aux), y, ((clip_val, aux_val), y_val))
    """
    fitted = [
        AMUTuning(text_weights, alpha=alpha, power=power, **keywords).fit(features, y, validation)
        for alpha, power in product(alphas, powers)
    ]
    if not fitted:
        raise ValueError("alphas and powers must hold at least one number each")
    return max(fitted, key=lambda amu: max(amu.history))
