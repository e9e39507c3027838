"""SRRL: the teacher's classifier. Values and gradients are tested with every loss's."""

import pytest
import torch
from feature_case import examples, pair

from kdzoo.losses.srrl import SRRL


def test_srrl_leaves_the_teachers_classifier_alone():
    student, teacher, target = pair()
    classifier = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(16, 3))
    before = [p.clone() for p in classifier.parameters()]
    loss = SRRL(student_example=student, teacher_example=teacher, teacher_classifier=classifier)
    assert not [name for name, _ in [*loss.named_modules(), *loss.named_parameters()] if "classifier" in name]
    assert not [key for key in loss.state_dict() if "classifier" in key]
    loss.train()
    ours = [x.requires_grad_() for x in student.features]
    first = loss(student, teacher, target)
    first.backward()
    assert torch.equal(first, loss(student, teacher, target))  # no dropout
    assert ours[-1].grad.abs().max() > 0 and all(p.grad is None for p in classifier.parameters())
    assert all(map(torch.equal, classifier.parameters(), before))
    classifier.bfloat16()  # a teacher in half precision
    assert loss(student, teacher, target).item() == pytest.approx(first.item(), rel=0.02)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: SRRL(**examples()), "SRRL needs the teacher's classifier"),
        (lambda: SRRL(**examples(), teacher_classifier=torch.nn.Linear(16, 4)), r"gives \[6, 4\].*are \[6, 3\]"),
        (lambda: SRRL(beta=-1.0, **examples(), teacher_classifier=torch.nn.Linear(16, 3)), "beta must be 0 or more"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
