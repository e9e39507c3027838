"""The interface of every detector: fit, score, save; a higher score means in-distribution."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from kdzoo.errors import UserError
from kdzoo.files import atomic_path
from kdzoo.robust.ood.taps import LayerReader, classifier_parameters

_ROWS = 4096  # rows of stored features taken at a time
Batches = Callable[[], Iterable[tuple[Tensor, Tensor]]]


class Detector:
    """What all detectors share.

    A subclass says with ``reads`` what it looks at: "logits" [N, C], "pooled" (the classifier's input, [N, D]) or
    "images". It implements ``_score(x)``, and ``_fit(batches)`` and ``_state()``/``_restore()`` where it has
    something to fit. ``batches()`` starts a new pass over (x, labels) pairs of any size, so that
    nothing of the size of the data set is held.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits, in evaluation mode; not needed by ``fit_features`` and
            ``score_features`` of detectors that only look at the array.
    """

    reads: ClassVar[Literal["logits", "pooled", "images"]] = "pooled"
    needs_fit: ClassVar[bool] = False
    needs_labels: ClassVar[bool] = False
    fit_rows: ClassVar[int | None] = _ROWS  # of stored features that a fit takes at a time; None: all

    def __init__(self, model: nn.Module | None = None):
        self.model, self.fitted = model, not self.needs_fit

    def fit(self, loader) -> "Detector":
        """Fit to in-distribution training data.

        Args:
            loader: a loader of ``kdzoo.data``, or any iterable of (images [B, C, H, W] in [0, 1], labels [B])
                that can be gone through again.

        Returns:
            The detector itself.

        Raises:
            ValueError: no model, or data that cannot be fitted (see the detector).
        """
        if self.needs_fit:
            self._need_model("fit")
        return self.fit_batches(lambda: self._read(loader))

    @torch.no_grad()
    def fit_batches(self, batches: Batches) -> "Detector":
        """Fit to features that are stored in pieces.

        Args:
            batches: ``batches()`` begins a pass over (features [B, D], labels [B]); more than one may be needed.
        """
        if self.needs_fit:
            self._fit(batches)
        self.fitted = True
        return self

    def fit_features(self, features: Tensor, labels: Tensor | None = None) -> "Detector":
        """Fit to what the detector reads, computed already: [N, D] (or logits [N, C]) and labels [N].

        Raises:
            ValueError: a wrong shape, a value that is not finite, labels missing where they are needed.
        """
        features = as_features(features)
        if labels is None and self.needs_labels:
            raise ValueError(f"{self.name} needs the labels of the features; give fit_features(features, labels)")
        labels = torch.full((len(features),), -1) if labels is None else torch.as_tensor(labels)
        return self.fit_batches(lambda: in_chunks(features, labels, self.fit_rows))

    def score(self, x: Tensor) -> Tensor:
        """[N] float64, higher for in-distribution.

        Args:
            x: images [B, C, H, W] in [0, 1], or what the detector reads as [N, D].

        Raises:
            ValueError: not fitted, no model for images, a wrong shape, a value that is not finite.
        """
        if x.ndim != 4:
            return self.score_features(x)
        self._need_model("score images")
        if self.reads == "images":
            self._need_fit()
            scores = self._score(x)
            if not torch.isfinite(scores.sum()):
                raise ValueError(f"the scores of {self.name} hold NaN or infinity; mend the network or the images")
            return scores
        with torch.no_grad():
            return self.score_features(self._of(x))

    def score_features(self, features: Tensor) -> Tensor:
        """[N] scores of what the detector reads, computed already."""
        self._need_fit()
        if self.reads == "images":
            raise ValueError(f"{self.name} scores images [B, C, H, W], not features: it needs the network's gradient")
        features = as_features(features)
        with torch.no_grad():
            parts = [self._score(part) for part, _ in in_chunks(features, features)]
        return torch.cat(parts).double() if parts else torch.zeros(0, dtype=torch.float64)

    def save(self, path: str | Path) -> None:
        """Write what was fitted as a safetensors file, atomically."""
        from safetensors.torch import save_file

        self._need_fit()
        with atomic_path(path) as temporary:
            save_file({k: v.cpu().contiguous() for k, v in self._state().items()}, temporary, dict(detector=self.name))

    def load(self, path: str | Path) -> "Detector":
        """Read what :meth:`save` wrote.

        Raises:
            UserError: no such file, a damaged one, one of another detector.
        """
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                kind = (file.metadata() or {}).get("detector")
                state = {name: file.get_tensor(name) for name in file.keys()}
        except (OSError, SafetensorError) as error:
            raise UserError(f"{path} can't be read as a detector ({error}); fit it again") from None
        if kind != self.name:
            raise UserError(f"{path} holds a {kind}, not a {self.name}; give the file it was saved to")
        self._restore(state)
        self.fitted = True
        return self

    @property
    def name(self) -> str:
        return type(self).__name__

    def _fit(self, batches: Batches) -> None:
        raise NotImplementedError

    def _score(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def _state(self) -> dict[str, Tensor]:
        return {}

    def _restore(self, state: dict[str, Tensor]) -> None:
        pass

    def _of(self, images: Tensor) -> Tensor:
        """What the detector reads, of images."""
        if self.reads == "logits":
            return self.model(images)
        return LayerReader(self.model, ["pooled"])(images)[1]["pooled"]

    @torch.no_grad()
    def _read(self, loader) -> Iterator[tuple[Tensor, Tensor]]:
        for images, labels in image_batches(loader):
            yield self._of(images), labels

    def _need_model(self, what: str) -> None:
        if self.model is None:
            raise ValueError(f"{self.name} has no model to {what} with; give model=, or features in place of images")

    def _need_fit(self) -> None:
        if not self.fitted:
            raise ValueError(f"{self.name} is not fitted; call fit(loader) or fit_features(features, labels) first")


class ClassifierDetector(Detector):
    """A detector on the classifier's input that also needs the classifier.

    Args:
        model: as for every detector; its classifier has to be one linear layer.
        weight: [C, D], in place of a model.
        bias: [C].

    Raises:
        ValueError: neither, or a classifier of another kind (a cosine head, a mixture, two heads).
    """

    def __init__(self, model: nn.Module | None = None, weight: Tensor | None = None, bias: Tensor | None = None):
        super().__init__(model)
        if weight is None and model is None:
            raise ValueError(f"{self.name} needs the classifier; give model=, or weight= [C, D] and bias= [C]")
        if weight is None:
            try:
                weight, bias = classifier_parameters(model)
            except ValueError as error:
                raise ValueError(f"{self.name} needs the classifier, but {error}") from None
        if bias is None:
            bias = torch.zeros(len(weight))
        self.weight, self.bias = torch.as_tensor(weight).detach(), torch.as_tensor(bias).detach()

    def logits(self, pooled: Tensor) -> Tensor:
        """[B, D] -> [B, C]."""
        if pooled.shape[1] != self.weight.shape[1]:
            raise ValueError(f"{self.name} takes [N, {self.weight.shape[1]}] but got {list(pooled.shape)}")
        return pooled @ self.weight.to(pooled).T + self.bias.to(pooled)


def image_batches(loader) -> Iterator[tuple[Tensor, Tensor]]:
    """(images, labels) of a kdzoo loader or of any iterable of pairs."""
    if hasattr(loader, "epoch"):
        yield from ((batch.images, batch.target) for batch in loader.epoch(0))
    else:
        yield from loader


def as_features(features) -> Tensor:
    """A floating [N, D] tensor; ValueError for another shape."""
    features = torch.as_tensor(features)
    if features.ndim != 2:
        raise ValueError(f"features are expected as [N, D] but got {list(features.shape)}")
    features = features.cpu() if features.device.type == "mps" else features  # it has no float64
    return features if features.is_floating_point() else features.double()


def in_chunks(features: Tensor, labels: Tensor, rows: int | None = _ROWS) -> Iterator[tuple[Tensor, Tensor]]:
    """Rows of both, some thousand (``None``: all) at a time, checked for NaN."""
    if len(features) != len(labels):
        raise ValueError(f"there are {len(features)} features and {len(labels)} labels; give one label a row")
    rows = rows or max(1, len(features))
    for start in range(0, len(features), rows):
        part = features[start : start + rows]
        if not torch.isfinite(part.sum(dtype=torch.float64)):  # NaN and infinity survive a sum
            raise ValueError("the features hold NaN or infinity; mend the network or the images they come from")
        yield part, labels[start : start + rows]
