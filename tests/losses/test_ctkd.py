"""CTKD: the learnt temperature, and its reversed gradient."""

import pytest
import torch

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss
from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput


def outputs():
    return ModelOutput(torch.randn(5, 7).requires_grad_()), ModelOutput(torch.randn(5, 7))


def test_start_and_schedule_are_the_published_ones(golden_losses):
    golden = golden_losses["extras"]["ctkd"]
    loss = build_loss(dict(type="CTKD"))
    assert loss.temperature.item() == pytest.approx(golden["T0"], rel=1e-6)
    for epoch, value in golden["lambda_decay_max0_min_m1_loops10"].items():
        assert loss.lambda_at(int(epoch)) == pytest.approx(value, abs=1e-12)


def test_theta_climbs_by_lambda_and_the_student_descends():
    loss, (student, teacher) = build_loss(dict(type="CTKD")), outputs()
    plain = torch.full((1,), loss.temperature.item(), requires_grad=True)
    expected = KF.kd(student.logits, teacher.logits, plain)
    slope, of_student = torch.autograd.grad(expected, [plain, student.logits])
    share = loss.theta.sigmoid()
    for epoch, factor in ((0, loss.lambda_at(1)), (4, -0.5), (9, -1.0), (200, -1.0)):
        loss.set_epoch(epoch)
        value = loss(student, teacher, None)
        assert torch.equal(value, expected)
        ours = torch.autograd.grad(value, [loss.theta, student.logits])
        torch.testing.assert_close(ours[0], factor * slope * 20 * share * (1 - share))
        torch.testing.assert_close(ours[1], of_student)


def test_an_epoch_s_lambda_reaches_compiled_code():
    loss, (student, teacher) = build_loss(dict(type="CTKD")), outputs()
    torch._dynamo.reset()
    compiled = torch.compile(lambda s: loss(s, teacher, None), fullgraph=True, backend="aot_eager")
    slopes = []
    for epoch in (0, 9):
        loss.set_epoch(epoch)
        with torch._dynamo.config.patch(error_on_recompile=epoch > 0):
            slopes.append(torch.autograd.grad(compiled(student), loss.theta)[0] / loss.lambda_at(epoch + 1))
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("wrong", [dict(t_start=0.0), dict(t_end=-1.0), dict(lambda_epochs=0)])
def test_bad_arguments_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        build_loss(dict(type="CTKD", **wrong))
