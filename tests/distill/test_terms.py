"""The config's losses: their terms' weights, what they may ask for, and what is told of mistakes."""

import inspect

import pytest
import torch

from kdzoo.distill import LossTerm, build_terms, loss_context
from kdzoo.distill.terms import TERM_KEYS
from kdzoo.errors import ConfigError
from kdzoo.registry import LOSSES


def weights(epochs, **keys):
    term = build_terms([dict(type="KD", **keys)])[0]
    return [term.weight_at(epoch) for epoch in epochs]


def test_weights_of_the_epochs():
    assert weights([0, 100], weight=0.9) == [0.9, 0.9]
    assert weights([0, 1, 3, 4], weight=2, warmup_epochs=4) == [0.5, 1.0, 2.0, 2.0]
    assert weights([0, 49, 50, 99], weight=0.1, until_epoch=50) == [0.1, 0.1, 0.0, 0.0]
    assert weights([0, 1, 2], warmup_epochs=2, until_epoch=2) == [0.5, 1.0, 0.0]


def test_names_tell_losses_of_one_type_apart():
    terms = build_terms([dict(type="KD"), dict(type="CrossEntropy"), dict(type="KD", temperature=2.0, view="second")])
    assert [term.name for term in terms] == ["KD", "CrossEntropy", "KD#2"]
    assert [term.view for term in terms] == ["first", "first", "second"]
    assert [term.needs_second for term in terms] == [False, False, True]
    assert terms[2].loss.temperature == 2.0 and terms[0].needs_teacher and not terms[1].needs_teacher


def test_no_loss_has_a_keyword_of_the_term():
    taken = {name: set(inspect.signature(LOSSES.get(name)).parameters) & set(TERM_KEYS) for name in LOSSES.names()}
    assert {name: keys for name, keys in taken.items() if keys} == {}


@pytest.mark.parametrize(
    ("losses", "words"),
    [
        ([], "losses: expected at least one loss"),
        (["KD"], r"losses\[0\]: expected dict\(type=...\), got 'KD'"),
        ([dict(type="KD"), dict(type="KDD")], r"losses\[1\]: unknown loss 'KDD'.*'KD'"),
        ([dict(temperature=1.0)], r"losses\[0\]: this loss has no type"),
        ([dict(type="KD", weight="9")], r"losses\[0\]: KD expects float for 'weight', got '9'"),
        ([dict(type="KD", weight=True)], r"losses\[0\]: KD expects float for 'weight', got True"),
        ([dict(type="KD", weight=float("nan"))], r"losses\[0\]: KD: weight must be finite"),
        ([dict(type="KD", warmup_epochs=1.5)], r"losses\[0\]: KD expects int for 'warmup_epochs', got 1.5"),
        ([dict(type="KD", warmup_epochs=-1)], r"losses\[0\]: KD: warmup_epochs must be 0 or more"),
        ([dict(type="KD", until_epoch=0)], r"losses\[0\]: KD: until_epoch must be 1 or more"),
        ([dict(type="KD", view="third")], r"losses\[0\]: KD expects .*'second'.* for 'view', got 'third'"),
        ([dict(type="KD", temprature=2.0)], r"losses\[0\]: KD got unknown 'temprature' \(did you mean 'temperature'"),
        ([dict(type="KD", temperature=0.0)], r"losses\[0\]: KD: temperature must be above 0"),
        ([dict(type="USKD")], r"losses\[0\]: USKD needs 'student_example'"),
    ],
)
def test_mistakes_are_told_with_their_place(losses, words):
    with pytest.raises(ConfigError, match=words):
        build_terms(losses)


def test_context_offers_what_constructors_ask_for(networks, images):
    student, teacher = networks
    student.stages[0][1].eval()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    context = loss_context(student, teacher, images[:2], train_size=60, epochs=7)
    assert context["student_example"].logits.shape == (2, 5) and not context["student_example"].logits.requires_grad
    assert [x.shape[1] for x in context["student_example"].features] == [4, 8]
    assert [x.shape[1] for x in context["teacher_example"].features] == [6, 12]
    assert (context["num_classes"], context["train_size"], context["epochs"]) == (5, 60, 7)
    assert loss_context(student, None, images[:2], 60, 7)["teacher_example"] is None
    assert all(torch.equal(before[key], value) for key, value in student.state_dict().items())
    assert student.training and student.stages[1][1].training and not student.stages[0][1].training
    terms = build_terms([dict(type="CrossEntropy"), dict(type="USKD"), dict(type="BinaryKLNorm")], **context)
    assert terms[1].loss.head.weight.shape == (5, 4) and terms[2].loss.head.classify.weight.shape == (5, 8)


def test_a_term_by_hand_is_checked_too():
    with pytest.raises(ValueError, match="weight must be finite"):
        LossTerm("KD", torch.nn.Identity(), float("inf"))
