"""What a loss is held to: see tests/losses/test_every_loss.py and tests/losses/cases/."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass
class Case:
    """Keywords of a loss and its value by other means.

    Args:
        arguments: the loss's keywords.
        reference: (student [B, C], teacher [B, C], target [B]) -> value, logits as float64 arrays. With ``whole``:
            (student, teacher, target, state) -> value, where both models' outputs are ModelOutputs
            of float64 arrays and ``state`` is the loss's state dict, as float64 arrays.
        whole: the loss reads more than logits, or has parameters.
        float32_rtol: relative tolerance of the float32 value.
        stops_gradient: the loss takes a factor that depends on the student as a constant, so its gradient is not
            that of its value; a test of its own checks it.
        prepare: puts a fresh loss into the state it is tested in (a filled memory, say).
    """

    arguments: dict
    reference: Callable[..., float]
    whole: bool = False
    float32_rtol: float = 1e-5
    stops_gradient: bool = False
    prepare: Callable | None = None
