"""MLKD: its masks and its two views."""

import pytest
import torch

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss
from kdzoo.output import ModelOutput


def outputs():
    views = [torch.randn(6, 7, dtype=torch.float64) * 3 for _ in range(4)]
    student = ModelOutput(views[0].requires_grad_(), second=ModelOutput(views[1].requires_grad_()))
    return student, ModelOutput(views[2], second=ModelOutput(views[3]))


def test_masked_images_teach_nothing():
    student, teacher = outputs()
    loss = build_loss(dict(type="MLKD", masks="sample", second_view=False))
    teacher.logits[:3] = torch.eye(7)[:3].double() * 50  # the surer half
    total = loss(student, teacher, None)
    level = torch.autograd.grad(total, student.logits, retain_graph=True)[0].abs().amax(dim=1)
    assert level[3:].min() > 0.1 and level[:3].max() < level[3:].min()  # only the class level, of other images, is left
    published = build_loss(dict(type="MLKD", second_view=False))(student, teacher, None)
    assert torch.autograd.grad(published, student.logits)[0][:3].abs().max() > level[:3].max()


def test_without_a_second_view_the_strong_parts_are_left_out():
    student, teacher = outputs()
    for masks in ("sample", "published"):
        both, weak = (build_loss(dict(type="MLKD", masks=masks, second_view=view)) for view in (True, False))
        assert (both.needs_second, weak.needs_second) == (True, False)
        alone = weak(student, teacher, None)
        assert both(student, teacher, None) > alone
        assert torch.equal(both(ModelOutput(student.logits), ModelOutput(teacher.logits), None), alone)


def test_the_second_view_gets_gradients():
    student, teacher = outputs()
    build_loss(dict(type="MLKD"))(student, teacher, None).backward()
    assert student.second.logits.grad.abs().max() > 0


def test_a_wrong_mask_is_told():
    with pytest.raises(ConfigError, match="'masks', got 'samples'"):
        build_loss(dict(type="MLKD", masks="samples"))
