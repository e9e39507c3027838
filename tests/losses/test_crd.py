"""CRD: its memory, its normalizers, its errors. Values and gradients are tested with every loss's."""

import pytest
import torch
import torch.nn.functional as F
from feature_case import TRAIN_SIZE, built, examples, pair, without

from kdzoo.losses.crd import CRD


def test_crd_remembers_the_images_it_saw():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher, momentum=0.25)
    before = {key: entry.clone() for key, entry in loss.state_dict().items()}
    loss(student, teacher, target)
    seen = torch.zeros(TRAIN_SIZE, dtype=torch.bool)
    seen[student.index] = True
    for who, model in (("student", student), ("teacher", teacher)):
        memory, old = getattr(loss, f"{who}_memory"), before[f"{who}_memory"]
        embedded = F.normalize(getattr(loss, f"embed_{who}")(model.pooled))
        expected = F.normalize(0.25 * old[seen] + 0.75 * embedded)
        torch.testing.assert_close(memory[seen], expected)
        assert torch.equal(memory[~seen], old[~seen])
    assert torch.equal(loss.labels[seen], target) and (loss.labels[~seen] == -1).all()


def test_crd_sets_its_normalizers_once():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher, negatives=1000)
    means = []
    for who, other in (("student", "teacher"), ("teacher", "student")):
        model = student if who == "student" else teacher
        anchors = F.normalize(getattr(loss, f"embed_{who}")(model.pooled))
        means.append((anchors @ getattr(loss, f"{other}_memory").T / 0.07).exp().mean())
    loss(student, teacher, target)
    expected = (torch.stack(means) * TRAIN_SIZE).log()  # 1000 draws come near the mean over all
    torch.testing.assert_close(loss.log_z, expected, atol=0.15, rtol=0)
    first = loss.log_z.clone()
    loss(*pair(size=3))
    assert torch.equal(loss.log_z, first) and loss.has_z


def test_crd_in_evaluation_changes_nothing():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher).eval()
    before = {key: entry.clone() for key, entry in loss.state_dict().items()}
    assert loss(student, teacher, target).isfinite()
    assert all(torch.equal(entry, before[key]) for key, entry in loss.state_dict().items())


def test_crd_leaves_out_images_of_the_same_class():
    student, teacher, target = pair()
    one_class = torch.ones_like(target)
    others = torch.ones(TRAIN_SIZE, dtype=torch.bool)
    others[student.index] = False
    for label, changes in ((1, False), (0, True)):
        values = []
        for memory in (0.1, -0.3):
            loss = built("CRD", student, teacher, negatives=50)
            loss.has_z.fill_(True)
            loss.labels.fill_(label)
            loss.student_memory[others] = loss.teacher_memory[others] = memory
            torch.manual_seed(3)
            values.append(loss(student, teacher, one_class))
        assert (values[0] != values[1]).item() == changes


def test_crd_resumes_from_its_state():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher)
    loss(student, teacher, target)
    copy = built("CRD", student, teacher)
    copy.load_state_dict(loss.state_dict())
    values = []
    for module in (loss, copy):
        torch.manual_seed(5)
        values.append(module(student, teacher, target))
    assert torch.equal(*values)


def test_crd_takes_soft_labels_and_a_target_for_a_class():
    student, teacher, target = pair()
    values = []
    for labels in (target, F.one_hot(target, 3).float() * 0.9 + 0.1 / 3):
        loss = built("CRD", student, teacher)
        torch.manual_seed(3)
        values.append(loss(student, teacher, labels))
    assert torch.equal(*values)


@pytest.mark.parametrize("share", [0.2, 0.5, 0.8])
def test_crd_counts_a_mixed_image_as_the_one_whose_index_it_carries(share):
    student, teacher, target = pair()
    known = torch.arange(TRAIN_SIZE) % 3
    known[student.index] = target
    soft = F.one_hot(target, 3).float()
    mixed = share * soft + (1 - share) * soft.roll(1, dims=0)
    values = []
    for labels in (target, mixed):
        loss = built("CRD", student, teacher, train_labels=known)
        torch.manual_seed(3)
        values.append(loss(student, teacher, labels))
        assert torch.equal(loss.labels, known)
    assert torch.equal(*values)


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (None, "CRD needs student.index.*use a loss without a memory"),
        (torch.arange(5), r"student.index must be int64 \[6\]"),
        (torch.arange(6).float(), "student.index must be int64"),
        (torch.arange(6) + TRAIN_SIZE, r"must be in \[0, 40\).*got 40 to 45"),
    ],
)
def test_crd_needs_an_index(index, words):
    student, teacher, target = pair()
    with pytest.raises(ValueError, match=words):
        built("CRD", student, teacher)(without(student, index=index), teacher, target)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: CRD(momentum=1.0, train_size=5, **examples()), "momentum must be in"),
        (lambda: CRD(negatives=0, train_size=5, **examples()), "negatives and train_size must be at least 1"),
        (
            lambda: CRD(train_size=5, train_labels=torch.zeros(4, dtype=torch.int64), **examples()),
            r"train_labels must be int64 \[5\]",
        ),
        (lambda: CRD(temperature=0.0, train_size=5, **examples()), "temperature must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
