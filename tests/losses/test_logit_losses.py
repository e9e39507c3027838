"""What holds for every logit loss: reductions, invariances, double backward, checked inputs."""

import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kdzoo.losses import functional as KF

# name: (call on student, teacher, target, its keyword for the second logits or None)
LOSSES = {
    "cross_entropy": (lambda s, t, y, **k: KF.cross_entropy(s, y, **k), None),
    "kd": (lambda s, t, y, **k: KF.kd(s, t, **k), "teacher_logits"),
    "lskd": (lambda s, t, y, **k: KF.kd(s, t, 2.0, True, **k), "teacher_logits"),
    "dkd": (lambda s, t, y, **k: KF.dkd(s, t, y, **k), "teacher_logits"),
    "dkd_standardized": (lambda s, t, y, **k: KF.dkd(s, t, y, 9.0, 72.0, 2.0, True, **k), "teacher_logits"),
    "nkd": (lambda s, t, y, **k: KF.nkd(s, t, y, 3.5, 3.0, **k), "teacher_logits"),
    "uskd": (lambda s, t, y, **k: KF.uskd(s, t, y, **k), "weak_logits"),
    "binary_kl": (lambda s, t, y, **k: KF.binary_kl(s, t, **k), "teacher_logits"),
    "binary_kl_norm": (lambda s, t, y, **k: KF.binary_kl_norm(s, t, **k), "teacher_logits"),
    "pld": (lambda s, t, y, **k: KF.pld(s, t, y, **k), "teacher_logits"),
    "dist": (lambda s, t, y, **k: KF.dist(s, t, **k), "teacher_logits"),
    "mlkd_batch": (lambda s, t, y, **k: KF.mlkd_batch(s, t, **k), "teacher_logits"),
    "mlkd_class": (lambda s, t, y, **k: KF.mlkd_class(s, t, **k), "teacher_logits"),
    "wsld": (lambda s, t, y, **k: KF.wsld(s, t, y, **k), "teacher_logits"),
}
LABELLED = ["cross_entropy", "dkd", "nkd", "uskd", "pld", "wsld"]
ALL = pytest.mark.parametrize("name", LOSSES)


def drawn(size=5, classes=7, seed=0, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(size, classes, generator=generator, dtype=torch.float64) * scale for _ in "st")
    return student.requires_grad_(), teacher, torch.randint(classes, (size,), generator=generator)


@ALL
def test_reductions(name):
    call, _ = LOSSES[name]
    rows = call(*drawn(), reduction="none")
    assert rows.shape == (5,) and rows.requires_grad
    torch.testing.assert_close(call(*drawn()), rows.mean())
    torch.testing.assert_close(call(*drawn(), reduction="sum"), rows.sum())
    with pytest.raises(ValueError, match="reduction must be"):
        call(*drawn(), reduction="batchmean")


def test_rows_of_a_batch_are_those_of_its_images():
    student, teacher, target = drawn()
    for name in set(LOSSES) - {"uskd", "dist", "mlkd_batch", "mlkd_class"}:  # these compare images
        call, _ = LOSSES[name]
        alone = [call(student[i : i + 1], teacher[i : i + 1], target[i : i + 1]) for i in range(5)]
        torch.testing.assert_close(call(student, teacher, target, reduction="none"), torch.stack(alone))


@ALL
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 5), st.integers(2, 12), st.integers(0, 2**31), st.floats(-50, 50))
def test_shifting_all_logits_of_a_row_changes_nothing(name, size, classes, seed, shift):
    if name.startswith("binary"):  # they tell [2, 3, 4] from [-2, -1, 0], which is their point
        return
    call, _ = LOSSES[name]
    student, teacher, target = drawn(size, classes, seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        plain = call(student, teacher, target)
        moved = call(student + shift, teacher - shift, target)
    torch.testing.assert_close(moved, plain, rtol=1e-7, atol=1e-7)
    (gradient,) = torch.autograd.grad(plain, student)
    torch.testing.assert_close(gradient.sum(dim=1), torch.zeros(size, dtype=torch.float64), atol=1e-7, rtol=0)


@pytest.mark.parametrize(
    ("name", "tolerance"),
    {"kd": 1e-12, "lskd": 1e-12, "dkd": 1e-12, "dkd_standardized": 1e-12, "binary_kl": 1e-12, "binary_kl_norm": 1e-12,
     "mlkd_batch": 1e-12, "mlkd_class": 1e-12, "dist": 1e-4}.items(),  # fmt: skip
)
def test_a_student_equal_to_its_teacher_has_no_loss(name, tolerance):
    _, teacher, target = drawn()
    student = teacher.clone().requires_grad_()
    loss = LOSSES[name][0](student, teacher, target)
    loss.backward()
    assert loss.abs() <= tolerance and student.grad.abs().max() <= tolerance


@ALL
def test_twice_differentiable(name):
    student, teacher, target = drawn(3, 5, scale=1.0)
    if name in ("uskd", "wsld"):  # their gradient holds factors that are constants to it, so differences do not apply
        (gradient,) = torch.autograd.grad(LOSSES[name][0](student, teacher, target), student, create_graph=True)
        (second,) = torch.autograd.grad(gradient.square().sum(), student)
        assert torch.isfinite(second).all() and second.abs().max() > 0
    else:
        assert torch.autograd.gradgradcheck(lambda s: LOSSES[name][0](s, teacher, target), student)


@ALL
def test_the_second_logits_get_no_gradient_unless_they_are_the_weak_head(name):
    student, teacher, target = drawn()
    teacher.requires_grad_()
    LOSSES[name][0](student, teacher, target).backward()
    assert (teacher.grad is not None) == (name == "uskd")


@ALL
def test_wrong_inputs_are_named(name):
    call, second = LOSSES[name]
    student, teacher, target = drawn()
    first = "logits" if second is None else "student_logits"
    wrong = student.detach().clone()
    wrong[3, 2] = torch.nan
    with pytest.raises(ValueError, match=f"^{first} must be numbers, got NaN in row 3"):
        call(wrong, teacher, target)
    with pytest.raises(ValueError, match=f"^{first} must be floating"):
        call(student.detach().long(), teacher.long(), target)
    with pytest.raises(ValueError, match="at least 1 row and at least 2 classes"):
        call(student[:0], teacher[:0], target[:0])
    if second is not None:
        with pytest.raises(ValueError, match=f"^{second} must be numbers, got NaN in row 3"):
            call(student, wrong, target)
        with pytest.raises(ValueError, match=f"{first} and {second} must have one shape"):
            call(student, teacher[:, :-1], target)


@pytest.mark.parametrize("name", LABELLED)
def test_wrong_targets_are_named(name):
    call, _ = LOSSES[name]
    student, teacher, target = drawn()
    for wrong in (7, -1, -100):
        spoilt = target.index_fill(0, torch.tensor(2), wrong)
        told = f"^target must hold class indices 0 to 6, got {spoilt.min()} to {spoilt.max()}$"  # a line, of any batch
        with pytest.raises(ValueError, match=told):
            call(student, teacher, spoilt)
    for wrong in (target[:3], target.double(), target > 2, target[:, None]):
        with pytest.raises(ValueError, match="^target must be class indices"):
            call(student, teacher, wrong)
    for wrong in (torch.nan, -0.5, 3.0):
        with pytest.raises(ValueError, match="^target must hold soft labels between 0 and 1"):
            call(student, teacher, torch.full_like(teacher, wrong))


@pytest.mark.parametrize("name", LABELLED)
def test_any_integer_type_of_labels_serves(name):
    call, _ = LOSSES[name]
    student, teacher, target = drawn()
    for dtype in (torch.int32, torch.uint8):
        torch.testing.assert_close(call(student, teacher, target.to(dtype)), call(student, teacher, target))


@pytest.mark.parametrize("name", ["dkd", "nkd", "pld"])
def test_of_soft_labels_the_largest_counts(name):
    call, _ = LOSSES[name]
    student, teacher, target = drawn()
    mixed = 0.7 * torch.eye(7)[target] + 0.3 * torch.eye(7)[target.roll(1)]
    torch.testing.assert_close(call(student, teacher, mixed), call(student, teacher, target))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda s, t, y: KF.dkd(s, t, y, alpha=-1.0), "alpha must be 0 or more"),
        (lambda s, t, y: KF.dkd(s, t, y, beta=float("nan")), "beta must be 0 or more"),
        (lambda s, t, y: KF.dkd(s, t, y, temperature=0.0), "temperature must be above 0"),
        (lambda s, t, y: KF.nkd(s, t, y, gamma=-1.0), "gamma must be 0 or more"),
        (lambda s, t, y: KF.uskd(s, t, y, mu=-1.0), "mu must be 0 or more"),
        (lambda s, t, y: KF.uskd(s, t, y, rank_mode="offical"), "rank_mode must be one of"),
        (lambda s, t, y: KF.pld(s, t, y, ce_weight=-0.1), "ce_weight must be 0 or more"),
        (lambda s, t, y: KF.dist(s, t, gamma=-1.0), "gamma must be 0 or more"),
        (lambda s, t, y: KF.binary_kl(s, t, temperature=-2.0), "temperature must be above 0"),
        (lambda s, t, y: KF.mlkd_batch(s, t, temperature=float("inf")), "temperature must be above 0"),
        (lambda s, t, y: KF.wsld(s, t, torch.eye(7)[y]), "target must be class indices .* soft labels"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(*drawn())


@pytest.mark.gpu
@ALL
def test_nothing_waits_for_the_gpu(name):
    student, teacher, target = (x.detach().cuda() for x in drawn())
    student.requires_grad_()
    torch.cuda.set_sync_debug_mode("error")
    try:
        LOSSES[name][0](student, teacher, target).backward()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert torch.isfinite(student.grad).all()
