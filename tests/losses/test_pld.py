"""PLD's special cases and its convexity."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.losses import functional as KF


def drawn(classes=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(5, classes, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    return student, teacher, torch.randint(classes, (5,), generator=generator)


def test_a_teacher_sure_of_the_label_leaves_cross_entropy():
    student, _, target = drawn()
    sure = torch.eye(7)[target].double() * 1e4
    torch.testing.assert_close(KF.pld(student, sure, target), KF.cross_entropy(student, target))


def test_even_weights_leave_list_mle():
    student, teacher, target = drawn()
    rows = []
    for own, theirs, label in zip(student, teacher, target.tolist(), strict=True):
        places = [label, *(c for c in theirs.argsort(descending=True).tolist() if c != label)]
        ranked = own[places]  # the likelihood of this ranking: choose the first of what is left, again and again
        rows.append(-sum(ranked[k:].log_softmax(dim=0)[0] for k in range(7)) / 7)
    torch.testing.assert_close(KF.pld(student, teacher, target, 1e9, reduction="none"), torch.stack(rows))


def test_with_two_classes_it_is_cross_entropy_weighted_by_the_teacher():
    student, teacher, target = drawn(2)
    q_y = teacher.softmax(dim=1).gather(1, target[:, None]).squeeze(1)
    expected = q_y * KF.cross_entropy(student, target, reduction="none")
    torch.testing.assert_close(KF.pld(student, teacher, target, reduction="none"), expected)


def test_the_weight_of_cross_entropy():
    student, teacher, target = drawn()
    gap = KF.pld(student, teacher, target, ce_weight=0.3) - KF.pld(student, teacher, target)
    torch.testing.assert_close(gap, 0.3 * KF.cross_entropy(student, target))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0), st.floats(0.5, 4.0))
def test_convex_in_the_student(seed, share, temperature):
    one, teacher, target = drawn(seed=seed)
    other = drawn(seed=seed + 1)[0]

    def value(student):
        return KF.pld(student, teacher, target, temperature, reduction="none")

    assert (value(share * one + (1 - share) * other) <= share * value(one) + (1 - share) * value(other) + 1e-9).all()


def test_equal_teacher_logits_rank_the_same_every_time():
    student, teacher, target = drawn(100)
    tied = teacher.round()
    assert torch.equal(KF.pld(student, tied, target), KF.pld(student, tied, target))
    alone = KF.pld(student[:1], tied[:1], target[:1])
    torch.testing.assert_close(alone, KF.pld(student, tied, target, reduction="none")[0])
