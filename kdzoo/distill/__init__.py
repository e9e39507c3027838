"""Distillation: a student, a frozen teacher and losses -> one scalar; and the cache of teacher logits."""

from kdzoo.distill.distiller import Distiller, LossTerm, StepLosses, build_terms
from kdzoo.distill.teacher_cache import TeacherCache

__all__ = ["Distiller", "LossTerm", "StepLosses", "TeacherCache", "build_terms"]
