"""The Distiller: what gets gradients, what the state holds, and the weighted sum."""

import pytest
import torch
from torch import nn

from kdzoo.distill import Distiller, build_terms
from kdzoo.errors import ConfigError
from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput

LOSSES = [dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=2.0, weight=9.0)]


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 5))
        self.asked = []

    def outputs(self, images, features=False):
        self.asked.append(features)
        return ModelOutput(self.net(images))


@pytest.fixture
def batch():
    return torch.rand(6, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4, 0])


def test_total_is_the_weighted_sum(batch):
    student, teacher = Net(), Net()
    student.net[3].p = 0.0
    distiller = Distiller(student, build_terms(LOSSES), teacher)
    losses = distiller(*batch)
    logits = Net.outputs(student, batch[0]).logits
    taught = teacher.outputs(batch[0]).logits
    expected = [0.1 * KF.cross_entropy(logits, batch[1]), 9.0 * KF.kd(logits, taught, 2.0)]
    torch.testing.assert_close(losses.terms, torch.stack(expected).detach())
    torch.testing.assert_close(losses.total, sum(expected))
    assert losses.correct == (logits.argmax(1) == batch[1]).sum()
    assert distiller.names == ["CrossEntropy", "KD"] and student.asked[0] is False


def test_the_teacher_is_frozen_for_good_and_in_no_state(batch):
    teacher = Net()
    distiller = Distiller(Net(), build_terms(LOSSES), teacher).train()
    before = {k: v.clone() for k, v in teacher.state_dict().items()}
    distiller(*batch).total.backward()
    assert not teacher.training and all(p.grad is None for p in teacher.parameters())
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())  # batch-norm statistics too
    assert all(p.grad is not None for p in distiller.student.parameters())
    assert all(name.startswith(("student.", "losses.")) for name in distiller.state_dict())
    assert {id(p) for p in distiller.parameters()}.isdisjoint({id(p) for p in teacher.parameters()})


def test_given_teacher_logits_spare_the_teacher(batch):
    teacher = Net()
    distiller = Distiller(Net().eval(), build_terms(LOSSES), teacher).eval()
    logits = teacher.outputs(batch[0]).logits
    teacher.asked.clear()
    torch.testing.assert_close(distiller(*batch, logits).total, distiller(*batch).total)
    assert len(teacher.asked) == 1  # the second call only


def test_without_a_teacher(batch):
    distiller = Distiller(Net(), build_terms([dict(type="CrossEntropy")]))
    distiller(*batch).total.backward()
    with pytest.raises(ConfigError, match=r"losses\[1\]: KD needs a teacher"):
        Distiller(Net(), build_terms(LOSSES))


def test_soft_targets(batch):
    soft = torch.eye(5)[batch[1]] * 0.8 + 0.04
    distiller = Distiller(Net().eval(), build_terms([dict(type="CrossEntropy")])).eval()
    losses = distiller(batch[0], soft)
    assert losses.correct == distiller(*batch).correct and losses.total.isfinite()


def test_losses_stay_in_float32_under_autocast(batch):
    distiller = Distiller(Net().eval(), build_terms(LOSSES), Net()).eval()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = distiller(*batch)
    assert losses.total.dtype == losses.terms.dtype == torch.float32


def test_terms_have_names_of_their_own():
    assert [t.name for t in build_terms([LOSSES[1], LOSSES[0], LOSSES[1]])] == ["KD", "CrossEntropy", "KD#2"]


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([], "losses: expected at least one loss"),
        (["KD"], r"losses\[0\]: expected dict"),
        ([dict(type="KD", weight="much")], r"losses\[0\]: expected a number for 'weight'"),
        (
            [LOSSES[0], dict(type="KD", temprature=1)],
            r"losses\[1\]: KD got unknown 'temprature' \(did you mean 'temperature'",
        ),
        ([dict(type="KD", temperature=-1)], r"losses\[0\]: KD: temperature must be above 0"),
    ],
)
def test_mistakes_name_their_place(losses, words):
    with pytest.raises(ConfigError, match=words):
        build_terms(losses)
