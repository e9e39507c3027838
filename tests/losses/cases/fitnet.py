from loss_case import Case
from numpy_layers import conv_norm, relu


def reference(student_stage, teacher_stage, activation):
    def value(s, t, y, state):
        predicted = activation(conv_norm(s.features[student_stage], state, "regressor"))
        return ((predicted - t.features[teacher_stage]) ** 2).mean()

    return value


CASES = {
    "FitNet": [
        Case({}, reference(2, 2, relu), whole=True),
        Case(dict(hint_layer=0, guided_layer=1, relu=False), reference(0, 1, lambda x: x), whole=True),
    ]
}
