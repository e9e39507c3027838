import numpy as np
from loss_case import Case


def reference(s, t, y):
    weights = np.array([[x + 1 if x >= 0 else 1 / (1 - x) for x in row] for row in s])
    p = weights / weights.sum(axis=1, keepdims=True)
    return -np.log(p[np.arange(len(y)), y]).mean()


CASES = {"StableMaxCrossEntropy": [Case({}, reference)]}
