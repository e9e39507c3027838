"""The 17 teacher/student pairs of the CIFAR-100 distillation tables, with their recipes and numbers.

All of them: 240 epochs, batch 64, SGD with momentum 0.9 and weight decay 5e-4, learning rate 0.05
(0.01 for MobileNetV2 and ShuffleNet students) divided by ten after epochs 150, 180 and 210, pad-4
crop and flip (Tian et al., CRD, ICLR 2020).

    >>> student, teacher = create_pair("resnet32x4-resnet8x4", num_classes=100)
    >>> PAIRS["resnet32x4-resnet8x4"].published["KD"]
    73.33
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kdzoo.errors import ConfigError, did_you_mean
from kdzoo.models.checkpoint import load_weights
from kdzoo.models.classifier import Classifier
from kdzoo.models.factory import create_model

# The literature's names that are not the registered ones. They hold in this module only: everywhere
# else "vgg13" and "resnet50" are timm's.
ALIASES = {
    "vgg11": "vgg11_cifar",
    "vgg13": "vgg13_cifar",
    "vgg16": "vgg16_cifar",
    "vgg19": "vgg19_cifar",
    "resnet50": "resnet50_cifar",
    "ResNet50": "resnet50_cifar",
    "mobilenetv2": "mobilenetv2_half",
    "MobileNetV2": "mobilenetv2_half",
    "ShuffleV1": "shufflenetv1",
    "ShuffleV2": "shufflenetv2",
}


@dataclass(frozen=True)
class Pair:
    """A teacher, a student and how the literature distils the one into the other.

    Args:
        name: "TEACHER-STUDENT" in the literature's names.
        teacher: registered name of the teacher.
        student: registered name of the student.
        learning_rate: SGD's, at batch 64.
        ce_weight: of the cross-entropy beside KD, standardized or not.
        kd_temperature: of classic KD (Hinton et al., 2015).
        kd_weight: of classic KD.
        lskd_temperature: base temperature of KD with standardized logits (Sun et al., CVPR 2024), as
            the file names of the authors' logs give it; 2 where there is no log.
        lskd_weight: likewise; 9 where there is no log.
        dkd_beta: of DKD (Zhao et al., CVPR 2022) with alpha 1 and temperature 4; mdistiller's default
            8 where it has no setting of its own for the pair.
        published: CIFAR-100 top-1 in percent, by method; "teacher" and "student" are trained alone,
            "+LS" is with standardized logits. Means of a few runs, mostly of the best test epoch.
    """

    name: str
    teacher: str
    student: str
    learning_rate: float = 0.05
    ce_weight: float = 0.1
    kd_temperature: float = 4.0
    kd_weight: float = 0.9
    lskd_temperature: float = 2.0
    lskd_weight: float = 9.0
    dkd_beta: float = 8.0
    published: dict[str, float] = field(default_factory=dict, hash=False)


METHODS = (
    "teacher", "student", "KD", "KD+LS", "DKD", "DKD+LS", "CTKD", "CTKD+LS", "MLKD", "MLKD+LS", "DIST", "CRD",
)
# Sources: teacher, student, KD and CRD from RepDistiller's table; DKD, CTKD, MLKD and every +LS from the
# Logit Standardization repository; DIST from its own. Columns as in METHODS.
TABLE = """
resnet56-resnet20      72.34 69.06 70.66 71.43 71.97 72.32 71.19 71.34 72.19 72.33 71.75 71.16
resnet110-resnet32     74.31 71.14 73.08 74.17 74.11 74.29 73.52 74.01 74.11 74.32 -     73.48
resnet110-resnet20     74.31 69.06 70.67 71.48 71.06 71.85 70.99 71.39 71.89 72.27 -     71.46
resnet32x4-resnet8x4   79.42 72.50 73.33 76.62 76.32 77.01 73.39 76.67 77.08 78.28 76.31 75.51
wrn_40_2-wrn_16_2      75.61 73.26 74.92 76.11 76.24 76.39 75.45 76.08 76.63 76.95 -     75.48
wrn_40_2-wrn_40_1      75.61 71.98 73.54 74.37 74.81 74.89 73.93 74.58 75.35 75.56 74.43 74.14
vgg13-vgg8             74.64 70.36 72.98 74.36 74.68 74.81 73.52 74.47 75.18 75.22 -     73.94
resnet32x4-shufflenetv1 79.42 70.50 74.07 -    76.45 -     -     -     -     -     76.34 75.11
resnet32x4-shufflenetv2 79.42 71.82 74.45 75.56 77.07 77.37 75.37 76.18 78.44 78.76 77.35 75.65
wrn_40_2-shufflenetv1  75.61 70.50 74.83 -     76.70 -     -     -     -     -     -     76.05
vgg13-mobilenetv2      74.64 64.60 67.37 68.61 69.71 69.98 68.50 68.98 70.57 70.94 -     69.73
resnet50-mobilenetv2   79.34 64.60 67.35 69.02 70.35 70.45 68.67 69.36 71.04 71.19 68.66 69.11
resnet50-vgg8          79.34 70.36 73.81 -     -     -     -     -     -     -     -     74.30
resnet32x4-wrn_16_2    79.42 73.26 74.90 75.26 75.70 76.19 74.57 75.16 76.52 77.53 -     -
resnet32x4-wrn_40_2    79.42 75.61 77.70 77.92 78.46 78.95 77.66 77.99 79.26 79.66 -     -
wrn_40_2-resnet8x4     75.61 72.50 73.97 77.11 75.56 76.75 74.61 77.03 77.33 77.68 -     -
wrn_40_2-mobilenetv2   75.61 64.60 68.36 69.23 69.28 70.01 68.34 69.53 70.78 71.61 -     -
"""
RECIPES: dict[str, dict[str, float]] = {
    "resnet56-resnet20": dict(dkd_beta=2.0),
    "resnet110-resnet32": dict(dkd_beta=2.0),
    "resnet110-resnet20": dict(lskd_temperature=4.0, lskd_weight=12.0),
    "wrn_40_2-wrn_16_2": dict(dkd_beta=6.0),
    "wrn_40_2-wrn_40_1": dict(dkd_beta=6.0),
    "vgg13-vgg8": dict(lskd_temperature=3.0, dkd_beta=6.0),
    "vgg13-mobilenetv2": dict(lskd_temperature=3.0, dkd_beta=6.0),
    # The log of this pair says weight 1, and its losses are of that size; the config beside it says 9.
    "resnet50-mobilenetv2": dict(lskd_temperature=3.0, lskd_weight=1.0),
    "resnet32x4-wrn_16_2": dict(lskd_temperature=3.0),
    "resnet32x4-wrn_40_2": dict(lskd_temperature=3.0),
    "wrn_40_2-mobilenetv2": dict(lskd_temperature=3.0),
}


def _read_table() -> dict[str, Pair]:
    pairs = {}
    for line in TABLE.strip().splitlines():
        name, *numbers = line.split()
        teacher, student = (ALIASES.get(part, part) for part in name.split("-"))
        slow = student.startswith(("mobilenet", "shufflenet"))
        published = {m: float(x) for m, x in zip(METHODS, numbers, strict=True) if x != "-"}
        pairs[name] = Pair(
            name, teacher, student, learning_rate=0.01 if slow else 0.05, published=published, **RECIPES.get(name, {})
        )
    return pairs


PAIRS: dict[str, Pair] = _read_table()


def create_pair(
    name: str, num_classes: int, teacher_checkpoint: str | Path | None = None, **kwargs: Any
) -> tuple[Classifier, Classifier]:
    """The student and the frozen teacher of a pair.

    Args:
        name: a key of PAIRS, e.g. "resnet32x4-resnet8x4".
        num_classes: of both.
        teacher_checkpoint: the teacher's weights; without them it is untrained.
        kwargs: handed to ``create_model`` for both (``in_chans``, ``mean``, ``std``).

    Returns:
        (student, teacher): the student in training mode, the teacher in evaluation mode and without gradients.

    Raises:
        ConfigError: unknown pair.
        UserError: the checkpoint does not load.

    Example:
        >>> student, teacher = create_pair("vgg13-vgg8", num_classes=100, teacher_checkpoint="vgg13.pth")
        >>> logits = teacher(images)
    """
    if name not in PAIRS:
        raise ConfigError(f"unknown pair {name!r}{did_you_mean(name, PAIRS)}")
    pair = PAIRS[name]
    student = create_model(pair.student, num_classes, **kwargs)
    teacher = create_model(pair.teacher, num_classes, **kwargs)
    if teacher_checkpoint is not None:
        load_weights(teacher, teacher_checkpoint)
    return student, teacher.eval().requires_grad_(False)
