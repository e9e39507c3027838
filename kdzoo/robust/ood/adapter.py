"""Every detector of pytorch-ood, with the sign turned: higher means in-distribution here."""

import inspect
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from kdzoo.errors import UserError, did_you_mean
from kdzoo.registry import DETECTORS
from kdzoo.robust.ood.detector import Batches, Detector, image_batches
from kdzoo.robust.ood.taps import LayerReader, classifier_parameters, linear_classifier


@DETECTORS.register()
class PytorchOOD(Detector):
    """A detector of pytorch-ood (Kirchheim, Filax and Ortmeier, CVPR workshops 2022; ``pip install pytorch-ood``).

    What its constructor needs of the network (model, encoder, backbone, head, w, b, d) is filled in by name. Those
    that fit to features or logits hold all of them in memory, and cannot be saved.

    Args:
        model: images [B, C, H, W] in [0, 1] -> logits.
        detector: its name there ("KNN", "ViM", "fDBD", ...), or a detector made already.
        options: its other keywords.

    Raises:
        UserError: pytorch-ood is not installed, an unknown detector, an option missing.

    Example:
        >>> PytorchOOD(model, "KNN", options=dict(k=20)).fit(loader).score(images)
    """

    def __init__(self, model: nn.Module | None = None, detector="MaxSoftmax", options: dict | None = None):
        super().__init__(model)
        try:
            import pytorch_ood.detector as peers
            from pytorch_ood import api
        except ImportError as error:
            raise UserError(f"pytorch-ood is not installed ({error}); pip install pytorch-ood") from None
        self.peer = _build(peers, model, detector, options or {}) if isinstance(detector, str) else detector
        self.kind = type(self.peer).__name__
        self.needs_fit = self.needs_labels = bool(self.peer.requires_fit)
        self.fitted = not self.needs_fit
        if isinstance(self.peer, api.LogitsDetector):
            self.reads, self._fit_rows, self._predict = "logits", self.peer.fit_logits, self.peer.predict_logits
        elif isinstance(self.peer, api.FeaturesDetector):
            self.reads, self._fit_rows, self._predict = "pooled", self.peer.fit_features, self.peer.predict_features
        else:
            self.reads, self._predict = "images", self.peer.predict

    @property
    def name(self) -> str:
        return f"pytorch-ood {self.kind}"

    def fit(self, loader) -> "PytorchOOD":
        """Fit to (images, labels); see :meth:`Detector.fit`."""
        if self.reads != "images":
            return super().fit(loader)
        if self.needs_fit:
            self.peer.to(next(self.model.parameters()).device if self.model is not None else "cpu")
            self.peer.fit(_Pairs(loader))
        self.fitted = True
        return self

    def save(self, path) -> None:
        """Not possible: pytorch-ood's detectors have no file format but pickles."""
        raise ValueError(f"{self.name} cannot be saved without a pickle; fit it again where it is needed")

    def _fit(self, batches: Batches) -> None:
        features, labels = (torch.cat(parts) for parts in zip(*batches(), strict=True))
        self._fit_rows(features, labels)

    def _score(self, x: Tensor) -> Tensor:
        return -torch.as_tensor(self._predict(x)).double()


class _Pairs:
    """A loader as pytorch-ood takes it."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        return image_batches(self.loader)

    def __len__(self) -> int:
        return len(self.loader)


class _Encoder(nn.Module):
    """Images to the classifier's input [B, D]."""

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model, self._reader = model, [LayerReader(model, ["pooled"])]

    def forward(self, images: Tensor) -> Tensor:
        return self._reader[0](images)[1]["pooled"]


def _build(peers, model: nn.Module | None, name: str, options: dict):
    """The detector of that name, with what it needs of the network."""
    found = getattr(peers, name, None)
    if not inspect.isclass(found):
        names = [n for n in peers.__all__ if inspect.isclass(getattr(peers, n))]
        raise UserError(f"pytorch-ood has no detector {name!r}{did_you_mean(name, names)}")
    parameters = inspect.signature(found.__init__).parameters
    unknown = [key for key in options if key not in parameters and "knn_kwargs" not in parameters]
    if unknown:
        raise UserError(f"{name} of pytorch-ood has no option {unknown[0]!r}{did_you_mean(unknown[0], parameters)}")
    values = dict(options)
    for key in parameters:
        if key not in values and key in _OFFERS and model is not None:
            chained = name == "MultiMahalanobis" and key == "model"
            maps = bool({"backbone", "feature_layers"} & set(parameters))
            values[key] = _stages(model, maps) if chained else _OFFERS[key](model, maps)
    missing = [
        key for key, parameter in parameters.items()
        if key != "self" and key not in values
        and parameter.default is parameter.empty and parameter.kind is parameter.POSITIONAL_OR_KEYWORD
    ]  # fmt: skip
    if missing:
        raise UserError(f"{name} of pytorch-ood needs {', '.join(missing)}; give options=dict({missing[0]}=...)")
    return found(**values)


def _backbone(model: nn.Module, _: bool):
    return lambda images: model.network.forward_features(model.normalise(images))


def _head(model: nn.Module, of_maps: bool):
    """The classifier: of maps [B, D, H, W] where the detector takes those, else of [B, D]."""
    return model.network.forward_head if of_maps else linear_classifier(model)


class _Stage(nn.Module):
    """A step of the network as a module."""

    def __init__(self, run, owner: nn.Module):
        super().__init__()
        self.run, self.owner = run, owner

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x)


def _stages(model: nn.Module, _: bool) -> list[nn.Module]:
    """The network as a chain: normalisation and stem, then every further stage."""
    if not hasattr(model.network, "stages"):
        raise UserError(f"{model.name} does not name its stages; give its layers in options")
    stem, *further = model.network.stages()
    return [_Stage(lambda images: stem(model.normalise(images)), model), *(_Stage(s, model.network) for s in further)]


_OFFERS = {
    "layers": lambda model, _: [s for s in model.network.stages() if isinstance(s, nn.Module)],
    "feature_layers": _stages,
    "num_classes": lambda model, _: model.num_classes,
    "model": lambda model, _: model,
    "encoder": lambda model, _: _Encoder(model),
    "backbone": _backbone,
    "head": _head,
    "w": lambda model, _: classifier_parameters(model)[0],
    "b": lambda model, _: classifier_parameters(model)[1],
    "d": lambda model, _: min(256, classifier_parameters(model)[0].shape[1] // 2),
    "p": lambda model, _: 0.9,  # the share of weights DICE drops, its paper's for CIFAR
}
