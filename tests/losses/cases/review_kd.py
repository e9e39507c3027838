import numpy as np
from loss_case import Case
from numpy_layers import conv, conv_norm, enlarge, pool
from scipy.special import expit


def context(a, b):
    scales = [(((a - b) ** 2).mean(), 1.0)]
    for side in (4, 2, 1):
        if side < a.shape[2]:
            scales.append((((pool(a, side) - pool(b, side)) ** 2).mean(), 0.5 ** len(scales)))
    return np.average([error for error, _ in scales], weights=[weight for _, weight in scales])


def reference(stages):
    def value(s, t, y, state):
        levels = [(s.pooled[:, :, None, None], t.pooled[:, :, None, None])]
        levels += [(s.features[i], t.features[j]) for i, j in reversed(stages)]
        total, above = 0.0, None
        for number, (ours, theirs) in enumerate(levels):
            x = conv_norm(ours, state, f"fusions.{number}.reduce")
            if number:
                above = enlarge(above, x.shape[2])
                attend = f"fusions.{number}.attend.0"
                weight, bias = state[f"{attend}.weight"], state[f"{attend}.bias"]
                share = expit(conv(np.concatenate([x, above], axis=1), weight, bias))
                x = x * share[:, [0]] + above * share[:, [1]]
            above = enlarge(x, theirs.shape[2])
            total += context(conv_norm(above, state, f"fusions.{number}.expand"), theirs)
        return total

    return value


CASES = {
    "ReviewKD": [
        Case({}, reference([[1, 1], [2, 2], [3, 3]]), whole=True),
        Case(dict(stages=[[2, 1], [3, 2]], max_width=3), reference([[2, 1], [3, 2]]), whole=True),
    ]
}
