import numpy as np
from loss_case import Case
from scipy.special import rel_entr, softmax


def reference(temperature, target, anchor, target_temperature):
    def value(s, t, y):
        q = softmax(t / target_temperature, axis=1) if target == "teacher" else np.eye(s.shape[1])[y]
        p = softmax((s - t * (anchor == "teacher")) / temperature, axis=1)
        return rel_entr(q, p).sum(axis=1).mean()

    return value


def case(temperature, target, anchor, target_temperature=None):
    arguments = dict(temperature=temperature, target=target, anchor=anchor, target_temperature=target_temperature)
    return Case(arguments, reference(temperature, target, anchor, target_temperature or temperature))


CASES = {
    "AnchoredKD": [
        Case({}, reference(4.0, "teacher", "teacher", 4.0)),
        case(2.0, "teacher", "none"),
        case(1.5, "label", "teacher"),
        case(1.0, "label", "none"),
        case(3.0, "teacher", "teacher", 0.5),
    ]
}
