"""DKD's identities with KD."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.losses import functional as KF
from kdzoo.losses.functional import dkd as module_of_dkd


def drawn(size, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(size, classes, generator=generator, dtype=torch.float64) * 4 for _ in range(2))
    return student, teacher, torch.randint(classes, (size,), generator=generator)


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 5), st.integers(3, 12), st.integers(0, 2**31), st.floats(0.5, 8.0), st.booleans())
def test_kd_is_tckd_plus_the_rest_s_share_of_nckd(size, classes, seed, temperature, standardize):
    student, teacher, target = drawn(size, classes, seed)
    parts = [
        KF.dkd(student, teacher, target, alpha, beta, temperature, standardize, reduction="none")
        for alpha, beta in ((1.0, 0.0), (0.0, 1.0))
    ]
    scores = KF.standardize(teacher) if standardize else teacher
    q_y = (scores / temperature).softmax(dim=1).gather(1, target[:, None]).squeeze(1)
    expected = KF.kd(student, teacher, temperature, standardize, reduction="none")
    torch.testing.assert_close(parts[0] + (1 - q_y) * parts[1], expected, rtol=1e-9, atol=1e-12)


def test_nckd_does_not_see_the_target_s_logit():
    student, teacher, target = drawn(5, 7, 0)
    moved = student.scatter(1, target[:, None], 30.0)
    nckd = [KF.dkd(s, teacher, target, 0.0, 1.0) for s in (student, moved)]
    torch.testing.assert_close(*nckd)


def test_two_classes_leave_kd_alone_and_are_warned_of_once():
    student, teacher, target = drawn(5, 2, 0)
    module_of_dkd.__globals__["_warn_of_two_classes"].cache_clear()
    with pytest.warns(UserWarning, match="2 classes: NCKD is 0"):
        loss = KF.dkd(student, teacher, target, alpha=3.0)
    torch.testing.assert_close(loss, 3 * KF.kd(student, teacher))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert KF.dkd(student, teacher, target, alpha=0.0) == 0


def test_float32_keeps_a_small_tckd():
    """log(1 - p_y) as a difference of two logsumexp would lose this one's third digit."""
    student, teacher, target = drawn(4, 1000, 0)
    exact = KF.dkd(student, teacher, target, 1.0, 0.0)
    assert KF.dkd(student.float(), teacher.float(), target, 1.0, 0.0).item() == pytest.approx(exact.item(), rel=1e-5)
