"""Every kernel, loss and gradient, against the float64 reference: in Triton's interpreter, or compiled on a GPU."""

import pytest
import torch

from kdzoo.kernels import launch, pld
from kdzoo.kernels.triton import TRITON

from .conftest import INTERPRETED
from .reference import CASES, CLASSES, Case, expected

pytestmark = pytest.mark.usefixtures("by_definition")
# Loss: relative and absolute. Gradient: relative to itself (the type's rounding) and to the row's largest entry.
TOLERANCE = {
    torch.float32: dict(loss=1e-5, grad=2e-5, of_row=2e-6),
    torch.bfloat16: dict(loss=1e-5, grad=2**-7 if INTERPRETED else 2**-8, of_row=1e-5),  # the interpreter cuts off
    torch.float16: dict(loss=1e-5, grad=2**-11, of_row=1e-5),
}


@pytest.fixture
def poisoned(monkeypatch):
    """Outputs begin as NaN, so that an entry nobody writes is seen."""
    empty = torch.empty

    def poison(*args, **kwargs):
        made = empty(*args, **kwargs)
        return made.fill_(float("nan")) if made.is_floating_point() else made

    monkeypatch.setattr(launch.torch, "empty", poison)


def inputs(case: Case, rows: int, classes: int, dtype: torch.dtype, device, strided: bool = False):
    """Student, teacher, target; ``strided``: rows further apart than their length, not by a multiple of 16 bytes."""
    generator = torch.Generator().manual_seed(rows * 100_000 + classes)
    wide = classes + 3 if strided else classes
    student, teacher = (3 * torch.randn(rows, wide, generator=generator) for _ in range(2))
    if case.cosines:
        student = (student / 4).clamp(-0.99, 0.99)
    target = torch.randint(classes, (rows,), generator=generator)
    student, teacher = student.to(device, dtype), teacher.to(device, dtype)
    return student[:, :classes], teacher[:, :classes], target.to(device)


def check(case: Case, student, teacher, target, order=None) -> None:
    wanted = expected(case, student, teacher, target)
    kept = student.clone(), teacher.clone()
    more = {} if order is None else {"order": order}
    loss, grad = case.call(TRITON[case.name], student, teacher, target, reduction_scale=0.5, **more)
    assert loss.dtype == torch.float32 and grad.dtype == student.dtype and grad.is_contiguous()
    assert torch.equal(student, kept[0]) and torch.equal(teacher, kept[1])
    tolerance = TOLERANCE[student.dtype]
    torch.testing.assert_close(loss.double(), wanted.loss, rtol=tolerance["loss"], atol=1e-5)
    if student.shape[1] == 2 and (case.name == "dist_inter" or case.options.get("standardize")):
        return  # two Z-scores, two correlated points: the gradient is 0, and rounding over the row's spread
    wanted = 0.5 * wanted.grad
    allowed = tolerance["grad"] * wanted.abs() + tolerance["of_row"] * wanted.abs().amax(dim=1, keepdim=True) + 1e-6
    worst = ((grad.double() - wanted).abs() / allowed).max()
    assert worst <= 1, f"gradient off by {worst:.3g} times what is allowed"


def order_for(case: Case, teacher: torch.Tensor) -> torch.Tensor | None:
    """PLD's sort takes seconds in the interpreter from a few hundred classes on: there its order is given."""
    return teacher.float().argsort(dim=1, stable=True) if case.name == "pld" and teacher.shape[1] > 10 else None


def case_by_size() -> list:
    """All pairs; PLD's scans of a long row take the interpreter a minute."""
    pairs = [(case, classes) for case in CASES for classes in CLASSES]
    slow = [pytest.mark.slow if case.name == "pld" and classes > 127 else () for case, classes in pairs]
    return [
        pytest.param(case, classes, id=f"{case.id}-{classes}", marks=mark)
        for (case, classes), mark in zip(pairs, slow, strict=True)
    ]


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize(("case", "classes"), case_by_size())
def test_every_class_count(case, classes, device):
    given = inputs(case, 1, classes, torch.float32, device)
    check(case, *given, order_for(case, given[1]))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_rows_longer_than_a_block(case, device, monkeypatch):
    """Blocks of 32: four and a rest that fills none."""
    small = launch.Shape(block=32, one=False, warps=1)
    monkeypatch.setattr(launch, "shape_for", lambda *sizes: small)
    monkeypatch.setattr(pld, "LOOP", small)
    given = inputs(case, 1, 139, torch.float32, device)
    check(case, *given, order_for(case, given[1]))


@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_half_precision_and_strided_rows(case, dtype, device):
    rows, classes = (7, 10) if dtype == torch.bfloat16 else (1, 127)
    given = inputs(case, rows, classes, dtype, device, strided=True)
    check(case, *given, order_for(case, given[1]))


@pytest.mark.usefixtures("poisoned")
def test_large_batch(device):
    case = next(case for case in CASES if case.name == "binary_kl_norm")
    check(case, *inputs(case, 256, 3, torch.float32, device))


@pytest.mark.slow
@pytest.mark.usefixtures("poisoned")
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
@pytest.mark.parametrize("classes", CLASSES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("rows", [1, 7, 256])
def test_full_grid(case, classes, dtype, rows, device):
    many = rows == 256 and (classes > 127 or dtype != torch.float32)
    long = case.name == "pld" and classes > 1025 and rows > 1
    if INTERPRETED and (many or long):
        pytest.skip("hours in the interpreter; runs on a GPU")
    given = inputs(case, rows, classes, dtype, device, strided=rows == 7)
    sort = classes * rows <= 1025 if INTERPRETED else classes <= pld.SORT_LIMIT
    check(case, *given, None if sort else order_for(case, given[1]))


GOLDEN = {
    "kd_T4": ("kd", dict(temperature=4.0)),
    "kd_T1": ("kd", dict(temperature=1.0)),
    "lskd_T2": ("kd", dict(temperature=2.0, standardize=True)),
    "lskd_T4": ("kd", dict(temperature=4.0, standardize=True)),
    "dkd_a1_b8_T4": ("dkd", dict(alpha=1.0, beta=8.0, temperature=4.0)),
    "dkd_tckd_T4": ("dkd", dict(alpha=1.0, beta=0.0, temperature=4.0)),
    "dkd_nckd_T4": ("dkd", dict(alpha=0.0, beta=1.0, temperature=4.0)),
    "dkd_ls_a9_b72_T2": ("dkd", dict(alpha=9.0, beta=72.0, temperature=2.0, standardize=True)),
    "nkd_g1.5_T1": ("nkd", dict(gamma=1.5, temperature=1.0)),
    "nkd_g3.5_T3": ("nkd", dict(gamma=3.5, temperature=3.0)),
    "binarykl_T2": ("binary_kl", dict(temperature=2.0)),
    "binarykl_norm_T2": ("binary_kl_norm", dict(temperature=2.0)),
    "pld_T1": ("pld", dict(temperature=1.0)),
    "pld_T4": ("pld", dict(temperature=4.0)),
    "dist_inter_tau1": ("dist_inter", dict(temperature=1.0)),
}


@pytest.mark.parametrize("golden", GOLDEN)
def test_golden_losses(golden, golden_losses, device):
    """The official code's value and gradient, on float32 copies of its inputs."""
    name, options = GOLDEN[golden]
    given = golden_losses["cases"]["B8_C10"]
    student, teacher = (torch.tensor(given[key], device=device) for key in ("student", "teacher"))
    target = torch.tensor(given["target"], device=device)
    target = None if name in ("kd", "binary_kl", "binary_kl_norm", "dist_inter") else target
    loss, grad = TRITON[name](student.float(), teacher.float(), target, reduction_scale=1 / 8, **options)
    wanted = given["float64"][golden]
    torch.testing.assert_close(loss.mean().item(), wanted["value"], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad.double().cpu(), torch.tensor(wanted["grad_student"]).double(), rtol=1e-4, atol=1e-6)
