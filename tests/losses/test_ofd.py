"""OFD: margins and the partial distance. Values and gradients are tested with every loss's."""

import pytest
import torch
from feature_case import TEACHER, built, examples, output, pair

from kdzoo.losses.ofd import OFD, partial_distance


def test_partial_distance_case_by_case():
    ours, theirs = [-2.0, -0.75, -0.25, 3.0], [-3.0, -0.5, 2.0]  # the margin -1 stands for -3
    expected = [[0.0, 0.0, 16.0], [0.0625, 0.0, 7.5625], [0.5625, 0.0625, 5.0625], [16.0, 12.25, 1.0]]
    for x, row in zip(ours, expected, strict=True):
        for t, distance in zip(theirs, row, strict=True):
            maps = torch.tensor([x, t]).view(2, 1, 1, 1, 1)
            assert partial_distance(*maps, torch.tensor([-1.0])).item() == distance


def test_ofd_measures_its_margins_over_all_batches():
    batches = [pair(size) for size in (2, 6, 3)]
    loss = built("OFD", *batches[0][:2])
    for number, (student, teacher, target) in enumerate(batches):
        teacher.features[-1][:, 0] = teacher.features[-1][:, 0].abs()  # never below zero
        teacher.features[-1] += number
        loss(student, teacher, target)
    seen = torch.cat([teacher.features[-1] for _, teacher, _ in batches]).transpose(0, 1).flatten(1)
    expected = torch.stack([x[x < 0].mean() if (x < 0).any() else torch.tensor(0.0) for x in seen])
    torch.testing.assert_close(loss.margins[-1].mean, expected)
    assert loss.margins[-1].mean[0] == 0
    loss.eval()
    loss(*batches[0])
    torch.testing.assert_close(loss.margins[-1].mean, expected)


def test_ofd_after_a_relu_compares_what_the_relu_leaves():
    student, teacher = output(), output(TEACHER, seed=3, relu=True)
    loss = built("OFD", student, teacher, stages=[[-1, -1]])
    ours = loss.connectors[0](student.features[-1])
    theirs = teacher.features[-1]
    expected = torch.where(theirs > 0, ours - theirs, ours.relu()).square().sum() / len(ours)
    torch.testing.assert_close(loss(student, teacher, None), expected)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: OFD(**examples([(4, 8)], [(4, 8)])), "skips the stem"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
