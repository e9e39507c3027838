"""Training, evaluation, checkpoints, logs."""

from kdzoo.engine.evaluate import Scores, evaluate, score
from kdzoo.engine.interrupt import Interrupted
from kdzoo.engine.study import train

__all__ = ["Interrupted", "Scores", "evaluate", "score", "train"]
