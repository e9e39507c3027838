import torch
from loss_case import Case
from numpy_layers import conv_norm, relu


def reference(alpha, beta):
    def value(s, t, y, state):
        assert not [key for key in state if "classifier" in key]
        pooled = relu(conv_norm(s.features[-1], state, "connector")).mean((2, 3))
        torch.manual_seed(0)  # the tester's teacher_classifier
        classifier = torch.nn.Linear(t.pooled.shape[1], t.logits.shape[1])
        weight, bias = (p.detach().double().numpy() for p in classifier.parameters())
        regression = ((pooled @ weight.T + bias - t.logits) ** 2).mean()
        return alpha * ((pooled - t.pooled) ** 2).mean() + beta * regression

    return value


CASES = {
    "SRRL": [
        Case({}, reference(1.0, 1.0), whole=True),
        Case(dict(alpha=0.5, beta=5.0), reference(0.5, 5.0), whole=True),
    ]
}
