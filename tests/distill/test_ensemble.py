"""Several teachers behind one Distiller."""

import pytest
import torch
from torch import nn

from kdzoo.distill import Distiller, build_terms
from kdzoo.distill.ensemble import EnsembleTeacher
from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput


class Net(nn.Module):
    """The smallest model a Distiller takes."""

    def __init__(self, seed, classes=4, width=6):
        super().__init__()
        torch.manual_seed(seed)
        self.stem, self.head = nn.Linear(9, width), nn.Linear(width, classes)
        self.asked = []

    def outputs(self, images, features=False):
        self.asked.append(features)
        pooled = self.stem(images.flatten(1)).tanh()
        return ModelOutput(self.head(pooled), [pooled[:, :, None, None]] if features else [], pooled)


def images():
    return torch.rand(5, 1, 3, 3, generator=torch.Generator().manual_seed(0))


def test_logits_are_fused_and_the_rest_is_the_first_teachers():
    first, second = Net(0), Net(1, width=3)
    output = EnsembleTeacher([first, second], radius=0.2).outputs(images(), features=True)
    expected = KF.fuse_teachers([first.outputs(images()).logits, second.outputs(images()).logits], radius=0.2)
    torch.testing.assert_close(output.logits, expected)
    assert output.pooled.shape == (5, 6) and output.features[0].shape == (5, 6, 1, 1)
    assert first.asked[0] and not second.asked[0]
    torch.testing.assert_close(EnsembleTeacher([first, second], radius=0.2)(images()), expected)


def test_every_kd_loss_takes_it_unchanged():
    teachers = [Net(0), Net(1), Net(2)]
    terms = build_terms([dict(type="CrossEntropy"), dict(type="KD", temperature=2.0)])
    student, target = Net(3), torch.tensor([0, 1, 2, 3, 0])
    ensemble = EnsembleTeacher(teachers, radius=0.0)
    distiller = Distiller(student, terms, ensemble)
    losses = distiller(images(), target)
    losses.total.backward()
    mean = torch.stack([t.outputs(images()).logits for t in teachers]).mean(dim=0)
    expected = KF.kd(student.outputs(images()).logits, mean, temperature=2.0)
    torch.testing.assert_close(losses.terms[1], expected.detach())
    assert not any(p.requires_grad for p in ensemble.parameters()) and not any(t.training for t in teachers)
    assert all(p.grad is None for p in ensemble.parameters()) and student.head.weight.grad.abs().max() > 0
    assert len(ensemble.state_dict()) == 3 * len(teachers[0].state_dict())


@pytest.mark.skipif(torch.__version__ < "2.7", reason="an older compiler can't look into a list of models")
def test_it_compiles_without_a_graph_break():
    torch._dynamo.reset()
    ensemble = EnsembleTeacher([Net(0), Net(1)]).eval()
    for teacher in ensemble.teachers:
        teacher.outputs = Plain(teacher).outputs
    compiled = torch.compile(lambda x: ensemble.outputs(x).logits, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(images()), ensemble(images()))


class Plain:
    """A model's outputs without the book-keeping of the tests."""

    def __init__(self, net):
        self.stem, self.head = net.stem, net.head

    def outputs(self, images, features=False):
        return ModelOutput(self.head(self.stem(images.flatten(1)).tanh()))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: EnsembleTeacher([]), "at least one model"),
        (lambda: EnsembleTeacher([Net(0)], radius=-1.0), "radius must be"),
        (lambda: EnsembleTeacher([Net(0)], temperature=0.0), "temperature must be"),
        (lambda: EnsembleTeacher([Net(0), Net(1, classes=5)])(images()), "teacher_logits must have one shape"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
