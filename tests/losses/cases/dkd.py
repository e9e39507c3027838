import numpy as np
from loss_case import Case
from scipy.special import rel_entr, softmax
from scipy.stats import zscore


def halves(z, y, temperature):
    """The label's probability against the rest, [B, 2], and the distribution of the rest, [B, C - 1]."""
    p = softmax(z / temperature, axis=1)
    p_y = np.take_along_axis(p, y[:, None], axis=1)
    rest = np.stack([softmax(np.delete(row, label)) for row, label in zip(z / temperature, y, strict=True)])
    return np.concatenate([p_y, 1 - p_y], axis=1), rest


def reference(alpha, beta, temperature, standardize=False):
    def value(s, t, y):
        if standardize:
            s, t = zscore(s, axis=1, ddof=1), zscore(t, axis=1, ddof=1)
        (own, own_rest), (theirs, their_rest) = halves(s, y, temperature), halves(t, y, temperature)
        rows = alpha * rel_entr(theirs, own).sum(axis=1) + beta * rel_entr(their_rest, own_rest).sum(axis=1)
        return temperature**2 * rows.mean()

    return value


CASES = {
    "DKD": [
        Case({}, reference(1.0, 8.0, 4.0)),
        Case(dict(alpha=2.0, beta=0.5, temperature=1.0), reference(2.0, 0.5, 1.0)),
        Case(dict(alpha=9.0, beta=72.0, temperature=2.0, standardize=True), reference(9.0, 72.0, 2.0, True)),
    ]
}
