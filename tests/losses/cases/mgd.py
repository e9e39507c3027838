import numpy as np
import torch
from loss_case import Case
from numpy_layers import conv, relu


def reference(masked, by_channel):
    def value(s, t, y, state):
        ours, theirs = s.features[-1], t.features[-1]
        ours = conv(ours, state["align.weight"], state["align.bias"])
        shape = (*ours.shape[:2], 1, 1) if by_channel else (len(ours), 1, *ours.shape[2:])
        torch.manual_seed(1)  # the tester's, before the loss draws its mask
        ours = np.where(torch.rand(shape).numpy() < masked, 0.0, ours)
        hidden = relu(conv(ours, state["generator.0.weight"], state["generator.0.bias"]))
        made = conv(hidden, state["generator.2.weight"], state["generator.2.bias"])
        return ((made - theirs) ** 2).sum() / len(ours)

    return value


CASES = {
    "MGD": [
        Case({}, reference(0.15, True), whole=True),
        Case(dict(masked=0.6, mask="position"), reference(0.6, False), whole=True),
    ]
}
