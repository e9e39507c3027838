import numpy as np
from loss_case import Case


def reference(tau):
    def value(s, t, y):
        label = s[np.arange(len(y)), y][:, None]
        one_plus_u = np.exp(s - label).sum(axis=1)  # the label's own term is the 1
        if tau == 1:
            return np.log(one_plus_u).mean()
        return ((one_plus_u ** (1 - tau) - 1) / (1 - tau)).mean()

    return value


CASES = {
    "CompSum": [
        Case({}, reference(1.0)),
        *(Case(dict(tau=tau), reference(tau)) for tau in (0.0, 0.5, 1.7, 2.0)),
    ]
}
