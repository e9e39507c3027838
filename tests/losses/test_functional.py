"""Invariances and input checks of KD, standardization and cross-entropy."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.losses import functional as KF

pairs = st.tuples(st.integers(1, 5), st.integers(2, 12), st.integers(0, 2**31), st.floats(0.5, 8.0))


def drawn(size, classes, seed):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(size, classes, generator=generator, dtype=torch.float64) * 4 for _ in range(2)]


@settings(max_examples=50, deadline=None)
@given(pairs, st.floats(-50, 50), st.booleans())
def test_kd_is_invariant_to_shifts(pair, shift, standardize):
    *shape, temperature = pair
    student, teacher = drawn(*shape)
    plain = KF.kd(student, teacher, temperature, standardize)
    torch.testing.assert_close(
        KF.kd(student + shift, teacher - shift, temperature, standardize), plain, rtol=1e-8, atol=1e-8
    )


@settings(max_examples=50, deadline=None)
@given(pairs, st.floats(0.1, 100))
def test_standardized_kd_is_invariant_to_scale(pair, scale):
    *shape, temperature = pair
    student, teacher = drawn(*shape)
    plain = KF.kd(student, teacher, temperature, standardize=True)
    torch.testing.assert_close(
        KF.kd(student * scale, teacher, temperature, standardize=True), plain, rtol=1e-4, atol=1e-5
    )


@settings(max_examples=50, deadline=None)
@given(pairs, st.booleans())
def test_kd_properties(pair, standardize):
    *shape, temperature = pair
    student, teacher = drawn(*shape)
    student.requires_grad_()
    rows = KF.kd(student, teacher, temperature, standardize, reduction="none")
    assert rows.shape == student.shape[:1] and (rows > -1e-9).all()
    torch.testing.assert_close(rows.mean(), KF.kd(student, teacher, temperature, standardize))
    torch.testing.assert_close(rows.sum(), KF.kd(student, teacher, temperature, standardize, reduction="sum"))
    rows.sum().backward()
    torch.testing.assert_close(student.grad.sum(dim=1), torch.zeros(len(rows), dtype=torch.float64), atol=1e-8, rtol=0)
    assert KF.kd(teacher, teacher, temperature, standardize).abs() < 1e-9


def test_standardize_is_bounded_and_blocks_the_gradient_of_flat_rows():
    rows = torch.tensor([[0.0, 0.0, 9.0], [5.0, 5.0, 5.0], [0.0, 1e-6, 0.0]], dtype=torch.float64, requires_grad=True)
    scores = KF.standardize(rows)
    assert scores.abs().max() <= 2 / 3**0.5 + 1e-9
    scores.square().sum().backward()
    assert torch.equal(rows.grad[1:], torch.zeros_like(rows.grad[1:]))
    torch.testing.assert_close(scores[0].std(), torch.tensor(1.0, dtype=torch.float64))


def test_cross_entropy_takes_indices_and_soft_labels():
    scores, target = torch.randn(5, 4), torch.tensor([0, 3, 1, 2, 2])
    hard = KF.cross_entropy(scores, target)
    torch.testing.assert_close(hard, torch.nn.functional.cross_entropy(scores, target))
    torch.testing.assert_close(KF.cross_entropy(scores, torch.eye(4)[target]), hard)
    mixed = 0.3 * torch.eye(4)[target] + 0.7 * torch.eye(4)[target.flip(0)]
    expected = 0.3 * hard + 0.7 * KF.cross_entropy(scores, target.flip(0))
    torch.testing.assert_close(KF.cross_entropy(scores, mixed), expected)
    assert KF.cross_entropy(scores, target, reduction="none").shape == (5,)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: KF.kd(torch.zeros(2, 3), torch.zeros(2, 4)), "student_logits and teacher_logits"),
        (lambda: KF.kd(torch.zeros(2, 3, 1), torch.zeros(2, 3, 1)), r"student_logits must be .*\[B, C\]"),
        (lambda: KF.kd(torch.zeros(2, 3).long(), torch.zeros(2, 3)), "student_logits must be floating"),
        (lambda: KF.kd(torch.zeros(2, 1), torch.zeros(2, 1)), "at least 2 classes"),
        (lambda: KF.kd(torch.zeros(2, 3), torch.zeros(2, 3), temperature=0), "temperature must be above 0"),
        (lambda: KF.kd(torch.zeros(2, 3), torch.zeros(2, 3), reduction="avg"), "reduction must be"),
        (lambda: KF.cross_entropy(torch.zeros(2, 3), torch.zeros(3).long()), "target must be class indices"),
        (lambda: KF.cross_entropy(torch.zeros(2, 3), torch.zeros(2)), "target must be class indices"),
        (lambda: KF.cross_entropy(torch.zeros(2, 3), torch.zeros(2).long(), label_smoothing=1.0), "label_smoothing"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


@pytest.mark.parametrize("loss", [KF.cross_entropy, KF.comp_sum, KF.stablemax_cross_entropy, KF.anchored_kd, KF.z_loss])
def test_soft_labels_that_do_not_sum_to_1_are_told(loss):
    scores = torch.randn(3, 4)
    for soft in (torch.full((3, 4), 0.5), torch.zeros(3, 4), torch.eye(4)[:3] * torch.tensor([[1.0], [0.9], [1.0]])):
        with pytest.raises(ValueError, match=r"sum to 1 in each row, got sums of \S+ to \S+; divide"):
            loss(scores, soft)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_soft_labels_of_any_precision_sum_to_1(dtype):
    for classes in (3, 1000, 21841):
        smoothed = torch.full((2, classes), 0.3 / classes).index_fill_(1, torch.tensor([1]), 0.7 + 0.3 / classes)
        assert KF.cross_entropy(torch.randn(2, classes), smoothed.to(dtype)).isfinite()
