"""The operators: registration, autograd, second derivatives, torch.compile, autocast."""

import pytest
import torch

import kdzoo.losses.functional as KF
from kdzoo.kernels import dispatch, ops
from kdzoo.kernels.ops import OPERATORS, call

# name -> (takes a teacher, takes a target, parameters)
CALLS = {
    "kd": (True, False, dict(temperature=2.0, standardize=True)),
    "ce_kd": (True, True, dict(ce_weight=0.1, kd_weight=0.9, temperature=4.0, standardize=False)),
    "dkd": (True, True, dict(alpha=1.0, beta=2.0, temperature=4.0, standardize=False)),
    "nkd": (True, True, dict(gamma=1.5, temperature=1.0)),
    "binary_kl": (True, False, dict(temperature=2.0)),
    "binary_kl_norm": (True, False, dict(temperature=2.0)),
    "pld": (True, True, dict(temperature=4.0, ce_weight=0.5, order=None)),
    "pld_topk": (True, True, dict(k=3, temperature=4.0)),
    "dist_inter": (True, False, dict(temperature=1.0)),
    "l2_svm": (False, True, dict(C=1.0)),
    "margin_softmax": (False, True, dict(scale=4.0, margin=0.3, kind="arcface")),
    "cross_entropy": (False, True, dict(label_smoothing=0.1)),
    "stablemax_cross_entropy": (False, True, {}),
}


@pytest.fixture(autouse=True)
def _whatever_the_size(monkeypatch):
    monkeypatch.setitem(dispatch.SMALLEST_ON_CPU, "kd", 0)


def drawn(name, size=4, classes=5, dtype=torch.float64):
    has_teacher, has_target, parameters = CALLS[name]
    student, teacher = torch.randn(2, size, classes, dtype=torch.float64)
    if name == "margin_softmax":
        student = student.tanh() * 0.9
    target = torch.randint(classes, (size,))
    given = student.to(dtype).requires_grad_(), teacher.to(dtype) if has_teacher else None
    return *given, target if has_target else None, parameters


def test_every_operator_is_called_here():
    assert set(CALLS) == set(OPERATORS)


@pytest.mark.parametrize("name, reduction", [*((name, "mean") for name in CALLS), ("kd", "none")])
def test_the_registration_is_sound(name, reduction):
    student, teacher, target, parameters = drawn(name, dtype=torch.float32)
    arguments = (student, teacher, target, *parameters.values(), reduction, "cpu", True)
    torch.library.opcheck(OPERATORS[name], arguments)


def test_plds_order_passes_the_operators_check():
    student, teacher, target, _ = drawn("pld", dtype=torch.float32)
    order = teacher.argsort(dim=1, stable=True)
    torch.library.opcheck(OPERATORS["pld"], (student, teacher, target, 4.0, 0.5, order, "mean", "cpu", True))


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", CALLS)
def test_first_and_second_derivatives(name, reduction):
    student, teacher, target, parameters = drawn(name)

    def loss(student):
        return call(name, student, teacher, target, reduction, "cpu", **parameters)

    def operator(student):
        return OPERATORS[name](student, teacher, target, *parameters.values(), reduction, "cpu", True)[0]

    for function in (loss, operator) if reduction == "mean" else (loss,):
        assert torch.autograd.gradcheck(function, student)
        assert torch.autograd.gradgradcheck(function, student)


def test_a_gradient_penalty_is_the_references():
    student, teacher = torch.randn(2, 3, 6, dtype=torch.float64)
    weight = torch.randn(6, 6, dtype=torch.float64, requires_grad=True)
    found = []
    for backend in ("auto", "torch"):
        loss = KF.kd(student @ weight, teacher, backend=backend)
        (slope,) = torch.autograd.grad(loss, weight, create_graph=True)
        (loss + slope.square().sum()).backward()
        found.append(weight.grad)
        weight.grad = None
    torch.testing.assert_close(found[0], found[1], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", CALLS)
def test_compiles_without_a_graph_break(name):
    torch.compiler.reset()
    student, teacher, target, parameters = drawn(name, dtype=torch.float32)

    def loss(student):
        return 0.7 * call(name, student, teacher, target, "mean", "cpu", **parameters)

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    expected = torch.autograd.grad(loss(student), student)[0]
    assert torch.equal(torch.autograd.grad(compiled(student), student)[0], expected)


@pytest.mark.parametrize("name", CALLS)
def test_autocast_changes_nothing(name):
    student, teacher, target, parameters = drawn(name, dtype=torch.float32)
    plain = call(name, student, teacher, target, "mean", "cpu", **parameters)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        cast = call(name, student, teacher, target, "mean", "cpu", **parameters)
    assert torch.equal(plain, cast)
    assert torch.equal(*(torch.autograd.grad(x, student)[0] for x in (plain, cast)))


def test_a_retained_graph_gives_the_same_gradient_again_and_touches_nothing():
    student, teacher = torch.randn(2, 3, 5)
    student.requires_grad_()
    kept = student.detach().clone(), teacher.clone()
    loss = KF.kd(student, teacher)
    first = torch.autograd.grad(loss, student, torch.tensor(3.0), retain_graph=True)[0]
    assert torch.equal(torch.autograd.grad(loss, student, torch.tensor(3.0))[0], first)
    torch.testing.assert_close(first, 3 * torch.autograd.grad(KF.kd(student, teacher, backend="torch"), student)[0])
    assert torch.equal(student, kept[0]) and torch.equal(teacher, kept[1])


def test_the_teacher_and_a_student_without_gradient_cost_none():
    student, teacher = torch.randn(2, 3, 5)
    teacher.requires_grad_()
    assert not KF.kd(student, teacher).requires_grad
    loss = KF.kd(student.requires_grad_(), teacher)
    loss.backward()
    assert teacher.grad is None and student.grad is not None
    with torch.no_grad():
        assert torch.equal(KF.kd(student, teacher), loss)


@pytest.mark.parametrize("name", [name for name, (has_teacher, *_) in CALLS.items() if has_teacher])
def test_the_teachers_logits_may_be_made_in_inference_mode(name):
    student, teacher, target, parameters = drawn(name)
    with torch.inference_mode():
        frozen = teacher.clone()
    found = []
    for given in (teacher, frozen):
        loss = call(name, student, given, target, "mean", "cpu", **parameters)
        (slope,) = torch.autograd.grad(loss, student, retain_graph=True)
        (again,) = torch.autograd.grad(loss, student, create_graph=True)
        found.append((slope, again, torch.autograd.grad(again.square().sum(), student)[0]))
    for left, right in zip(*found, strict=True):
        assert torch.equal(left, right)


def test_a_compiled_loss_takes_such_a_teacher():
    torch.compiler.reset()
    student = torch.randn(4, 5, requires_grad=True)
    with torch.inference_mode():
        teacher = torch.randn(4, 5)
    compiled = torch.compile(lambda s: KF.kd(s, teacher), fullgraph=True, backend="aot_eager")
    plain = torch.autograd.grad(KF.kd(student, teacher.clone(), backend="torch"), student)[0]
    torch.testing.assert_close(torch.autograd.grad(compiled(student), student)[0], plain)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_survives_a_loss_scale(dtype):
    # Over 4096 rows the mean's gradients are below float16's smallest number, and a loss scale is to lift them.
    student, teacher = torch.randn(2, 4096, 10)
    student, teacher = student.to(dtype).requires_grad_(), teacher.to(dtype)
    scale = 2.0**16
    loss = ops.call("kd", student, teacher, None, "mean", "cpu", temperature=1.0, standardize=False)
    (grad,) = torch.autograd.grad(loss * scale, student)
    wide = student.detach().double().requires_grad_()
    (wanted,) = torch.autograd.grad(KF.kd(wide, teacher.double(), 1.0, backend="torch") * scale, wide)
    assert grad.dtype == dtype
    torch.testing.assert_close(grad.double(), wanted, rtol=2 * torch.finfo(dtype).eps, atol=1e-4)


def test_no_rows_give_an_empty_gradient():
    student = torch.randn(0, 5, requires_grad=True)
    rows = call("kd", student, torch.randn(0, 5), None, "none", "cpu", temperature=4.0, standardize=False)
    rows.sum().backward()
    assert rows.shape == (0,) and student.grad.shape == (0, 5)


def test_need_grad_false_is_told_in_the_backward():
    student = torch.randn(2, 3, requires_grad=True)
    loss, _ = torch.ops.kdzoo.binary_kl(student, torch.randn(2, 3), None, 2.0, "mean", "cpu", False)
    with pytest.raises(RuntimeError, match="called with need_grad=False"):
        loss.backward()


@pytest.mark.parametrize("name", CALLS)
def test_vmap_over_the_operator(name):
    draws = [drawn(name, dtype=torch.float32)[:3] for _ in range(3)]
    parameters = [*CALLS[name][2].values(), "mean", "cpu", True]
    columns = zip(*draws, strict=True)
    stacked = [None if parts[0] is None else torch.stack([x.detach() for x in parts]) for parts in columns]
    dims = tuple(None if x is None else 0 for x in stacked)
    stacked[0].requires_grad_()
    mapped = torch.vmap(lambda s, t, y: OPERATORS[name](s, t, y, *parameters), in_dims=dims)
    loss, grad = mapped(*stacked)
    each = [OPERATORS[name](*given, *parameters) for given in draws]
    assert torch.equal(loss, torch.stack([one for one, _ in each]))
    assert torch.equal(grad, torch.stack([one for _, one in each]))
    (slope,) = torch.autograd.grad(loss.sum(), stacked[0])
    assert torch.equal(slope, grad)


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_last_backward_may_reuse_the_saved_gradient_and_a_kept_graph_never_does(weight):
    student = torch.randn(64, 100, generator=torch.Generator().manual_seed(0), requires_grad=True)
    teacher = torch.randn(64, 100, generator=torch.Generator().manual_seed(1))
    wanted = torch.autograd.grad(weight * KF.kd(student, teacher, backend="torch"), student)[0]
    loss = weight * KF.kd(student * 1.0, teacher)  # not a leaf: nothing copies what comes back
    grads = [torch.autograd.grad(loss, student, retain_graph=keep)[0] for keep in (True, True, False)]
    grads[0].zero_()
    for grad in grads[1:]:
        torch.testing.assert_close(grad, wanted, rtol=1e-4, atol=1e-7)
