"""SP. Values and gradients are tested with every loss's."""

import pytest

from kdzoo.losses.sp import SP


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SP(stages=[]), r"stages must be pairs"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
