"""ReviewKD. Values and gradients are tested with every loss's."""

import pytest
from feature_case import examples

from kdzoo.losses.review_kd import ReviewKD


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ReviewKD(max_width=0, **examples()), "max_width must be at least 1"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
