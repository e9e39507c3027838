import numpy as np
from loss_case import Case
from scipy.special import expit, log_expit


def binary_kl(s, t, temperature):
    s, t = s / temperature, t / temperature
    yes = expit(t) * (log_expit(t) - log_expit(s))
    no = expit(-t) * (log_expit(-t) - log_expit(-s))
    return temperature**2 * (yes + no).sum(axis=1).mean()


def binary_kl_norm(s, t, temperature):
    x = (s - t) / (2 * temperature)
    return temperature**2 * np.log(np.cosh(x)).sum(axis=1).mean()


def linear(pooled, state):
    return pooled @ state["head.classify.weight"].T + state["head.classify.bias"]


def nonlinear(pooled, state):
    hidden = pooled @ state["head.widen.weight"].T + state["head.widen.bias"]
    hidden = (hidden - hidden.mean(axis=0)) / np.sqrt(hidden.var(axis=0) + 1e-5)
    hidden = np.maximum(hidden * state["head.norm.weight"] + state["head.norm.bias"], 0)
    return linear(hidden, state)


def reference(formula, temperature, head):
    return lambda student, teacher, y, state: formula(head(student.pooled, state), teacher.logits, temperature)


def cases(formula):
    wide = dict(head="nonlinear", hidden=16, dropout=0.0)  # dropout is not in the reference
    return [
        Case({}, reference(formula, 2.0, linear), whole=True),
        Case(dict(temperature=1.0, **wide), reference(formula, 1.0, nonlinear), whole=True),
    ]


CASES = {"BinaryKL": cases(binary_kl), "BinaryKLNorm": cases(binary_kl_norm)}
