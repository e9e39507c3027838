import numpy as np
import torch
from loss_case import Case
from sklearn.preprocessing import normalize

LOG_Z = (4.0, 5.0)


def fill(loss):
    """A memory in use: every class seen once, the normalizers set."""
    loss.has_z.fill_(True)
    loss.log_z.copy_(torch.tensor(LOG_Z))
    loss.labels.copy_(torch.arange(len(loss.labels)) % 3)


def estimate(anchors, memory, log_z, drawn, same, temperature):
    """The probability form of the authors' code, one image at a time."""
    images, count = drawn.shape[0], drawn.shape[1] - 1
    noise = count / len(memory)
    total = 0.0
    for image in range(images):
        scores = np.exp(memory[drawn[image]] @ anchors[image] / temperature) / np.exp(log_z)
        kept = scores[1:][~same[image]]
        true = scores[0] / (scores[0] + noise)
        total -= np.log(true) + np.log(noise / (kept + noise)).mean() * count
    return total / images


def reference(negatives, temperature):
    def value(s, t, y, state):
        size = len(state["labels"])
        ours, theirs = (
            normalize(x.pooled @ state[f"embed_{who}.weight"].T + state[f"embed_{who}.bias"])
            for x, who in ((s, "student"), (t, "teacher"))
        )
        torch.manual_seed(1)  # the tester's, before the loss draws
        drawn = torch.randint(size, (len(y), negatives)).numpy()
        labels = state["labels"].copy()
        labels[s.index.numpy()] = y
        same = labels[drawn] == y[:, None]
        drawn = np.concatenate([s.index.numpy()[:, None], drawn], axis=1)
        first = estimate(ours, state["teacher_memory"], LOG_Z[0], drawn, same, temperature)
        return first + estimate(theirs, state["student_memory"], LOG_Z[1], drawn, same, temperature)

    return value


CASES = {
    "CRD": [
        Case(dict(dim=8, negatives=32), reference(32, 0.07), whole=True, prepare=fill),
        Case(dict(dim=5, negatives=7, temperature=0.3), reference(7, 0.3), whole=True, prepare=fill),
    ]
}
