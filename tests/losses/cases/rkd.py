import numpy as np
from loss_case import Case
from scipy.spatial.distance import pdist, squareform
from scipy.special import huber


def distances(x):
    return squareform(pdist(x) / pdist(x).mean())


def angles(x):
    every = []
    for anchor in x:
        ways = x - anchor
        lengths = np.linalg.norm(ways, axis=1, keepdims=True)
        ways = ways / np.where(lengths > 0, lengths, 1)
        every.append(ways @ ways.T)
    return np.stack(every)


def reference(distance_weight, angle_weight):
    def value(s, t, y, state):
        distance = huber(1.0, distances(s.pooled) - distances(t.pooled)).mean()
        angle = huber(1.0, angles(s.pooled) - angles(t.pooled)).mean()
        return distance_weight * distance + angle_weight * angle

    return value


CASES = {
    "RKD": [
        Case({}, reference(25, 50), whole=True),
        Case(dict(distance_weight=1.0, angle_weight=0.0), reference(1, 0), whole=True),
        Case(dict(distance_weight=0.0, angle_weight=2.0), reference(0, 2), whole=True),
    ]
}
