import numpy as np
from loss_case import Case
from scipy.special import log_softmax, softmax


def reference(alpha, temperature):
    def value(s, t, y):
        batch = range(len(s))
        ratio = log_softmax(s, axis=1)[batch, y] / log_softmax(t, axis=1)[batch, y]
        soft = (softmax(t / temperature, axis=1) * log_softmax(s / temperature, axis=1)).sum(axis=1)
        return -alpha * temperature**2 * np.mean((1 - np.exp(-ratio)) * soft)

    return value


CASES = {
    "WSLD": [
        Case({}, reference(2.25, 4.0), stops_gradient=True),
        Case(dict(alpha=2.5, temperature=2.0), reference(2.5, 2.0), stops_gradient=True),
    ]
}
