"""What a loss is held to: see tests/losses/test_every_loss.py and tests/losses/cases/."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass
class Case:
    """Keywords of a loss and its value on (student [B, C], teacher [B, C], target [B]), by other means."""

    arguments: dict
    reference: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
