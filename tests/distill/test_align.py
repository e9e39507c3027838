"""Gradient alignment: the published projection, and its use in a step."""

import pytest
import torch

from kdzoo.distill import AlignedGradients, Distiller, align_gradients, build_terms

PIECES = [3, 3, 2]  # the golden vectors, cut into three parameters


def pieces(values):
    """Three tensors; those of zeros only are what a loss does not reach."""
    parts = torch.tensor(values, dtype=torch.float64).split(PIECES)
    return [part if part.any() else None for part in parts]


@pytest.mark.parametrize("number", range(4))
def test_golden(golden_losses, number):
    case = golden_losses["extras"]["dhkd_gradient_alignment"]["cases"][number]
    merged = align_gradients(pieces(case["grad_ce"]), pieces(case["grad_kd"]))
    expected = torch.tensor(case["merged"], dtype=torch.float64)
    torch.testing.assert_close(torch.cat(merged), expected, rtol=1e-9, atol=1e-12)


def test_merged_never_opposes_the_task():
    for seed in range(20):
        generator = torch.Generator().manual_seed(seed)
        task, distill = ([torch.randn(4, 3, generator=generator), torch.randn(5, generator=generator)] for _ in "td")
        merged = align_gradients(task, distill)
        dot, square = (sum((a * b).sum() for a, b in zip(task, other, strict=True)) for other in (merged, task))
        assert dot > square * (1 - 1e-5)
        assert [x.shape for x in merged] == [x.shape for x in task]


def test_zero_and_missing_gradients():
    zero, some = torch.zeros(3), torch.randn(3)
    assert torch.equal(align_gradients([zero], [some])[0], some)
    assert torch.equal(align_gradients([some], [None])[0], some)
    assert torch.equal(align_gradients([None, some], [some, None])[0], some)
    assert align_gradients([None], [None]) == [None]
    with pytest.raises(ValueError, match="one length"):
        align_gradients([some], [])


CE_KD = [dict(type="CrossEntropy", weight=0.1), dict(type="KD", temperature=2.0, weight=9.0)]


def test_a_step_in_parts_is_the_step_in_one(networks, images, target):
    distiller = Distiller(networks[0], build_terms(CE_KD), networks[1], align=True).eval()
    whole = AlignedGradients(distiller.parameters())
    whole.add(*distiller.split(distiller(images, target)))
    whole.write()
    expected = [p.grad.clone() for p in distiller.parameters()]
    parts = AlignedGradients(distiller.parameters())
    for span in (slice(0, 2), slice(2, 6)):
        share = len(images[span]) / len(images)
        task, distill = distiller.split(distiller(images[span], target[span]))
        parts.add(share * task, share * distill)
    sizes = []
    parts.write(reduce=lambda flat: sizes.append(flat.numel()) or flat)
    torch.testing.assert_close([p.grad for p in distiller.parameters()], expected, rtol=1e-4, atol=1e-6)
    assert sizes == [2 * sum(p.numel() for p in distiller.parameters())]
    assert all(p.grad is None for p in networks[1].parameters())


def test_what_only_one_loss_reaches_keeps_its_gradient(networks, images, target):
    terms = build_terms(CE_KD)
    distiller = Distiller(networks[0], terms, networks[1], align=True)
    spare = torch.nn.Parameter(torch.ones(2))
    gradients = AlignedGradients([spare, *distiller.parameters()])
    task, distill = distiller.split(distiller(images, target))
    gradients.add(task, distill + spare.sum())
    gradients.write(reduce=lambda flat: flat)
    torch.testing.assert_close(spare.grad, torch.ones(2))
    torch.testing.assert_close(networks[0].classifier.bias.grad.shape, networks[0].classifier.bias.shape)
