import numpy as np
from loss_case import Case
from scipy.special import softmax


def correlation(a, b):
    """Pearson's with 1e-8 added to the product of norms."""
    a, b = a - a.mean(), b - b.mean()
    return a @ b / (np.linalg.norm(a) * np.linalg.norm(b) + 1e-8)


def reference(beta, gamma, temperature):
    def value(s, t, y):
        p, q = softmax(s / temperature, axis=1), softmax(t / temperature, axis=1)
        inter = 1 - np.mean([correlation(a, b) for a, b in zip(p, q, strict=True)])
        intra = 1 - np.mean([correlation(a, b) for a, b in zip(p.T, q.T, strict=True)])
        return temperature**2 * (beta * inter + gamma * intra)

    return value


CASES = {
    "DIST": [
        Case({}, reference(1.0, 1.0, 1.0)),
        Case(dict(beta=2.0, gamma=0.5, temperature=4.0), reference(2.0, 0.5, 4.0)),
    ]
}
