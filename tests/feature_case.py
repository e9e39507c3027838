"""Stage maps of a student and a teacher, and losses built for them."""

import torch

from kdzoo.losses import build_loss
from kdzoo.output import ModelOutput

STUDENT = [(4, 8), (6, 8), (8, 4), (10, 2)]  # stem to last stage: channels, height and width


TEACHER = [(5, 8), (7, 8), (12, 4), (16, 2)]


LARGER = [(5, 16), (7, 16), (12, 8), (16, 4)]


NAMES = ["AT", "CRD", "FitNet", "MGD", "NST", "OFD", "PKT", "RKD", "ReviewKD", "SP", "SRRL", "VID"]


WITH_ADAPTERS = ["CRD", "FitNet", "MGD", "OFD", "ReviewKD", "SRRL", "VID"]


TRAIN_SIZE = 40


def output(maps=STUDENT, size=6, seed=0, relu=False, classes=3):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(size, width, side, side, generator=generator) for width, side in maps]
    drawn = [x.relu() for x in drawn] if relu else drawn
    logits = torch.randn(size, classes, generator=generator)
    return ModelOutput(logits, drawn, drawn[-1].mean((2, 3)), index=torch.arange(size) * 3)


def pair(size=6, student=STUDENT, teacher=TEACHER):
    return output(student, size, seed=1), output(teacher, size, seed=2), torch.arange(size) % 3


def built(name, student, teacher, **arguments):
    torch.manual_seed(0)
    if name == "CRD":
        arguments = dict(dim=8, negatives=16) | arguments
    return build_loss(
        dict(type=name, **arguments),
        student_example=student,
        teacher_example=teacher,
        teacher_classifier=torch.nn.Linear(teacher.pooled.shape[1], teacher.logits.shape[1]),
        train_size=TRAIN_SIZE,
    )


def rotation(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def without(model, **changes):
    fields = dict(logits=model.logits, features=model.features, pooled=model.pooled, index=model.index)
    return ModelOutput(**{**fields, **changes})


def examples(student=STUDENT, teacher=TEACHER):
    return dict(student_example=output(student), teacher_example=output(teacher))
