"""The closed forms on the CPU against the reference and its autograd gradient."""

import math

import pytest
import torch
import torch.nn.functional as F

from kdzoo.kernels import cpu_rows
from kdzoo.kernels.cpu import CPU
from kdzoo.kernels.ops import PARAMETERS
from kdzoo.losses import functional as KF

pytestmark = pytest.mark.filterwarnings("ignore:DKD with 2 classes")
EAGER = dict(reduction="none", backend="torch")


def svm(s, t, y):
    sign = torch.full_like(s, -1.0).scatter(1, y[:, None], 1.0)
    return 2.0 * F.relu(1 - sign * s).square().sum(dim=1)


def arcface(s, t, y):
    cosines = s / 30
    angle = cosines.gather(1, y[:, None]).acos()
    moved = torch.where(angle <= math.pi - 0.5, (angle + 0.5).cos(), angle.cos() - 0.5 * math.sin(0.5))
    return F.cross_entropy(16 * cosines.scatter(1, y[:, None], moved), y, reduction="none")


def cosface(s, t, y):
    return F.cross_entropy(16 * (s - 0.35 * F.one_hot(y, s.shape[1]).to(s)), y, reduction="none")


def inter(s, t, y):
    pairs = torch.stack([(s / 3).softmax(dim=1), (t / 3).softmax(dim=1)], dim=1)
    return 9.0 * (1 - torch.stack([torch.corrcoef(pair)[0, 1] for pair in pairs]))


# id: name, parameters, reference(student, teacher, target) -> [B]
CASES = {
    "kd": ("kd", dict(temperature=4.0, standardize=False), lambda s, t, y: KF.kd(s, t, 4.0, **EAGER)),
    "kd-cold": ("kd", dict(temperature=1e-3, standardize=False), lambda s, t, y: KF.kd(s, t, 1e-3, **EAGER)),
    "lskd": ("kd", dict(temperature=2.0, standardize=True), lambda s, t, y: KF.kd(s, t, 2.0, True, **EAGER)),
    "ce_kd": (
        "ce_kd", dict(ce_weight=0.1, kd_weight=0.9, temperature=2.0, standardize=True),
        lambda s, t, y: 0.1 * F.cross_entropy(s, y, reduction="none") + 0.9 * KF.kd(s, t, 2.0, True, **EAGER),
    ),
    "dkd": (
        "dkd", dict(alpha=1.0, beta=8.0, temperature=4.0, standardize=False),
        lambda s, t, y: KF.dkd(s, t, y, 1.0, 8.0, 4.0, **EAGER),
    ),
    "dkd-z": (
        "dkd", dict(alpha=9.0, beta=72.0, temperature=2.0, standardize=True),
        lambda s, t, y: KF.dkd(s, t, y, 9.0, 72.0, 2.0, True, **EAGER),
    ),
    "nkd": ("nkd", dict(gamma=1.5, temperature=1.0), lambda s, t, y: KF.nkd(s, t, y, **EAGER)),
    "nkd-warm": ("nkd", dict(gamma=3.5, temperature=3.0), lambda s, t, y: KF.nkd(s, t, y, 3.5, 3.0, **EAGER)),
    "binary_kl": ("binary_kl", dict(temperature=2.0), lambda s, t, y: KF.binary_kl(s, t, **EAGER)),
    "binary_kl_norm": ("binary_kl_norm", dict(temperature=2.0), lambda s, t, y: KF.binary_kl_norm(s, t, **EAGER)),
    "pld": (
        "pld", dict(temperature=4.0, ce_weight=0.3, order=None), lambda s, t, y: KF.pld(s, t, y, 4.0, 0.3, **EAGER)
    ),
    "pld_topk": ("pld_topk", dict(k=4, temperature=4.0), lambda s, t, y: KF.pld_topk(s, t, y, 4, 4.0, **EAGER)),
    "dist_inter": ("dist_inter", dict(temperature=3.0), inter),
    "cross_entropy": ("cross_entropy", dict(label_smoothing=0.0), lambda s, t, y: KF.cross_entropy(s, y, **EAGER)),
    "smoothed": ("cross_entropy", dict(label_smoothing=0.1), lambda s, t, y: KF.cross_entropy(s, y, 0.1, **EAGER)),
    "stablemax": ("stablemax_cross_entropy", {}, lambda s, t, y: KF.stablemax_cross_entropy(s, y, **EAGER)),
    "l2_svm": ("l2_svm", dict(C=2.0), svm),
    "cosface": ("margin_softmax", dict(scale=16.0, margin=0.35, kind="cosface"), cosface),
    "arcface": ("margin_softmax", dict(scale=16.0, margin=0.5, kind="arcface"), arcface),
}
DISTILL = [name for name in CASES if name not in ("dist_inter", "l2_svm", "cosface", "arcface")]


def test_every_loss_has_a_case():
    assert {name for name, _, _ in CASES.values()} == set(CPU) == set(PARAMETERS)


def drawn(size, classes, dtype=torch.float64, scale=3.0, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (scale * torch.randn(size, classes, generator=generator, dtype=torch.float64) for _ in range(2))
    return student.to(dtype), teacher.to(dtype), torch.randint(classes, (size,), generator=generator)


def wanted(case, student, teacher, target):
    student = student.detach().clone().requires_grad_()
    rows = CASES[case][2](student, teacher, target)
    return rows.detach(), torch.autograd.grad(rows.sum(), student)[0]


def found(case, student, teacher, target, **more):
    name, parameters, _ = CASES[case]
    if case == "arcface":
        student = student / 30
    rows, grad = CPU[name](student, teacher, target, **parameters | more, reduction_scale=0.5, need_grad=True)
    return rows, grad * (2 / 30 if case == "arcface" else 2)


@pytest.mark.parametrize("size, classes", [(1, 2), (7, 3), (5, 10), (3, 127), (2, 1025)])
@pytest.mark.parametrize("case", CASES)
def test_rows_and_gradients_are_the_references(case, size, classes, monkeypatch):
    if case == "dist_inter" and classes == 2:
        pytest.skip("two points always correlate by 1 or -1: the gradient is rounding")
    monkeypatch.setattr(cpu_rows, "BLOCK", 2 * classes)  # several blocks, the last not full
    given = drawn(size, classes)
    kept = [x.clone() for x in given]
    rows, grad = found(case, *given)
    expected_rows, expected_grad = wanted(case, *given)
    loose = 1e-6 if case == "dist_inter" else 1e-12  # its eps is not in the reference
    torch.testing.assert_close(rows, expected_rows, rtol=loose, atol=loose)
    torch.testing.assert_close(grad, expected_grad, rtol=loose, atol=loose * max(1.0, expected_grad.abs().max().item()))
    assert all(torch.equal(x, y) for x, y in zip(given, kept, strict=True))


@pytest.mark.parametrize("case", CASES)
def test_rows_may_be_strided_and_the_gradient_is_not_asked_for(case):
    student, teacher, target = drawn(6, 11)
    rows, grad = found(case, student[:, :9], teacher[:, :9], target % 9)
    plain = found(case, student[:, :9].contiguous(), teacher[:, :9].contiguous(), target % 9)
    torch.testing.assert_close(rows, plain[0], rtol=1e-14, atol=1e-14)
    torch.testing.assert_close(grad, plain[1], rtol=1e-13, atol=1e-14)
    name, parameters, _ = CASES[case]
    alone, nothing = CPU[name](student, teacher, target, **parameters, reduction_scale=1.0, need_grad=False)
    assert nothing is None and alone.shape == (6,)


EDGES = {
    "constant student": (lambda s, t: (s * 0 + 0.1, t)),
    "constant teacher": (lambda s, t: (s, t * 0 - 7)),
    "far constant": (lambda s, t: (s * 0 + 12345.678, t)),
    "shifted": (lambda s, t: (s + 1000, t - 1000)),
    "large": (lambda s, t: (s * 600, t * 600)),
    "opposed": (lambda s, t: (-t * 600, t * 600)),
    "tiny": (lambda s, t: (s * 1e-6, t * 1e-6)),
    "equal": (lambda s, t: (t, t)),
}


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("case", DISTILL)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_edges(case, edge, dtype):
    for size, classes in ((4, 9), (3, 2), (1, 5)):
        student, teacher, target = drawn(size, classes)
        student, teacher = (x.to(dtype) for x in EDGES[edge](student, teacher))
        rows, grad = found(case, student, teacher, target)
        expected_rows, expected_grad = wanted(case, student.double(), teacher.double(), target)
        eps = torch.finfo(dtype).eps
        # What the reference itself loses: logits are rounded after their division by the temperature.
        size_of = max(x.abs().max().item() for x in (student, teacher)) + 1
        temperature = CASES[case][1].get("temperature", 1.0)
        standardized = CASES[case][1].get("standardize", False)
        reach = 10.0 if standardized else size_of / min(1.0, temperature)
        weight = max(1.0, CASES[case][1].get("beta", 1.0), CASES[case][1].get("gamma", 1.0)) * max(1, temperature**2)
        slack = 30 * eps * classes * weight * (reach + (size_of * 1e4 if standardized and edge != "large" else 0))
        rtol = 1e-5 if dtype == torch.float32 else 1e-11
        torch.testing.assert_close(rows.double(), expected_rows, rtol=rtol, atol=slack)
        assert torch.isfinite(rows).all() and torch.isfinite(grad).all()
        if not (standardized and dtype == torch.float32):  # Z-scores of tiny rows are rounding there
            torch.testing.assert_close(grad.double(), expected_grad, rtol=1e-5, atol=slack)


@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("which", ["student", "teacher"])
@pytest.mark.parametrize("value", [math.inf, -math.inf])
@pytest.mark.parametrize("case", DISTILL)
def test_infinite_logits_behave_as_in_the_reference(case, value, which, classes):
    student, teacher, target = drawn(4, classes)
    changed = student if which == "student" else teacher
    changed[0, target[0]] = value  # at the label
    changed[1, (target[1] + 1) % classes] = value  # beside it
    rows, grad = found(case, student, teacher, target)
    expected_rows, expected_grad = wanted(case, student, teacher, target)
    torch.testing.assert_close(rows, expected_rows, rtol=1e-11, atol=1e-11, equal_nan=True)
    finite = torch.isfinite(expected_rows)
    torch.testing.assert_close(grad[finite], expected_grad[finite], rtol=1e-11, atol=1e-11, equal_nan=True)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", CASES)
def test_lower_precision(case, dtype):
    if case == "kd-cold":
        pytest.skip("a temperature of 1e-3 multiplies the rounding by 1000")
    student, teacher, target = drawn(7, 41, dtype)
    rows, grad = found(case, student, teacher, target)
    assert rows.dtype == torch.float32 and grad.dtype == dtype
    expected_rows, expected_grad = wanted(case, student.double(), teacher.double(), target)
    if case == "arcface" and dtype != torch.float32:
        pytest.skip("its cosines are rounded once more")
    torch.testing.assert_close(rows.double(), expected_rows, rtol=2e-5, atol=1e-5)
    bound = max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(grad.double(), expected_grad, rtol=bound, atol=bound * expected_grad.abs().max().item())


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64])
def test_plds_order_can_be_given(kind):
    student, teacher, target = drawn(6, 12)
    teacher[:, 3:6] = teacher[:, 3:4]  # ties
    order = teacher.argsort(dim=1, stable=True).to(kind)
    rows, grad = found("pld", student, teacher, target, order=order)
    expected_rows, expected_grad = wanted("pld", student, teacher, target)
    torch.testing.assert_close(rows, expected_rows)
    torch.testing.assert_close(grad, expected_grad)
    torch.testing.assert_close(KF.pld(student, teacher, target, 4.0, 0.3, order=order, **EAGER), expected_rows)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plds_order_is_a_permutation_or_told(dtype):
    student, teacher, target = drawn(3, 5)
    twice = torch.tensor([[0, 0, 1, 2, 3]] * 3)  # without class 4, whose gradient nobody would write
    for order in (torch.full((3, 5), 7), torch.full((3, 5), -1), torch.zeros(3, 5, dtype=torch.long), twice):
        for backend in ("auto", "torch"):
            with pytest.raises(IndexError, match="order is no permutation"):
                KF.pld(student.to(dtype), teacher.to(dtype), target % 4, order=order, backend=backend)
        with pytest.raises(IndexError, match="order is no permutation"):
            found("pld", student.to(dtype), teacher.to(dtype), target % 4, order=order)


GOLDEN = {
    "kd_T4": ("kd", dict(temperature=4.0, standardize=False)),
    "lskd_T2": ("kd", dict(temperature=2.0, standardize=True)),
    "dkd_a1_b8_T4": ("dkd", dict(alpha=1.0, beta=8.0, temperature=4.0, standardize=False)),
    "dkd_ls_a9_b72_T2": ("dkd", dict(alpha=9.0, beta=72.0, temperature=2.0, standardize=True)),
    "nkd_g1.5_T1": ("nkd", dict(gamma=1.5, temperature=1.0)),
    "nkd_g3.5_T3": ("nkd", dict(gamma=3.5, temperature=3.0)),
    "binarykl_T2": ("binary_kl", dict(temperature=2.0)),
    "binarykl_norm_T2": ("binary_kl_norm", dict(temperature=2.0)),
    "pld_T1": ("pld", dict(temperature=1.0)),
    "pld_T4": ("pld", dict(temperature=4.0)),
    "dist_inter_tau1": ("dist_inter", dict(temperature=1.0)),
}


@pytest.mark.parametrize(
    "case", ["B8_C10", "B4_C100", "edge_large_logits_x600", "edge_student_constant_row", "edge_C2"]
)
@pytest.mark.parametrize("golden", GOLDEN)
def test_golden_values_and_gradients(golden_losses, golden, case):
    if "large" in case and golden.startswith("binarykl"):
        pytest.skip("the authors' eps cuts the value there")
    name, parameters = GOLDEN[golden]
    case = golden_losses["cases"][case]
    student, teacher = (torch.tensor(case[key], dtype=torch.float64) for key in ("student", "teacher"))
    scale = 1 / len(student)
    target = torch.tensor(case["target"])
    rows, grad = CPU[name](student, teacher, target, **parameters, reduction_scale=scale, need_grad=True)
    wanted = case["float64"][golden]
    assert rows.mean().item() == pytest.approx(wanted["value"], rel=1e-9, abs=1e-12)
    if wanted.get("grad_student") is not None and len(student) >= 4:  # edges record the published gradient's faults
        torch.testing.assert_close(grad, torch.tensor(wanted["grad_student"], dtype=torch.float64), atol=1e-9, rtol=0)


def test_an_unknown_kind_of_margin_is_told():
    student, _, target = drawn(2, 3)
    options = dict(scale=1.0, margin=0.1, kind="sphere", reduction_scale=1.0, need_grad=False)
    with pytest.raises(ValueError, match="kind must be one of none, cosface, arcface, got 'sphere'"):
        CPU["margin_softmax"](student, None, target, **options)
