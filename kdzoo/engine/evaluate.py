"""Evaluation: one pass over a test set, then top-1, top-5, NLL, ECE, confusion and the worst mistakes."""

import time
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from kdzoo.data import Batch
from kdzoo.errors import UserError
from kdzoo.files import atomic_path


@dataclass
class Scores:
    """What a classifier reaches on a set of images.

    Args:
        top1, top5: accuracy in percent; top5 is ``None`` where there are fewer than 6 classes.
        nll: mean negative log-likelihood, in nats.
        ece: expected calibration error of the top class, 15 bins of equal width, in percent.
    """

    top1: float
    top5: float | None
    nll: float
    ece: float

    def asdict(self) -> dict[str, float | None]:
        return asdict(self)


def score(logits: Tensor, target: Tensor) -> Scores:
    """Scores of [N, C] logits against [N] class indices; one host sync at the end.

    Example:
        >>> score(torch.eye(3) * 9, torch.tensor([0, 1, 2])).top1
        100.0
    """
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_calibration_error

    logits, classes = logits.float(), logits.shape[1]
    # torchmetrics gives a confidence of exactly 1 a 16th bin of its own; the last of the 15 holds it as well.
    confidence = logits.softmax(dim=1).clamp_max(1 - 2**-24)
    values = [
        multiclass_accuracy(logits, target, num_classes=classes, average="micro"),
        among_top(logits, target, 5).float().mean(),
        F.cross_entropy(logits, target),
        multiclass_calibration_error(confidence, target, classes, n_bins=15),
    ]
    top1, top5, nll, ece = torch.stack([v.float() for v in values]).tolist()
    return Scores(100 * top1, 100 * top5 if classes > 5 else None, nll, 100 * ece)


def among_top(logits: Tensor, target: Tensor, k: int) -> Tensor:
    """[N] whether the target is among the k largest of its row; of equal logits the first counts as the larger.

    That is argmax's rule, so that top-1 is never above top-5; topk takes any of those that tie.
    """
    logits, target = logits.nan_to_num(nan=float("inf"), posinf=float("inf"), neginf=-float("inf")), target[:, None]
    own = logits.gather(1, target)
    place = torch.arange(logits.shape[1], device=logits.device)
    return ((logits > own) | ((logits == own) & (place < target))).sum(dim=1) < k


@torch.no_grad()
def predict(
    model: nn.Module,
    batches: Iterable[Batch],
    context: Callable[[], AbstractContextManager] = nullcontext,
) -> tuple[Tensor, Tensor]:
    """Logits [N, C] and targets [N] of all batches, on the device.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits [B, C]; put into evaluation mode for the pass.
        batches: as a test loader gives them.
        context: makes the context to run the model in (autocast).

    Raises:
        UserError: there is no image.
    """
    was_training = model.training
    model.eval()
    logits, targets = [], []
    for batch in batches:
        with context():
            logits.append(model(batch.images).float())
        targets.append(batch.target)
    model.train(was_training)
    if not logits:
        raise UserError(
            "there is no test image to evaluate on: none could be read, or there are fewer than processes; mend the "
            "test part of the data"
        )
    return torch.cat(logits), torch.cat(targets)


def gather_rows(accelerator: Accelerator, logits: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Join the parts of all processes, which may differ in length by a few rows."""
    if accelerator.num_processes == 1:
        return logits, target
    logits = accelerator.gather(accelerator.pad_across_processes(logits))
    target = accelerator.gather(accelerator.pad_across_processes(target, pad_index=-1))
    return logits[target >= 0], target[target >= 0]


def evaluate(model: nn.Module, loader, context: Callable[[], AbstractContextManager] = nullcontext) -> Scores:
    """Scores of a model on a test loader, in this process alone.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits [B, C], on the loader's device.
        loader: ``data.test`` of ``kdzoo.data.build_data``.
        context: makes the context to run the model in (autocast).

    Example:
        >>> scores = kdzoo.evaluate(model, data.test)
        >>> print(scores.top1)
    """
    return score(*predict(model, loader.epoch(0), context=context))


def throughput(model: nn.Module, images: Tensor, seconds: float = 1.0) -> float:
    """Images per second of the forward pass alone, on one repeated batch; the median of the rounds."""

    def wait() -> None:
        if images.device.type == "cuda":
            torch.cuda.synchronize(images.device)

    rates: list[float] = []
    model.eval()
    with torch.inference_mode():
        model(images)
        wait()
        began = time.perf_counter()
        while len(rates) < 3 or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            model(images)
            wait()
            rates.append(len(images) / (time.perf_counter() - start))
    return sorted(rates)[len(rates) // 2]


def confusion_matrix(logits: Tensor, target: Tensor) -> Tensor:
    """[C, C] counts on the CPU; rows are true classes, columns predicted ones."""
    from torchmetrics.functional.classification import multiclass_confusion_matrix

    return multiclass_confusion_matrix(logits.argmax(dim=1), target, num_classes=logits.shape[1]).cpu()


def write_evaluation(
    path: Path, confusion: Tensor, logits: Tensor, target: Tensor, loader, classes: list[str], most: int = 48
) -> None:
    """``evaluation.npz``: the confusion matrix and the most confident mistakes with their pictures.

    Args:
        path: the file.
        confusion: [C, C] over all test images.
        logits, target: [N, C] and [N], in this loader's order (of several processes, one's part).
        loader: the test loader, read again for the pictures.
        classes: names.
        most: mistakes kept.
    """
    confidence, predicted = logits.float().softmax(dim=1).max(dim=1)
    wrong = torch.where(predicted != target, confidence, torch.full_like(confidence, -1.0))
    worst = wrong.argsort(descending=True, stable=True)[: min(most, int((wrong >= 0).sum()))].cpu()
    arrays = dict(
        confusion=confusion.numpy(),
        classes=np.array(classes, dtype=np.str_),
        mistakes_images=_pictures(loader, worst),
        mistakes_true=target.cpu()[worst].numpy(),
        mistakes_predicted=predicted.cpu()[worst].numpy(),
        mistakes_confidence=confidence.cpu()[worst].numpy(),
    )
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def _pictures(loader, rows: Tensor) -> np.ndarray:
    """uint8 [K, H, W, C] of those test images, in that order."""
    found: dict[int, np.ndarray] = {}
    wanted, position = set(rows.tolist()), 0
    for batch in loader.epoch(0):
        for row in wanted & set(range(position, position + len(batch.images))):
            image = batch.images[row - position].float().clamp(0, 1).mul(255).round().byte()
            found[row] = image.permute(1, 2, 0).cpu().numpy()
        position += len(batch.images)
    pictures = [found[row] for row in rows.tolist()]
    return np.stack(pictures) if pictures else np.zeros((0, 1, 1, 1), dtype=np.uint8)
