import numpy as np
from loss_case import Case
from scipy.stats import zscore


def reference(a, b):
    def value(s, t, y):
        label = zscore(s, axis=1)[np.arange(len(y)), y]
        return (np.logaddexp(0, a * (b - label)) / a).mean()

    return value


CASES = {"ZLoss": [Case({}, reference(1.0, 0.0)), Case(dict(a=0.1, b=10.0), reference(0.1, 10.0))]}
