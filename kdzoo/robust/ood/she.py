"""Simplified Hopfield energy (Zhang et al., ICLR 2023)."""

import warnings

import torch
from torch import Tensor

from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Batches, ClassifierDetector


@DETECTORS.register()
class SHE(ClassifierDetector):
    """Inner product of the feature with the mean of the correctly classified training features of its predicted class.

    Args:
        model: as for every detector; its classifier has to be one linear layer.
        weight, bias: of the classifier, in place of a model.

    A class without a correctly classified sample gets the mean of all its samples, with a warning.

    Raises:
        ValueError: at fit: missing labels, or a class without any sample.

    Example:
        >>> SHE(weight=torch.eye(4)).fit_features(torch.eye(4), torch.arange(4)).score_features(torch.eye(4))
        tensor([1., 1., 1., 1.], dtype=torch.float64)
    """

    needs_fit, needs_labels = True, True

    def _fit(self, batches: Batches) -> None:
        classes, width = self.weight.shape
        sums = torch.zeros(2, classes, width, dtype=torch.float64, device=self.weight.device)  # right ones, all
        counts = sums.new_zeros(2, classes)
        for features, labels in batches():
            predicted, labels = self.logits(features).argmax(dim=1).to(sums.device), labels.to(sums.device).long()
            if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
                raise ValueError(f"labels are expected in 0..{classes - 1}; give those the classifier was trained on")
            rows, right = features.to(sums), predicted == labels
            for place, (mask, own) in enumerate([(right, labels[right]), (torch.ones_like(right), labels)]):
                sums[place].index_add_(0, own, rows[mask])
                counts[place] += torch.bincount(own, minlength=classes)
        self.patterns = _means(sums, counts)  # [C, D]

    def _score(self, x: Tensor) -> Tensor:
        pattern = self.patterns.to(x.device)[self.logits(x).argmax(dim=1)]
        return (x.double() * pattern).sum(dim=1)

    def _state(self) -> dict[str, Tensor]:
        return dict(patterns=self.patterns)

    def _restore(self, state: dict[str, Tensor]) -> None:
        self.patterns = state["patterns"]


def _means(sums: Tensor, counts: Tensor) -> Tensor:
    if not counts[1].all():
        missing = int(torch.nonzero(counts[1] == 0)[0])
        raise ValueError(f"class {missing} has no sample; SHE needs some of each of the {counts.shape[1]} classes")
    unknown = counts[0] == 0
    if unknown.any():
        warnings.warn(
            f"{int(unknown.sum())} of {len(unknown)} classes have no correctly classified sample, such as class "
            f"{int(torch.nonzero(unknown)[0])}; all their samples stand in for them",
            stacklevel=4,
        )
    return torch.where(unknown[:, None], sums[1] / counts[1][:, None], sums[0] / counts[0].clamp_min(1)[:, None])
