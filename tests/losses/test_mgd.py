"""MGD: its mask. Values and gradients are tested with every loss's."""

import pytest
import torch
from feature_case import built, examples, pair

from kdzoo.losses.mgd import MGD
from kdzoo.output import ModelOutput


def test_mgd_masks_the_asked_part_anew_at_every_call():
    student, teacher, target = pair(size=200)
    ones = ModelOutput(student.logits, [torch.ones(200, 16, 2, 2)])
    for kind, shape in (("channel", (200, 16, 1, 1)), ("position", (200, 1, 2, 2))):
        loss = built("MGD", ones, teacher, masked=0.3, mask=kind)
        seen = []
        loss.generator.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        values = [loss(ones, teacher, target).item() for _ in range(2)]
        assert values[0] != values[1]
        kept = seen[0]
        assert torch.equal(kept, kept.amax([d for d in range(1, 4) if shape[d] == 1], keepdim=True).expand_as(kept))
        assert kept.unique().tolist() == [0, 1] and 1 - kept.mean() == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: MGD(masked=1.0, **examples()), "masked must be in"),
        (lambda: MGD(mask="pixel", **examples()), "mask must be 'channel' or 'position'"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()
