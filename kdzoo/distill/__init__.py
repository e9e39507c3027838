"""Distillation: a student, a frozen teacher and losses -> one scalar; and the cache of teacher logits."""

from kdzoo.distill.align import AlignedGradients, align_gradients
from kdzoo.distill.distiller import Distiller, StepLosses
from kdzoo.distill.ensemble import EnsembleTeacher
from kdzoo.distill.teacher_cache import TeacherCache
from kdzoo.distill.terms import LossTerm, build_terms, check_term, loss_context

__all__ = [
    "AlignedGradients",
    "Distiller",
    "EnsembleTeacher",
    "LossTerm",
    "StepLosses",
    "TeacherCache",
    "align_gradients",
    "build_terms",
    "check_term",
    "loss_context",
]
