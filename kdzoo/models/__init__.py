"""Networks: the CIFAR networks of the distillation literature, timm's and torchvision's, behind one face.

Importing this package enters ours into timm's registry; afterwards ``timm.create_model("resnet8x4")`` works.

    >>> model = kdzoo.models.create_model("resnet8x4", num_classes=100)
    >>> student, teacher = kdzoo.models.create_pair("resnet32x4-resnet8x4", num_classes=100)
"""

import importlib
import pkgutil

from kdzoo.models.checkpoint import load_weights, read_metadata, save_weights, weights_hash
from kdzoo.models.classifier import Classifier
from kdzoo.models.factory import create_model
from kdzoo.models.pairs import PAIRS, Pair, create_pair

# Every module here registers what it defines, so a new family or source is one new file.
for _module in pkgutil.iter_modules(__path__, __name__ + "."):
    importlib.import_module(_module.name)

__all__ = [
    "PAIRS", "Classifier", "Pair", "create_model", "create_pair", "load_weights", "read_metadata", "save_weights",
    "weights_hash",
]
