"""KD of logits that are never stored: value, gradients and memory of the form that stores them."""

import pytest
import torch
import torch.nn.functional as F

from kdzoo.kernels import linear_kd
from kdzoo.losses import functional as KF


def tensors(rows=9, width=5, classes=7, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    shapes = ((rows, width), (classes, width), (classes,), (rows, classes))
    features, weight, bias, teacher = (3 * torch.randn(s, generator=generator, dtype=dtype) for s in shapes)
    return features.requires_grad_(), weight.requires_grad_(), bias.requires_grad_(), teacher


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("chunk", [None, 1, 4, 100])
def test_it_is_kd_of_the_linear_layer(standardize, reduction, chunk):
    *inputs, teacher = tensors()
    options = dict(temperature=2.0, standardize=standardize, reduction=reduction)
    wanted = KF.kd(F.linear(*inputs), teacher, backend="torch", **options)
    slopes = torch.autograd.grad(3 * wanted, inputs)
    for backend in ("auto", "torch"):
        loss = KF.linear_kd(*inputs, teacher, backend=backend, chunk=chunk, **options)
        torch.testing.assert_close(loss, wanted)
        for grad, slope in zip(torch.autograd.grad(3 * loss, inputs), slopes, strict=True):
            torch.testing.assert_close(grad, slope)


def test_gradients_against_finite_differences():
    *inputs, teacher = tensors(rows=3, width=2, classes=4)
    assert torch.autograd.gradcheck(lambda *own: KF.linear_kd(*own, teacher, 2.0, chunk=2), inputs)


def test_without_a_graph_no_gradient_is_computed(monkeypatch):
    *inputs, teacher = tensors()
    asked, genuine = [], linear_kd.linear_kd
    monkeypatch.setattr(linear_kd, "linear_kd", lambda *a, **kw: asked.append(kw["need_grad"]) or genuine(*a, **kw))
    loss = KF.linear_kd(*inputs, teacher)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert torch.equal(KF.linear_kd(*inputs, teacher), loss)
    assert asked == [True, False, False]


def test_the_teacher_may_come_as_features_and_learns_nothing():
    features, weight, bias, _ = tensors()
    ahead, its_weight = torch.randn(9, 6, dtype=torch.float64), torch.randn(7, 6, dtype=torch.float64)
    its_weight.requires_grad_()
    loss = KF.linear_kd(features, weight, None, (ahead, its_weight, None))
    torch.testing.assert_close(loss, KF.kd(features @ weight.T, ahead @ its_weight.T))
    loss.backward()
    assert its_weight.grad is None and features.grad is not None and bias.grad is None


def test_a_frozen_classifier_gets_no_gradient():
    features, weight, bias, teacher = tensors()
    KF.linear_kd(features, weight.detach(), bias.detach(), teacher).backward()
    assert features.grad is not None and weight.grad is None
    with torch.no_grad():
        assert not KF.linear_kd(features, weight, bias, teacher).requires_grad


def test_the_logits_are_never_there_at_once(monkeypatch):
    seen, linear = [], F.linear
    monkeypatch.setattr(torch.nn.functional, "linear", lambda x, *rest: seen.append(len(x)) or linear(x, *rest))
    features, weight, bias, teacher = tensors(rows=1000, width=4, classes=40, dtype=torch.float32)
    KF.linear_kd(features, weight, bias, teacher).backward()
    assert seen == [128] * 7 + [104]


def test_autocast_computes_the_products_in_its_type_and_gradients_come_in_the_parameters_own():
    features, weight, bias, teacher = tensors(dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        loss = KF.linear_kd(features.bfloat16(), weight, bias, teacher)
    loss.backward()
    assert loss.dtype == weight.grad.dtype == torch.float32
    exact = KF.kd(F.linear(features, weight, bias), teacher)
    assert 0 < (loss - exact).abs() < 0.05 * exact


def test_a_second_derivative_is_refused_in_a_line():
    *inputs, teacher = tensors()
    loss = KF.linear_kd(*inputs, teacher)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(loss, inputs, create_graph=True)


@pytest.mark.parametrize(
    "changes, words",
    [
        (dict(reduction="none"), "'mean' or 'sum'"),
        (dict(temperature=0.0), "temperature must be above 0"),
        (dict(temperature=torch.ones(())), "must be a number"),
        (dict(chunk=0), "chunk must be 1 or more"),
        (dict(weight=torch.randn(7, 4)), r"floating \[B, D\] for a weight \[C, D\]"),
        (dict(bias=torch.randn(6)), r"bias must be \[7\]"),
        (dict(teacher=torch.randn(9, 8)), r"logits must be floating \[9, 7\]"),
        (dict(teacher=(torch.randn(8, 3), torch.randn(7, 3), None)), r"logits must be \[9, 7\]"),
        (dict(backend="cuda"), "backend must be"),
    ],
)
def test_what_does_not_fit_is_told(changes, words):
    names = ("features", "weight", "bias", "teacher")
    given = dict(zip(names, tensors(dtype=torch.float32), strict=True)) | changes
    with pytest.raises(ValueError, match=words):
        KF.linear_kd(**given)


def test_float16_keeps_small_gradients_for_the_loss_scale():
    generator = torch.Generator().manual_seed(0)
    shapes = ((4096, 8), (50, 8), (4096, 50))
    features, weight, teacher = (0.05 * torch.randn(s, generator=generator) for s in shapes)
    inputs = [x.half().requires_grad_() for x in (features, weight)]
    exact = [x.detach().float().requires_grad_() for x in inputs]
    scaled = 4096.0 * KF.linear_kd(*inputs, None, teacher.half())
    wanted = torch.autograd.grad(4096.0 * KF.kd(F.linear(*exact), teacher.half().float()), exact)
    for grad, slope in zip(torch.autograd.grad(scaled, inputs), wanted, strict=True):
        assert grad.dtype == torch.float16
        assert (grad.float() - slope).norm() < 0.02 * slope.norm()
