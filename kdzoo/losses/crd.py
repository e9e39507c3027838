"""CRD: an image's embedding tells its own teacher embedding from those of many other images."""

from math import log

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kdzoo.losses.features import pooled_pair, unit
from kdzoo.losses.functional.checks import check_labels, check_temperature, full_precision, reduce
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


def noise_contrast(
    positive: Tensor, negatives: Tensor, kept: Tensor, log_noise: Tensor, reduction: str = "mean"
) -> Tensor:
    r""":math:`-\log h(p) - \sum_k \log (1 - h(n_k))` with :math:`h(x) = e^x / (e^x + c)`.

    Args:
        positive: [B], log-scores of the true pairs.
        negatives: [B, K], log-scores of the false ones.
        kept: [B, K] bool; the kept negatives are weighed up to K.
        log_noise: log c, a scalar.
        reduction: ``"mean"`` over the batch, ``"sum"``, or ``"none"`` for [B].
    """
    weight = kept.shape[1] / kept.sum(1).clamp(min=1)
    false = F.softplus(negatives - log_noise).where(kept, 0.0).sum(1) * weight
    return reduce(F.softplus(log_noise - positive) + false, reduction)


@LOSSES.register()
class CRD(nn.Module):
    r"""Contrastive representation distillation on the pooled features, with a memory of the training set:
    :math:`\ell(v_s, M_t) + \ell(v_t, M_s)`, mean over the batch, with

    .. math:: \ell(v, M) = -\log h(v \cdot m_i) - \sum_{k=1}^{K} \log (1 - h(v \cdot m_k)), \quad
        h(x) = \frac{e^{x/T} / Z}{e^{x/T} / Z + K/N}

    Two linear layers, trained with the student, embed both models' pooled features as vectors v of
    length 1. The memories M keep the last embeddings of each of the N training images, so a batch must carry its
    images' positions, ``student.index``. After use :math:`m \leftarrow (\mu m + (1 - \mu) v)`, at
    length 1. K negatives are drawn for every image, with replacement; draws of its own class are left
    out and the others weighed up. The first training batch sets each Z, its mean score times N. Memories, Z and
    classes are buffers (2 N dim floats), kept in checkpoints and changed in training mode only.

    Args:
        dim: 128, of the embeddings.
        negatives: K, 16384.
        temperature: T, 0.07.
        momentum: :math:`\mu`, 0.5; in [0, 1).
        student_example, teacher_example: outputs with pooled features, which the embeddings are made from.
        train_size: N, the number of training images.
        train_labels: [N] int64, their classes, where they are known beforehand.

    Published weight: 0.8, beside cross-entropy 1.

    Source: Tian et al., Contrastive Representation Distillation, ICLR 2020; defaults and Z from
    RepDistiller, as in mdistiller. Different here: scores stay logarithms, so their 1e-7 in h's
    denominator is not needed; a zero embedding stays zero instead of NaN; and the negatives, which their data set
    draws from other classes (without replacement where it can), are drawn here on the device; without
    ``train_labels`` the classes are learnt as images pass by. A mixed image counts as the one whose index it carries,
    which only ``train_labels`` can tell: without them it counts as its target's largest class. Under
    DDP each process refreshes its own images and the first process's buffers win.

    Example:
        >>> loss = CRD(student_example=student_output, teacher_example=teacher_output, train_size=50_000)
        >>> value = loss(student_output, teacher_output, target)  # student_output.index: [B]
    """

    needs_teacher = True
    needs_features = True
    needs_index = True

    def __init__(
        self,
        dim: int = 128,
        negatives: int = 16384,
        temperature: float = 0.07,
        momentum: float = 0.5,
        *,
        student_example: ModelOutput,
        teacher_example: ModelOutput | None,
        train_size: int,
        train_labels: Tensor | None = None,
    ):
        super().__init__()
        if min(dim, negatives, train_size) < 1:
            raise ValueError(f"dim, negatives and train_size must be at least 1, got {dim}, {negatives}, {train_size}")
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1), got {momentum}")
        self.negatives, self.temperature, self.momentum = negatives, check_temperature(temperature), momentum
        student, teacher = pooled_pair(student_example, teacher_example, "CRD")
        self.embed_student = nn.Linear(student.shape[1], dim)
        self.embed_teacher = nn.Linear(teacher.shape[1], dim)
        bound = (3 / dim) ** 0.5  # uniform in +-bound: length 1 on average
        self.register_buffer("student_memory", torch.empty(train_size, dim).uniform_(-bound, bound))
        self.register_buffer("teacher_memory", torch.empty(train_size, dim).uniform_(-bound, bound))
        self.knows_labels = train_labels is not None
        labels = check_train_labels(train_labels, train_size) if self.knows_labels else torch.full((train_size,), -1)
        self.register_buffer("labels", labels)  # -1: not seen yet
        self.register_buffer("log_z", torch.zeros(2))  # of student anchors, of teacher anchors
        self.register_buffer("has_z", torch.tensor(False))

    def forward(self, student: ModelOutput, teacher: ModelOutput, target: Tensor) -> Tensor:
        ours, theirs = pooled_pair(student, teacher, "CRD")
        index = check_index(student.index, len(ours), len(self.labels)).to(ours.device)
        label = check_labels(target, student.logits).unsqueeze(1)  # [B, 1]
        if target.ndim == 2 and self.knows_labels:  # below a share of one half the largest class is the partner's
            label = self.labels[index].unsqueeze(1)
        if self.training:
            self.labels[index] = label[:, 0]
        drawn = torch.randint(len(self.labels), (len(index), self.negatives), device=ours.device)
        kept = self.labels[drawn] != label
        drawn = torch.cat([index.unsqueeze(1), drawn], dim=1)  # [B, 1 + K]
        with full_precision(ours):
            ours, theirs = unit(self.embed_student(ours), dim=1), unit(self.embed_teacher(theirs), dim=1)
            scores = [self.scores(ours, self.teacher_memory, drawn), self.scores(theirs, self.student_memory, drawn)]
        log_noise = self.normalizers(scores) + log(self.negatives / len(self.labels))
        if self.training:
            self.remember(self.student_memory, index, ours)
            self.remember(self.teacher_memory, index, theirs)
        return sum(noise_contrast(s[:, 0], s[:, 1:], kept, c) for s, c in zip(scores, log_noise, strict=True))

    def scores(self, anchors: Tensor, memory: Tensor, drawn: Tensor) -> Tensor:
        """Log-scores [B, 1 + K] of anchors [B, dim] with the drawn rows of the memory."""
        # All N scores first: for N up to a few hundred K that is less memory traffic than gathering B K vectors.
        # The copy is for the backward pass, which comes after the memory has changed.
        return (anchors @ memory.clone().T).gather(1, drawn) / self.temperature

    @torch.no_grad()
    def normalizers(self, scores: list[Tensor]) -> Tensor:
        """log Z [2], of the first training batch for good. No host sync: the choice is made on the device."""
        log_means = torch.stack([s.flatten().logsumexp(0) - log(s.numel()) for s in scores])
        log_z = torch.where(self.has_z, self.log_z, log_means + log(len(self.labels)))
        if self.training:
            self.log_z.copy_(log_z)
            self.has_z.fill_(True)
        return log_z

    @torch.no_grad()
    def remember(self, memory: Tensor, index: Tensor, embeddings: Tensor) -> None:
        memory[index] = unit(self.momentum * memory[index] + (1 - self.momentum) * embeddings, dim=1)


def check_train_labels(labels: Tensor, train_size: int) -> Tensor:
    if labels.shape != (train_size,) or labels.dtype != torch.int64:
        raise ValueError(f"train_labels must be int64 [{train_size}], got {labels.dtype} {list(labels.shape)}")
    return labels.clone()


def check_index(index: Tensor | None, size: int, train_size: int) -> Tensor:
    if index is None:
        raise ValueError(
            "CRD needs student.index, the images' positions in the training set, but it is None; "
            "train on a data set that tells them, or use a loss without a memory (RKD, SP, PKT)"
        )
    if index.shape != (size,) or index.dtype != torch.int64:
        raise ValueError(f"student.index must be int64 [{size}], got {index.dtype} {list(index.shape)}")
    # On a GPU the look-up itself would fail; checking there would cost a host sync.
    look = index.device.type == "cpu" and not torch.compiler.is_compiling()
    if look and size and not 0 <= int(index.min()) <= int(index.max()) < train_size:
        found = f"{int(index.min())} to {int(index.max())}"
        raise ValueError(f"student.index must be in [0, {train_size}), CRD's train_size, got {found}")
    return index
