"""Classifier heads: what stands between a backbone's features and its decision.

Two kinds live here. Modules that train with a backbone are registered in ``kdzoo.registry.HEADS``, are built
as ``head(in_features, num_classes, ...)``, map features [B, D] to logits [B, C], and may bring the loss they
are made for as ``head.loss(logits, target) -> scalar`` (the ``HeadLoss`` of a config). Estimators with
scikit-learn's conventions are fitted on features that were extracted before.

    >>> head = dict(type="ArcFaceHead", scale=64.0, margin_rad=0.5)      # in a config, on any backbone
    >>> losses = [dict(type="HeadLoss")]

Names are imported on first use.
"""

import importlib

_HOMES = {
    "AMUTuning": "kdzoo.heads.amu",
    "ArcFaceHead": "kdzoo.heads.arcface",
    "CosFaceHead": "kdzoo.heads.cosface",
    "NormalizedSoftmaxHead": "kdzoo.heads.normalized_softmax",
    "HilbertKernelClassifier": "kdzoo.heads.hilbert_kernel",
    "NaiveBayesProbe": "kdzoo.heads.naive_bayes",
    "SVMHead": "kdzoo.heads.svm",
    "PlattScaling": "kdzoo.heads.calibration",
    "SparseMoEHead": "kdzoo.heads.moe",
    "TemperatureScaling": "kdzoo.heads.calibration",
    "TipAdapter": "kdzoo.heads.tip_adapter",
    "VQHead": "kdzoo.heads.vq",
    "choose_amu": "kdzoo.heads.amu",
    "class_mean_weights": "kdzoo.heads.zero_shot",
    "few_shot_split": "kdzoo.heads.few_shot",
    "k_shot": "kdzoo.heads.few_shot",
    "logistic_probe": "kdzoo.heads.probes",
    "l2_svm_loss": "kdzoo.heads.svm",
    "novel_protocol": "kdzoo.heads.novel",
    "svm_predict": "kdzoo.heads.svm",
    "two_regimes": "kdzoo.heads.probes",
    "zero_shot_weights": "kdzoo.heads.zero_shot",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str):
    if name not in _HOMES:
        raise AttributeError(f"module 'kdzoo.heads' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
