"""One tester for every registered loss: registering a loss without a file in tests/losses/cases fails.

Each loss is held to an independent float64 reference (NumPy and SciPy), to finite-difference
gradients, and to finite values and gradients on every finite input, in every precision.
"""

import runpy
from pathlib import Path

import pytest
import torch

from kdzoo.losses import build_loss
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES

CASES = {}
for path in sorted((Path(__file__).parent / "cases").glob("*.py")):
    CASES |= runpy.run_path(str(path))["CASES"]
TABLE = [pytest.param(name, case, id=f"{name}-{i}") for name, cases in CASES.items() for i, case in enumerate(cases)]
TOLERANCES = {torch.float64: 1e-6, torch.float32: 1e-5}  # LSKD's eps of 1e-7 is not in the reference


def batch(size=6, classes=7, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (torch.randn(size, classes, generator=generator, dtype=torch.float64) * 3 for _ in range(2))
    target = torch.randint(classes, (size,), generator=generator)
    return student.to(dtype).requires_grad_(), teacher.to(dtype), target


def value(name, case, student, teacher, target):
    return build_loss(dict(type=name, **case.arguments))(ModelOutput(student), ModelOutput(teacher), target)


EDGES = {
    "zero_student": lambda s, t: (s * 0, t),
    "constant_rows": lambda s, t: (s * 0 + 2, t * 0 - 1),
    "one_hot_like": lambda s, t: (s * 60, t * 60),
    "large": lambda s, t: (s * 600, t * 600),
    "opposed": lambda s, t: (-t * 600, t * 600),
    "tiny": lambda s, t: (s * 1e-6, t * 1e-6),
    "equal": lambda s, t: (t, t),
}


def test_every_registered_loss_has_a_reference():
    assert set(LOSSES.names()) == set(CASES)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize(("name", "case"), TABLE)
def test_value_equals_the_reference(name, case, dtype):
    student, teacher, target = batch(41, 127, dtype)
    expected = case.reference(student.detach().double().numpy(), teacher.double().numpy(), target.numpy())
    assert value(name, case, student, teacher, target).item() == pytest.approx(expected, rel=TOLERANCES[dtype])


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_gradient_equals_finite_differences(name, case):
    student, teacher, target = batch()
    assert torch.autograd.gradcheck(lambda s: value(name, case, s, teacher, target), student)


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_teacher_gets_no_gradient(name, case):
    student, teacher, target = batch()
    teacher.requires_grad_()
    value(name, case, student, teacher, target).backward()
    assert teacher.grad is None and student.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("shape", [(6, 7), (3, 2), (1, 5)], ids=str)
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("name", "case"), TABLE)
def test_finite_for_every_finite_input(name, case, edge, shape, dtype):
    student, teacher, target = batch(*shape)
    student, teacher = EDGES[edge](student.detach(), teacher)
    student, teacher = student.to(dtype).requires_grad_(), teacher.to(dtype)
    loss = value(name, case, student, teacher, target)
    loss.backward()
    assert loss.dtype in (torch.float32, torch.float64)
    assert torch.isfinite(loss) and torch.isfinite(student.grad).all()


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_autocast_does_not_lower_the_precision(name, case):
    student, teacher, target = batch(dtype=torch.float32)
    plain = value(name, case, student, teacher, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(value(name, case, student, teacher, target), plain)


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_compiles_without_a_graph_break(name, case):
    student, teacher, target = batch(dtype=torch.float32)
    loss = build_loss(dict(type=name, **case.arguments))
    compiled = torch.compile(
        lambda s: loss(ModelOutput(s), ModelOutput(teacher), target), fullgraph=True, backend="aot_eager"
    )
    torch.testing.assert_close(compiled(student), value(name, case, student, teacher, target))
