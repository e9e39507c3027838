"""The binary losses' closed forms and their auxiliary head."""

import pytest
import torch

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss
from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput


def drawn():
    return [torch.randn(5, 7, dtype=torch.float64).mul(3).requires_grad_() for _ in range(2)]


def test_the_norm_is_even_and_a_log_cosh():
    student, teacher = drawn()
    mirrored = 2 * teacher - student
    torch.testing.assert_close(KF.binary_kl_norm(mirrored, teacher, 3.0), KF.binary_kl_norm(student, teacher, 3.0))
    expected = 9 * ((student - teacher) / 6).cosh().log().sum(dim=1).mean()
    torch.testing.assert_close(KF.binary_kl_norm(student, teacher, 3.0), expected)


def test_gradients():
    student, teacher = drawn()
    (ours,) = torch.autograd.grad(KF.binary_kl_norm(student, teacher, 3.0), student)
    torch.testing.assert_close(ours, (3.0 / 2 * ((student - teacher) / 6).tanh() / 5).detach())
    (ours,) = torch.autograd.grad(KF.binary_kl(student, teacher, 3.0), student)
    torch.testing.assert_close(ours, (3.0 * ((student / 3).sigmoid() - (teacher / 3).sigmoid()) / 5).detach())


def test_large_differences_are_not_clamped():
    student, teacher = torch.tensor([[400.0, -400.0]]), torch.tensor([[-400.0, 400.0]])
    assert KF.binary_kl_norm(student, teacher, 2.0).item() == pytest.approx(4 * 2 * (400 / 2 - torch.tensor(2.0).log()))
    assert KF.binary_kl(student, teacher, 2.0).item() == pytest.approx(4 * 2 * 200)


@pytest.mark.parametrize("name", ["BinaryKL", "BinaryKLNorm"])
def test_head(name):
    function = {"BinaryKL": KF.binary_kl, "BinaryKLNorm": KF.binary_kl_norm}[name]
    student = ModelOutput(torch.randn(4, 7), pooled=torch.randn(4, 5).requires_grad_())
    teacher = ModelOutput(torch.randn(4, 7))
    linear = build_loss(dict(type=name), student_example=student)
    assert {k: tuple(v.shape) for k, v in linear.state_dict().items()} == {
        "head.classify.weight": (7, 5),
        "head.classify.bias": (7,),
    }
    wide = build_loss(dict(type=name, head="nonlinear"), student_example=student)
    assert wide.head.classify.weight.shape == (7, 200) and wide.head.dropout.p == 0.1
    for loss in (linear, wide):
        loss(student, teacher, None).backward()
        assert loss.head.classify.weight.grad.abs().max() > 0 and student.pooled.grad.abs().max() > 0
    own = ModelOutput(torch.randn(4, 7), pooled=torch.randn(4, 5), aux_logits=torch.randn(4, 7))
    headless = build_loss(dict(type=name), student_example=own)
    assert not list(headless.parameters())
    assert torch.equal(headless(own, teacher, None), function(own.aux_logits, teacher.logits))
    assert torch.equal(build_loss(dict(type=name))(student, teacher, None), function(student.logits, teacher.logits))


def test_a_wrong_head_is_told():
    student = ModelOutput(torch.randn(4, 7), pooled=torch.randn(4, 5))
    with pytest.raises(ConfigError, match="'head', got 'nonlinaer'"):
        build_loss(dict(type="BinaryKLNorm", head="nonlinaer"), student_example=student)
    with pytest.raises(ConfigError, match="hidden must be 1 or more"):
        build_loss(dict(type="BinaryKLNorm", head="nonlinear", hidden=0), student_example=student)
    with pytest.raises(ConfigError, match="pooled features"):
        build_loss(dict(type="BinaryKLNorm"), student_example=ModelOutput(torch.randn(4, 7)))


def test_a_nonlinear_head_takes_a_single_image():
    student = ModelOutput(torch.randn(4, 7), pooled=torch.randn(4, 5))
    loss = build_loss(dict(type="BinaryKLNorm", head="nonlinear", dropout=0.0), student_example=student)
    for _ in range(200):  # until the running statistics are those of this batch
        loss(student, ModelOutput(torch.randn(4, 7)), None)
    one = ModelOutput(student.logits[:1], pooled=student.pooled[:1])
    loss.eval()
    expected = loss(one, ModelOutput(torch.zeros(1, 7)), None)
    assert torch.equal(loss.train()(one, ModelOutput(torch.zeros(1, 7)), None), expected)
