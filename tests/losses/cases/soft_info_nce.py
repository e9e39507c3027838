import numpy as np
from loss_case import Case


def one_way(scores, similarity, labels, alpha, beta, temperature, floor):
    rows = []
    for i, label in enumerate(labels):
        negatives = [j for j in range(len(labels)) if labels[j] != label]
        total = np.exp(scores[i, i])
        shares = np.exp([similarity[i, j] / temperature for j in negatives])
        for j, share in zip(negatives, shares / shares.sum(), strict=True):
            weight = (beta - alpha * share) / (beta - alpha / len(negatives))
            total += max(floor, weight) * np.exp(scores[i, j])
        rows.append(np.log(total) - scores[i, i])
    return np.mean(rows)


def reference(alpha=1.0, beta=1.0, temperature=1.0, floor=0.1):
    def value(s, t, y):
        scores, similarity = (np.array([[logits[i, label] for label in y] for i in range(len(y))]) for logits in (s, t))
        settings = (y, alpha, beta, temperature, floor)
        return (one_way(scores, similarity, *settings) + one_way(scores.T, similarity.T, *settings)) / 2

    return value


CASES = {
    "SoftInfoNCE": [
        Case({}, reference()),
        Case(dict(alpha=0.0), reference(alpha=0.0)),
        Case(dict(alpha=0.8, beta=2.0, temperature=0.5, floor=0.3), reference(0.8, 2.0, 0.5, 0.3)),
    ]
}
