"""A loss that runs the networks itself, beside losses that read their outputs."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from kdzoo.distill import Distiller, build_terms, check_term
from kdzoo.errors import ConfigError
from kdzoo.registry import OBJECTIVES


class Shifted(nn.Module):
    """Cross-entropy of the student on shifted images, against the teacher's classes."""

    runs_networks = True
    needs_teacher = True

    def __init__(self, shift: float = 0.1):
        super().__init__()
        self.shift = shift

    def forward(self, student, teacher, images, target):
        logits = student.outputs(images + self.shift).logits
        return F.cross_entropy(logits, teacher.outputs(images).logits.argmax(dim=1)), logits


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    OBJECTIVES.names()
    monkeypatch.setitem(OBJECTIVES._entries, "Shifted", Shifted)


def test_an_objective_alone_runs_the_student_once(networks, images, target):
    student, teacher = networks
    runs = []
    outputs = student.outputs
    student.outputs = lambda x, features=False: runs.append(x) or outputs(x, features)
    distiller = Distiller(student, build_terms([dict(type="Shifted", shift=0.2, weight=3.0)]), teacher).eval()
    losses = distiller(images, target)
    assert len(runs) == 1 and torch.equal(runs[0], images + 0.2)
    expected = F.cross_entropy(outputs(images + 0.2).logits, teacher.outputs(images).logits.argmax(1))
    torch.testing.assert_close(losses.total, 3 * expected)
    assert losses.correct == (outputs(images + 0.2).logits.argmax(1) == target).sum()
    losses.total.backward()
    assert student.classifier.weight.grad.abs().max() > 0 and teacher.classifier.weight.grad is None


def test_an_objective_beside_a_loss(networks, images, target):
    student, teacher = networks
    terms = build_terms([dict(type="CrossEntropy"), dict(type="Shifted", weight=0.5)])
    distiller = Distiller(student, terms, teacher).eval()
    losses = distiller(images, target)
    plain = student.outputs(images).logits
    torch.testing.assert_close(losses.terms[0], F.cross_entropy(plain, target))
    assert losses.correct == (plain.argmax(1) == target).sum()
    assert distiller.runs_networks and not distiller.uses_teacher


def test_mistakes_are_told(networks):
    with pytest.raises(ConfigError, match="Shifted needs a teacher"):
        check_term(dict(type="Shifted"), "losses[0]", taught=False)
    with pytest.raises(ConfigError, match=r"losses\[0\]: unknown loss 'Shiftd' \(did you mean 'Shifted'"):
        build_terms([dict(type="Shiftd")])
    with pytest.raises(ConfigError, match="got unknown 'shif'"):
        check_term(dict(type="Shifted", shif=1), "losses[0]", taught=True)
