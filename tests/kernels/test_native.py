"""The C code: its losses against the float64 reference, and what happens where it can't be had."""

import math
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from kdzoo.kernels import cpu_native, dispatch, native
from kdzoo.kernels.class_sums import class_sums
from kdzoo.losses import functional as KF

from .test_cpu import CASES, EDGES, GOLDEN, drawn, wanted

pytestmark = pytest.mark.filterwarnings("ignore:DKD with 2 classes")
BY_C = [name for name, (loss, _, _) in CASES.items() if loss in cpu_native.NATIVE and name != "kd-cold"]
needs_compiler = pytest.mark.skipif(native.library() is None, reason="no C compiler here")


def found(case, student, teacher, target, reduction="none", scale=0.5, **more):
    name, parameters, _ = CASES[case]
    target = target if name != "kd" else None
    assert cpu_native.covers(name, student)
    return cpu_native.compute(name, student, teacher, target, parameters | more, reduction, scale, True)


def close(case, given, rows, grad, slack=0.0):
    """Against the reference, in float64, of the same float32 logits; rounding is as large as the weights are."""
    expected_rows, expected_grad = wanted(case, *(x.double() for x in given[:2]), given[2])
    parameters = CASES[case][1]
    weight = max(1.0, parameters.get("beta", 1.0), parameters.get("gamma", 1.0)) * parameters["temperature"] ** 2
    torch.testing.assert_close(rows.double(), expected_rows, rtol=3e-6, atol=5e-7 * weight + slack)
    allowed = 1e-5 * expected_grad.abs().amax(dim=1, keepdim=True) + 1e-6 * weight + slack
    assert ((2 * grad.double() - expected_grad).abs() <= allowed).all()


@needs_compiler
@pytest.mark.parametrize("size, classes", [(1, 2), (7, 3), (5, 10), (3, 127), (2, 1025), (300, 40)])
@pytest.mark.parametrize("case", BY_C)
def test_rows_and_gradients_are_the_references(case, size, classes):
    given = drawn(size, classes, torch.float32)
    kept = [x.clone() for x in given]
    close(case, given, *found(case, *given))
    assert all(torch.equal(x, y) for x, y in zip(given, kept, strict=True))


@needs_compiler
@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("case", BY_C)
def test_edges(case, edge):
    standardized = CASES[case][1].get("standardize", False)
    if standardized and edge in ("shifted", "tiny"):
        pytest.skip("Z-scores of what float32 has rounded away")
    for size, classes in ((4, 9), (3, 2), (1, 5)):
        student, teacher, target = drawn(size, classes)
        given = *(x.float() for x in EDGES[edge](student, teacher)), target
        rows, grad = found(case, *given)
        assert torch.isfinite(rows).all() and torch.isfinite(grad).all()
        size_of = max(x.abs().max().item() for x in given[:2]) + 1
        # The reference with the same rounding: on float32 copies, logits of this size are multiples of 1e-7 of it.
        close(case, given, rows, grad, slack=3e-6 * size_of)


@needs_compiler
@pytest.mark.parametrize("classes", [2, 6])
@pytest.mark.parametrize("which", ["student", "teacher"])
@pytest.mark.parametrize("value", [math.inf, -math.inf])
@pytest.mark.parametrize("case", BY_C)
def test_infinite_logits_behave_as_in_the_reference(case, value, which, classes):
    student, teacher, target = drawn(4, classes, torch.float32)
    changed = student if which == "student" else teacher
    changed[0, target[0]] = value  # at the label
    changed[1, (target[1] + 1) % classes] = value  # beside it
    rows, grad = found(case, student, teacher, target)
    expected_rows, expected_grad = wanted(case, student.double(), teacher.double(), target)
    torch.testing.assert_close(rows.double(), expected_rows, rtol=1e-5, atol=2e-4, equal_nan=True)
    finite = torch.isfinite(expected_rows)
    torch.testing.assert_close(2 * grad[finite].double(), expected_grad[finite], rtol=1e-4, atol=2e-4, equal_nan=True)


@needs_compiler
def test_a_cold_temperature_and_far_scores_do_not_overflow():
    student, teacher, target = drawn(5, 30, torch.float32)
    rows, grad = found("kd", student, teacher, target, temperature=1e-3)
    expected = KF.kd(student.double(), teacher.double(), 1e-3, reduction="none", backend="torch")
    torch.testing.assert_close(rows.double(), expected, rtol=1e-4, atol=1e-7)
    assert torch.isfinite(grad).all()


@needs_compiler
@pytest.mark.parametrize("golden", [name for name, (loss, _) in GOLDEN.items() if loss in cpu_native.NATIVE])
def test_golden_values_and_gradients(golden_losses, golden):
    name, parameters = GOLDEN[golden]
    for size in ("B8_C10", "B4_C100"):
        case = golden_losses["cases"][size]
        student, teacher = (torch.tensor(case[key], dtype=torch.float32) for key in ("student", "teacher"))
        target = None if name == "kd" else torch.tensor(case["target"])
        parameters = {"ce_weight": 0.0, "order": None} | parameters if name == "pld" else parameters
        loss, grad = cpu_native.compute(
            name, student, teacher, target, parameters, "mean", 1 / len(student), need_grad=True
        )
        expected = case["float64"][golden]
        assert loss.item() == pytest.approx(expected["value"], rel=1e-5, abs=1e-6)
        torch.testing.assert_close(grad, torch.tensor(expected["grad_student"]).float(), atol=1e-5, rtol=1e-4)


@needs_compiler
@pytest.mark.parametrize("case", BY_C)
def test_reductions_strides_and_threads(case, monkeypatch):
    student, teacher, target = drawn(9, 44, torch.float32)
    target %= 40
    wide, narrow = (student[:, :40], teacher.double()[:, :40]), (student[:, :40].contiguous(), teacher[:, :40])
    rows, grad = found(case, *wide, target)
    across = student[:, :40].T.contiguous().T  # classes are not neighbours
    for given in (narrow, (across, narrow[1])):
        for left, right in zip(found(case, *given, target), (rows, grad), strict=True):
            assert torch.equal(left, right)
    monkeypatch.setattr(cpu_native, "SMALLEST_THREADED", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    for left, right in zip(found(case, *narrow, target), (rows, grad), strict=True):
        assert torch.equal(left, right)
    for reduction, value in (("sum", rows.sum()), ("mean", rows.mean())):
        loss, same = found(case, *narrow, target, reduction)
        torch.testing.assert_close(loss, value)
        assert loss.shape == () and torch.equal(same, grad)


@needs_compiler
@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int64])
def test_plds_order_ties_and_long_rows(kind):
    for classes in (12, 700):  # sorted by 8 bits at a time, and by 11
        given = drawn(6, classes, torch.float32)
        given[1][:, 3:8] = given[1][:, 3:4]  # ties
        given[1][:, 8], given[1][:, 9] = 0.0, -0.0
        close("pld", given, *found("pld", *given))
        if classes < 256 or kind != torch.uint8:
            order = given[1].argsort(dim=1, stable=True).to(kind)
            for left, right in zip(found("pld", *given, order=order), found("pld", *given), strict=True):
                assert torch.equal(left, right)


@needs_compiler
def test_what_would_leave_the_row_is_told():
    student, teacher, target = drawn(3, 5, torch.float32)
    for case in ("ce_kd", "dkd", "nkd", "pld"):
        for wrong in (5, -1):
            with pytest.raises(IndexError, match="target holds a label that is no class"):
                found(case, student, teacher, torch.tensor([0, wrong, 1]))
    twice = torch.tensor([[0, 0, 1, 2, 3]] * 3)  # with the label once, but without class 4
    for order in (torch.full((3, 5), 7), torch.zeros(3, 5, dtype=torch.long), twice):
        with pytest.raises(IndexError, match="order is no permutation"):
            found("pld", student, teacher, torch.tensor([1, 1, 1]), order=order)


@needs_compiler
def test_the_functional_losses_take_it_and_tell_nan():
    student, teacher, target = drawn(4, 6, torch.float32)
    student.requires_grad_()
    loss = KF.kd(student, teacher)
    assert type(loss.grad_fn).__name__ == "_DirectBackward"  # below SMALLEST_ON_CPU, so it is the C code's
    (slope,) = torch.autograd.grad(loss, student, create_graph=True)
    (again,) = torch.autograd.grad(slope.square().sum(), student)
    wide = student.detach().double().requires_grad_()
    (slope,) = torch.autograd.grad(KF.kd(wide, teacher.double(), backend="torch"), wide, create_graph=True)
    (expected,) = torch.autograd.grad(slope.square().sum(), wide)
    torch.testing.assert_close(again.double(), expected, rtol=1e-4, atol=1e-6)
    for spoilt in (student, teacher):
        changed = spoilt.detach().clone()
        changed[1, 2] = math.nan
        given = (changed, teacher) if spoilt is student else (student, changed)
        for loss, labels in ((KF.kd, ()), (KF.dkd, (target,)), (KF.nkd, (target,)), (KF.pld, (target,))):
            with pytest.raises(ValueError, match="must be numbers, got NaN in row 1"):
                loss(*given, *labels)
    assert KF.kd(student[:, :], torch.full((4, 6), math.inf)).isnan()  # infinities are no mistake to tell


@needs_compiler
def test_it_is_taken_under_torch_compile():
    torch.compiler.reset()
    student, teacher, target = drawn(4, 6, torch.float32)
    student.requires_grad_()
    for loss in (lambda s: KF.kd(s, teacher), lambda s: KF.dkd(s, teacher, target)):
        compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
        assert torch.equal(compiled(student), loss(student))
        assert torch.equal(*(torch.autograd.grad(call(student), student)[0] for call in (compiled, loss)))


@pytest.fixture
def afresh(monkeypatch, tmp_path):
    """As at the first call in a process, with an empty cache folder."""
    monkeypatch.setenv("KDZOO_CACHE", str(tmp_path))
    native.library.cache_clear()
    yield tmp_path
    native.library.cache_clear()


def test_no_compiler_says_nothing(afresh, monkeypatch):
    monkeypatch.setenv("CC", "no-such-compiler")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is None
        student, teacher, _ = drawn(4, 6, torch.float32)
        loss = KF.kd(student, teacher, standardize=True)
    torch.testing.assert_close(loss, KF.kd(student, teacher, standardize=True, backend="torch"))
    assert dispatch._engine("kd", "auto", student, {}) is None  # the closed form gains nothing so small


def test_the_environment_switches_it_off(afresh, monkeypatch):
    monkeypatch.setenv("KDZOO_NATIVE", "0")
    assert native.library() is None and not list(afresh.iterdir())


def test_a_compiler_that_fails_is_warned_of_once(afresh, monkeypatch):
    monkeypatch.setenv("CC", f"{sys.executable} -c error")
    with pytest.warns(UserWarning, match="the C code of kdzoo could not be built .*, plain PyTorch replaces it"):
        assert native.library() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert native.library() is None
    assert not list((afresh / "native").iterdir())  # nothing half built is left


@needs_compiler
def test_two_processes_build_at_once(tmp_path):
    code = "from kdzoo.kernels import native; print(native.library()._name)"
    environment = os.environ | {"KDZOO_CACHE": str(tmp_path)}
    started = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    names = [process.communicate()[0].strip() for process in started]
    assert [process.returncode for process in started] == [0, 0]
    assert names[0] == names[1] and os.listdir(tmp_path / "native") == [os.path.basename(names[0])]


@needs_compiler
@pytest.mark.parametrize("parts", [1, 3])
def test_sums_by_class(parts):
    rng = np.random.default_rng(0)
    x = (rng.standard_normal((1003, 37)) + 1e4).astype(np.float32)
    codes, shift = rng.integers(5, size=1003), x[:50].mean(axis=0, dtype=np.float64)
    for rows in (x, np.asfortranarray(x)[::1], x[:, ::1], x[::2]):
        found = class_sums(rows, codes[: len(rows)], 5, shift, parts)
        if rows.strides[1] != 4:
            assert found is None
            continue
        moved = rows.astype(np.float64) - shift
        sums = np.stack([moved[codes[: len(rows)] == k].sum(axis=0) for k in range(5)])
        np.testing.assert_allclose(found[0], sums, rtol=1e-12, atol=1e-9)
        np.testing.assert_allclose(found[1], (moved**2).sum(axis=0), rtol=1e-12)
    assert class_sums(x.astype(np.float64), codes, 5, shift, parts) is None
    with pytest.raises(ValueError, match="codes must be"):
        class_sums(x, codes + 1, 5, shift, parts)


@needs_compiler
def test_the_results_lie_where_the_logits_do_whatever_torchs_default_device_is():
    given = drawn(4, 10, torch.float32)
    with torch.device("meta"):
        rows, grad = found("kd", *given)
    assert rows.device == grad.device == given[0].device
    close("kd", given, rows, grad)
