"""FitNet. Values and gradients are tested with every loss's."""

import pytest
from feature_case import examples, output

from kdzoo.losses.fitnet import FitNet


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: FitNet(hint_layer=7, **examples()), "FitNet cannot pair stage 7 of the student's 4 maps"),
        (lambda: FitNet(student_example=output(), teacher_example=None), "FitNet needs a teacher's stage maps"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
