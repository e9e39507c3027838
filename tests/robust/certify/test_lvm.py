"""LVM smoothing: the authors' numbers in published mode, and a sound mode that keeps its alpha."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import norm
from torch import nn

from kdzoo.robust.certify import ABSTAIN, SimplexMap, SmoothedClassifier
from kdzoo.robust.certify.bernstein import Moments
from kdzoo.robust.certify.certifiers import Cpm, Lvm, PublishedLvm
from kdzoo.robust.certify.lvm import CANDIDATES, certify_soft, choose_map, soft_radius
from kdzoo.robust.certify.published_lvm import MULTIPLIERS, OPTIMISTIC, _map_radius, published_radius


def test_published_mode_gives_the_authors_numbers(golden):
    part = golden["lvm_certify_end_to_end"]
    logits = torch.tensor(part["logits"], dtype=torch.float64)
    for run in part["runs"]:
        batches = logits.split(run["batch_size"])
        predicted, radius = published_radius(batches, run["sigma"], part["alpha"])
        assert predicted == run["official_class"] and radius == pytest.approx(run["official_radius"], abs=1e-11)
        share = part["alpha"] / part["num_classes"]
        best = max(
            _map_radius(SimplexMap(kind, m), batches, predicted, len(logits), run["sigma"], share)
            for kind in ("sparsemax", "softmax")
            for m in MULTIPLIERS
        )
        assert best == pytest.approx(run["best_map_radius"], abs=1e-11)  # batch-dependent, as published
    assert "not a certificate" in OPTIMISTIC


def clipped_ramp(slope):
    """Three logits whose softmax is smooth in the image's mean pixel; its smoothed mean is known by quadrature."""

    class Ramp(nn.Module):
        def forward(self, images):
            score = slope * (images.flatten(1).mean(dim=1) - 0.5)
            return torch.stack([score, -score, torch.full_like(score, -3.0)], dim=1)

    return Ramp().eval()


@pytest.mark.parametrize("kind", ["softmax", "sparsemax", "hardmax"])
def test_the_sound_radius_stays_below_that_of_the_exact_means(kind):
    """The exact E map(f(x + noise)) by quadrature bounds every radius the samples may give."""
    sigma, pixels, slope, chosen = 0.5, 48, 8.0, SimplexMap(kind, 2.0 if kind != "hardmax" else 1.0)
    model, x = clipped_ramp(slope), torch.full((3, 4, 4), 0.56)
    grid = torch.linspace(-8, 8, 20_001, dtype=torch.float64)
    means = 0.56 - 0.5 + grid * sigma / pixels**0.5
    score = slope * means
    outputs = chosen(torch.stack([score, -score, torch.full_like(score, -3.0)], dim=1)).numpy()
    weight = norm.pdf(grid.numpy())
    exact = (outputs * weight[:, None]).sum(0) / weight.sum()
    best = sigma * max(norm.ppf(exact[0]), (norm.ppf(exact[0]) - norm.ppf(exact[1:].max())) / 2)
    smoothed = SmoothedClassifier(model, 3, sigma)
    radii = [certify_soft(smoothed, chosen, x, 50, 2000, 0.001, index=i).radius for i in range(10)]
    assert max(radii) <= best and max(radii) > 0.5 * best


def test_coverage_of_the_soft_radius():
    """Dirichlet outputs: the radius from samples exceeds that of the true means at most alpha of the time."""
    alpha, n, rng = 0.1, 200, np.random.default_rng(0)
    strength = np.array([1.2, 0.8, 0.2])
    true = strength / strength.sum()
    best = max(norm.ppf(true[0]), (norm.ppf(true[0]) - norm.ppf(true[1])) / 2)
    wrong = 0
    for sample in rng.dirichlet(strength, size=(1500, n)):
        moments = Moments.of(torch.from_numpy(sample))
        _, radius = soft_radius(
            SimplexMap("softmax"), [[0], [1], [2]], moments.mean.tolist(), moments.variance().tolist(), n, 1.0, alpha
        )
        wrong += radius > best
    assert wrong / 1500 <= alpha


def test_moments_and_radius_do_not_depend_on_the_batch_size():
    model, x = clipped_ramp(8.0), torch.full((3, 4, 4), 0.56)
    found = [
        certify_soft(SmoothedClassifier(model, 3, 0.5, batch_size=b), SimplexMap("softmax", 4.0), x, 40, 600, 0.001)
        for b in (600, 37, 200)
    ]
    for other in found[1:]:
        assert other.predicted == found[0].predicted and other.radius == pytest.approx(found[0].radius, abs=1e-9)
        assert np.allclose(other.variance, found[0].variance, rtol=1e-6)


def test_soft_beats_hard_where_votes_are_close_and_never_at_the_top():
    n, alpha = 100_000, 0.001
    tight = soft_radius(SimplexMap("softmax"), [[0], [1], [2]], [0.7, 0.2, 0.1], [1e-4] * 3, n, 0.25, alpha)[1]
    hard = soft_radius(SimplexMap("hardmax"), [[0], [1], [2]], [0.7, 0.2, 0.1], [0.21, 0.16, 0.09], n, 0.25, alpha)[1]
    assert tight > hard
    top = soft_radius(SimplexMap("softmax"), [[0], [1]], [1.0, 0.0], [0.0, 0.0], n, 0.25, alpha)[1]
    assert top < soft_radius(SimplexMap("hardmax"), [[0], [1]], [1.0, 0.0], [0.0, 0.0], n, 0.25, alpha)[1]


@pytest.mark.parametrize("chosen, n0", [(SimplexMap("softmax", 0.02), 95), (SimplexMap("softmax", 2.0), 1)])
def test_sums_of_soft_outputs_that_differ_by_less_than_one_choose_the_class(chosen, n0):
    class Seventh(nn.Module):
        def forward(self, images):
            return torch.eye(10)[7].repeat(len(images), 1)

    smoothed = SmoothedClassifier(Seventh().eval(), 10, 0.25)
    found = certify_soft(smoothed, chosen, torch.rand(3, 4, 4), n0, 100_000 if n0 > 1 else 2000, 0.001)
    assert found.buckets[0] == [7] and found.predicted == 7 and found.radius > 0
    best, averages = choose_map(smoothed, [(0, torch.rand(3, 4, 4), 7)], n0, 500, 0.001, [chosen], planned_n=100_000)
    assert best == chosen and averages[0] > 0


def test_non_finite_logits_lower_the_radius():
    class Broken(nn.Module):
        def forward(self, images):
            logits = torch.zeros(len(images), 3)
            logits[:, 0] = 20.0
            logits[::2] = float("inf")
            return logits

    found = certify_soft(
        SmoothedClassifier(Broken().eval(), 3, 0.5), SimplexMap("softmax"), torch.rand(3, 4, 4), 20, 400, 0.1
    )
    assert (
        found.selection[-1] == 10
        and found.non_finite == 200
        and found.predicted in (0, ABSTAIN)
        and found.mean[0] == pytest.approx(0.5)
    )


def test_float32_logits_give_outputs_that_sum_to_one():
    """Bounds take sums of at most 1: in float32 a thousand outputs pass it by 1e-6."""
    from kdzoo.robust.certify.lvm import _outputs

    logits = torch.randn(200, 1000, generator=torch.Generator().manual_seed(0))
    for kind in ("softmax", "sparsemax"):
        assert float((_outputs(SimplexMap(kind, 3.0), logits).sum(dim=1) - 1).abs().max()) < 1e-12


class Sure(nn.Module):
    """Class 0 of three, whatever the image."""

    def forward(self, images):
        return torch.tensor([[40.0, 0.0, 0.0]]).repeat(len(images), 1)


@pytest.mark.parametrize(
    "certifier, least",
    [
        (Cpm(20, 0, 0.001), 12),
        (Lvm(20, 0, 0.001, SimplexMap("hardmax")), 11),
        (Lvm(20, 0, 0.001, SimplexMap("softmax")), 42),
        (PublishedLvm(0, 0, 0.001), 12),
    ],
    ids=["cpm", "lvm hardmax", "lvm softmax", "published"],
)
def test_the_smallest_n_is_told_and_suffices(certifier, least):
    """It is the n with which a network that is sure certifies a radius, and one sample fewer does not."""
    smoothed, images = SmoothedClassifier(Sure().eval(), 3, 0.25), [(0, torch.rand(3, 4, 4))]
    ((_, found),) = replace(certifier, n=least).run(smoothed, images)
    assert found.predicted == 0 and found.radius > 0
    with pytest.raises(ValueError, match=f"n={least - 1} is too small .*use n={least} or more"):
        list(replace(certifier, n=least - 1).run(smoothed, images))


def test_published_mode_does_not_depend_on_the_forward_pass(golden):
    """The batches whose variances it averages are a setting of its own."""
    radii = []
    for size in (60, 7):
        smoothed = SmoothedClassifier(clipped_ramp(8.0), 3, 0.5, batch_size=size)
        ((_, found),) = PublishedLvm(0, 120, 0.001, batch=30).run(smoothed, [(0, torch.full((3, 4, 4), 0.56))])
        radii.append(found.radius)
    assert radii[0] == pytest.approx(radii[1], rel=1e-9)
    assert PublishedLvm().settings()["batch"] == 400


def test_the_map_is_chosen_on_validation_images_only():
    smoothed = SmoothedClassifier(clipped_ramp(3.0), 3, 0.5)
    validation = [(i, torch.full((3, 4, 4), 0.5 + 0.01 * i), 0) for i in range(5, 9)]
    chosen, averages = choose_map(smoothed, validation, 20, 300, 0.001, planned_n=100_000)
    assert chosen in CANDIDATES and len(averages) == len(CANDIDATES)
    assert max(averages) == averages[CANDIDATES.index(chosen)] > 0
    assert choose_map(smoothed, validation, 20, 300, 0.001, planned_n=100_000)[0] == chosen
    with pytest.raises(ValueError, match="at least one validation image"):
        choose_map(smoothed, [], 20, 300, 0.001)
