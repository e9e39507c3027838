"""One tester for every registered loss: registering a loss without a file in tests/losses/cases fails.

Each loss is held to an independent float64 reference (NumPy and SciPy), to finite-difference
gradients, and to finite values and gradients on every finite input, in every precision.
"""

import itertools
import runpy
from dataclasses import replace
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
TRAIN_SIZE = 64
pytestmark = pytest.mark.filterwarnings("ignore:DKD with 2 classes")
STUDENT_MAPS = [(4, 8), (6, 8), (8, 4), (10, 2)]  # stem to last stage: channels, height and width
TEACHER_MAPS = [(5, 8), (7, 8), (12, 4), (16, 2)]


def model_output(maps, size, classes, generator):
    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    features = [draw(size, width, side, side) for width, side in maps]
    logits, second = draw(size, classes) * 3, draw(size, classes) * 3
    return ModelOutput(logits, features, draw(size, maps[-1][0]), second=ModelOutput(second))


def batch(size=6, classes=7, dtype=torch.float64, seed=0):
    """Outputs of both models and the target; the student's tensors ask for gradients."""
    generator = torch.Generator().manual_seed(seed)
    student, teacher = (model_output(maps, size, classes, generator) for maps in (STUDENT_MAPS, TEACHER_MAPS))
    target = torch.randint(classes, (size,), generator=generator)
    student.index = torch.randperm(TRAIN_SIZE, generator=generator)[:size]
    student = mapped(student, lambda x: x.to(dtype).requires_grad_())
    return student, mapped(teacher, lambda x: x.to(dtype)), target


def mapped(output, change):
    """The output with ``change`` applied to every floating tensor."""
    return replace(
        output,
        logits=change(output.logits),
        features=[change(x) for x in output.features],
        pooled=None if output.pooled is None else change(output.pooled),
        aux_logits=None if output.aux_logits is None else change(output.aux_logits),
        second=None if output.second is None else mapped(output.second, change),
    )


def tensors(output):
    """Every floating tensor of the output."""
    found = []
    mapped(output, lambda x: found.append(x) or x)
    return found


def with_tensors(output, values):
    values = iter(values)
    return mapped(output, lambda _: next(values))


def build(name, case, student, teacher):
    """The loss for these shapes, always of the same initial weights, in the precision a Distiller runs it in."""
    dtype, classes = torch.float64 if student.logits.dtype == torch.float64 else torch.float32, student.logits.shape[1]
    torch.manual_seed(0)
    classifier = torch.nn.Linear(teacher.pooled.shape[1], classes).to(dtype)
    examples = [mapped(x, lambda x: x.detach()[:2].float()) for x in (student, teacher)]
    loss = build_loss(
        dict(type=name, **case.arguments),
        student_example=examples[0],
        teacher_example=examples[1],
        teacher_classifier=classifier,
        num_classes=classes,
        train_size=TRAIN_SIZE,
        epochs=10,
    )
    if case.prepare is not None:
        case.prepare(loss)
    return loss.to(dtype)


def value(name, case, student, teacher, target):
    loss = build(name, case, student, teacher)
    torch.manual_seed(1)  # of what a loss draws
    return loss(student, teacher, target)


def as_arrays(output):
    return mapped(output, lambda x: x.detach().double().numpy())


# Each changes one model's (own, other) logits; other tensors have no counterpart and are their own.
EDGES = {
    "zero_student": (lambda s, t: s * 0, lambda s, t: t),
    "constant_rows": (lambda s, t: s * 0 + 2, lambda s, t: t * 0 - 1),
    "one_hot_like": (lambda s, t: s * 60, lambda s, t: t * 60),
    "large": (lambda s, t: s * 600, lambda s, t: t * 600),
    "opposed": (lambda s, t: -t * 600, lambda s, t: t * 600),
    "tiny": (lambda s, t: s * 1e-6, lambda s, t: t * 1e-6),
    "equal": (lambda s, t: t, lambda s, t: t),
}


def at_edge(edge, student, teacher):
    on_student, on_teacher = EDGES[edge]
    student, teacher = (mapped(x, lambda x: x.detach()) for x in (student, teacher))
    pairs = list(zip(tensors(student), tensors(teacher), strict=True))
    ours = [on_student(x, y if x.shape == y.shape else x) for x, y in pairs]
    return with_tensors(student, ours), with_tensors(teacher, [on_teacher(y, y) for _, y in pairs])


def test_every_registered_loss_has_a_reference():
    assert set(LOSSES.names()) == set(CASES)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("name", "case"), TABLE)
def test_value_equals_the_reference(name, case, dtype):
    student, teacher, target = batch(41, 127, dtype)
    loss = build(name, case, student, teacher)
    ours, theirs = as_arrays(student), as_arrays(teacher)
    if case.whole:
        state = {key: entry.detach().double().numpy() for key, entry in loss.state_dict().items()}
        expected = case.reference(ours, theirs, target.numpy(), state)
    else:
        expected = case.reference(ours.logits, theirs.logits, target.numpy())
    torch.manual_seed(1)
    tolerance = 1e-6 if dtype == torch.float64 else case.float32_rtol  # eps of 1e-7 are not in the references
    assert loss(student, teacher, target).item() == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_gradient_equals_finite_differences(name, case):
    if case.stops_gradient:
        pytest.skip("not the gradient of the value: see the loss's own test")
    student, teacher, target = batch(4, 5)
    points = tensors(student)
    grads = torch.autograd.grad(value(name, case, student, teacher, target), points, allow_unused=True)
    used = [i for i, grad in enumerate(grads) if grad is not None]

    def function(*inputs):
        values = list(points)
        for i, x in zip(used, inputs, strict=True):
            values[i] = x
        return value(name, case, with_tensors(student, values), teacher, target)

    # Maps have thousands of entries: there, random directions are tried instead of each entry.
    large = sum(points[i].numel() for i in used) > 200
    assert torch.autograd.gradcheck(function, [points[i] for i in used], fast_mode=large)


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_teacher_gets_no_gradient(name, case):
    student, teacher, target = batch()
    teacher = mapped(teacher, lambda x: x.requires_grad_())
    value(name, case, student, teacher, target).backward()
    assert all(x.grad is None for x in tensors(teacher))
    assert max(x.grad.abs().max() for x in tensors(student) if x.grad is not None) > 0


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize(("name", "case"), TABLE)
def test_finite_for_every_finite_input(name, case, edge):
    dtypes = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
    for (size, classes), dtype in itertools.product(((6, 7), (3, 2), (1, 5)), dtypes):
        student, teacher, target = batch(size, classes)
        student, teacher = at_edge(edge, student, teacher)
        student = mapped(student, lambda x, to=dtype: x.to(to).requires_grad_())
        teacher = mapped(teacher, lambda x, to=dtype: x.to(to))
        loss = value(name, case, student, teacher, target)
        loss.backward()
        where = f"{size} images, {classes} classes, {dtype}"
        assert loss.dtype in (torch.float32, torch.float64) and loss.shape == (), where
        assert torch.isfinite(loss), where
        assert all(torch.isfinite(x.grad).all() for x in tensors(student) if x.grad is not None), where


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_autocast_does_not_lower_the_precision(name, case):
    student, teacher, target = batch(dtype=torch.float32)
    plain = value(name, case, student, teacher, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(value(name, case, student, teacher, target), plain)


@pytest.mark.parametrize(("name", "case"), TABLE)
def test_compiles_without_a_graph_break(name, case):
    torch.compiler.reset()  # the limit of recompilations counts all losses together
    student, teacher, target = batch(dtype=torch.float32)
    loss = build(name, case, student, teacher)
    start = {key: entry.clone() for key, entry in loss.state_dict().items()}
    compiled = torch.compile(lambda s: loss(s, teacher, target), fullgraph=True, backend="aot_eager")
    torch.manual_seed(1)
    result = compiled(student)
    loss.load_state_dict(start)  # memories and running statistics move
    torch.manual_seed(1)
    torch.testing.assert_close(result, loss(student, teacher, target))
