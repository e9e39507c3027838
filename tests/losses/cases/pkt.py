import numpy as np
from loss_case import Case
from sklearn.metrics.pairwise import cosine_similarity


def value(s, t, y, state):
    p, q = ((cosine_similarity(x) + 1) / 2 for x in (s.pooled, t.pooled))
    p, q = (x / x.sum(axis=1, keepdims=True) for x in (p, q))
    return np.mean(q * np.log((q + 1e-7) / (p + 1e-7)))


# A mean over pairs of terms of both signs: the float32 value keeps fewer digits than its terms.
CASES = {"PKT": [Case({}, value, whole=True, float32_rtol=1e-4)]}
