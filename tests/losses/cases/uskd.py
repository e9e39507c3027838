import numpy as np
from loss_case import Case
from scipy.special import log_softmax, softmax


def reference(alpha, beta, mu, rank_mode="official", stage=-2):
    def value(student, teacher, y, state):
        s = student.logits
        w = student.features[stage].mean(axis=(2, 3)) @ state["head.weight"].T + state["head.bias"]
        batch = range(len(s))
        p, log_p = softmax(s, axis=1), log_softmax(s, axis=1)
        weak = softmax(w, axis=1)
        square = p[batch, y] ** 2
        total = -alpha * (1 + square - square.mean()) @ log_p[batch, y]
        strong = log_p if rank_mode == "official" else p
        for i, label in zip(batch, y, strict=True):
            smooth = 0.9 * np.eye(s.shape[1])[label] + 0.1 / s.shape[1]
            total -= mu * smooth @ log_softmax(w[i])
            evidence = weak[i] / (1 - weak[i, label] + 1e-6) + strong[i] / (1 - strong[i, label] + 1e-6)
            rank = np.empty(len(evidence))
            rank[np.argsort(-evidence, kind="stable")] = np.arange(1, len(evidence) + 1)
            zipf = np.delete(1 / rank, label)
            total -= beta * zipf / zipf.sum() @ log_softmax(np.delete(s[i], label))
        return total / len(s)

    return value


def case(*, alpha=1.0, beta=0.1, mu=0.005, **rest):
    arguments = dict(alpha=alpha, beta=beta, mu=mu, **rest)
    return Case(arguments, reference(**arguments), whole=True, stops_gradient=True)


CASES = {
    "USKD": [
        Case({}, reference(1.0, 0.1, 0.005), whole=True, stops_gradient=True),
        case(alpha=0.1, beta=0.5, mu=0.1, stage=-1),
        case(beta=1.0, rank_mode="paper"),
    ]
}
