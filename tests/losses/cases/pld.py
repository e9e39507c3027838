import numpy as np
from loss_case import Case
from scipy.special import log_softmax, logsumexp, softmax


def reference(temperature, ce_weight=0.0):
    def value(s, t, y):
        total = 0.0
        for own, theirs, label in zip(s, t, y, strict=True):
            places = [label, *(c for c in np.argsort(-theirs) if c != label)]
            weight = softmax(theirs / temperature)
            for k, c in enumerate(places):
                total += weight[c] * (logsumexp(own[places[k:]]) - own[c])
            total -= ce_weight * log_softmax(own)[label]
        return total / len(s)

    return value


CASES = {
    "PLD": [
        Case({}, reference(1.0)),
        Case(dict(temperature=4.0, ce_weight=0.5), reference(4.0, 0.5)),
    ]
}
