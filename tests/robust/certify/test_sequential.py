"""Sequential certification: error under alpha on 20,000 classifiers, few samples, the same in any company."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import betabinom, norm

from kdzoo.models import create_model
from kdzoo.robust.certify import SmoothedClassifier, certify_at, certify_sequential
from kdzoo.robust.certify.sequential import RadiusTest, chance, log_wealth, lower_sequence, smallest_limit, votes_needed

RADII = (0.25, 0.5, 0.75)


def test_20000_synthetic_classifiers_err_less_often_than_alpha():
    """A false certificate, of any radius at any look, for true p on and around the thresholds."""
    alpha, sigma = 0.05, 0.25
    chunks = [25] * 40 + [100] * 20 + [200] * 10
    rng = np.random.default_rng(0)
    thresholds = norm.cdf(np.array([0.0, *RADII]) / sigma)
    # Just below a threshold is where errors are most likely.
    true = np.repeat([0.49999, *(thresholds[1:] - 1e-9), 0.6, 0.83, 0.97, 0.998], 2500)
    assert len(true) == 20_000
    refuted = np.zeros((len(true), len(thresholds)), dtype=bool)
    given_up = np.zeros_like(refuted)
    need = np.array([votes_needed(p, sum(chunks), alpha) for p in thresholds])
    votes = np.zeros(len(true))
    for look, n in enumerate(np.cumsum(chunks)):
        votes += rng.binomial(chunks[look], true)
        refuted |= log_wealth(votes[:, None], n, thresholds) >= math.log(1 / alpha)
        certified = np.logical_and.accumulate(refuted, axis=1)
        if look % 5 == 0:
            given_up |= ~certified & (chance(votes[:, None], n, sum(chunks), need) < 0.01)
    # Nobody stops here, neither early nor for having given up: more certificates than the method would give.
    wrong = (certified & (thresholds > true[:, None])).any(1)
    for p in np.unique(true):
        assert wrong[true == p].mean() <= alpha, p
    assert wrong.mean() < alpha and wrong.any()
    assert certified[true > 0.9, 1].all() and certified.any(0)[:3].all()  # and it does decide
    # Giving up loses few certificates, and finds what can't be had.
    assert (given_up & certified).any(1).mean() < 0.01
    assert given_up[true < 0.8, 2].all()


def test_radii_are_certified_in_their_order_alone():
    """The error of a list is that of its smallest false radius: none is certified before the smaller ones."""
    rng = np.random.default_rng(2)
    for p in (0.6, 0.85, 0.98):
        test = RadiusTest((0.1, 0.25, 0.3, 0.5), 0.25, 0.2, 3000)
        while test.samples < 3000:
            test.look(int(rng.binomial(20, p)), 20)
            assert (np.diff(test.certified.astype(int)) <= 0).all() and not (test.certified & test.hopeless).any()
            assert (np.diff(test.hopeless.astype(int)) >= 0).all()


def test_wealth_is_a_martingale():
    """The mean over all outcomes of n votes under p is 1, and at most 1 under less."""
    from scipy.stats import binom

    for p in (0.1, 0.5, 0.841, 0.99865):
        for n in (1, 10, 300):
            k = np.arange(n + 1)
            wealth = np.exp(binom.logpmf(k, n, p) + log_wealth(k, n, p))
            assert np.sum(wealth) == pytest.approx(1, rel=1e-8)
            assert np.sum(np.exp(binom.logpmf(k, n, 0.9 * p) + log_wealth(k, n, p))) < 1


@pytest.mark.parametrize("n", [10**5, 10**6, 10**7])
def test_the_slack_is_more_than_the_rounding(n):
    """E = P(Bin(n + 1, p) <= k) / P(... = k) / (n + 1 - k), a sum whose terms are known by their ratios alone."""
    from kdzoo.robust.certify.sequential import _bar

    for p in (0.5, 0.8413447460685429, 0.9986501019683699):
        k = int(n * p + 4 * (n * p * (1 - p)) ** 0.5)
        j = np.arange(k, max(0, k - 50_000), -1.0)
        exact = math.log((1 + np.cumprod(j / (n + 2 - j) * ((1 - p) / p)).sum()) / (n + 1 - k))
        assert abs(float(log_wealth(k, n, p)) - exact) < _bar(0.001, n) - math.log(1000)


def test_wealth_is_the_mixture_written_out():
    k, n, p = 180, 200, 0.8
    q = p + (1 - p) * (np.arange(200_000) + 0.5) / 200_000
    by_hand = np.mean((q / p) ** k * ((1 - q) / (1 - p)) ** (n - k))
    assert float(log_wealth(k, n, p)) == pytest.approx(math.log(by_hand), abs=1e-6)


@pytest.mark.parametrize("votes, samples", [(0, 0), (0, 50), (50, 50), (70, 100), (9990, 10_000), (99_999, 100_000)])
def test_the_sequence_lies_below_clopper_pearson(votes, samples):
    from kdzoo.robust.certify import clopper_pearson_lower

    lower = lower_sequence(votes, samples, 0.001)
    assert 0 <= lower and (votes == 0 or 0 < lower <= clopper_pearson_lower(votes, samples, 0.001))
    if votes:
        below = np.linspace(0.01, 1, 50) * lower  # refuted without a gap
        assert (log_wealth(votes, samples, below) >= math.log(1000)).all()


def test_the_test_and_the_sequence_agree():
    rng = np.random.default_rng(1)
    for p in (0.3, 0.7, 0.98, 0.9995):
        test = RadiusTest(RADII, 0.25, 0.001, 4000)
        highest = 0.0
        while not test.decided:
            test.look(int(rng.binomial(50, p)), 50)
            highest = max(highest, lower_sequence(test.votes, test.samples, 0.001))
        assert np.array_equal(test.certified, test.thresholds <= highest)


@pytest.mark.parametrize(
    "votes, samples, need",
    [(45, 50, 900), (500, 550, 930), (850, 900, 945), (930, 990, 936), (50, 50, 995), (9, 10, 920)],
)
def test_the_predicted_chance_is_about_the_exact_one(votes, samples, need):
    exact = betabinom.sf(need - votes - 1, 1000 - samples, votes + 0.5, samples - votes + 0.5)
    assert float(chance(votes, samples, 1000, need)) == pytest.approx(exact, abs=0.06)


def test_the_predicted_chance_at_its_ends():
    assert chance(90, 100, 100, 90) == 1 and chance(89, 100, 100, 90) == 0
    assert chance(50, 50, 100, 101) == 0 and 0 < chance(50, 50, 100, 100) < 1
    need = votes_needed(0.8, 1000, 0.001)
    assert log_wealth(need, 1000, 0.8) >= math.log(1000) > log_wealth(need - 1, 1000, 0.8)
    assert votes_needed(0.8, 5, 0.001) == 6  # not even five of five


def test_without_giving_up_it_goes_on_while_it_could_be_certified():
    early, late = (RadiusTest((0.5,), 0.25, 0.001, 10_000, give_up=share) for share in (0.01, 0.0))
    for test in (early, late):
        while not test.decided:
            test.look(48, 50)  # a frequency of 0.96 where 0.977 is asked for
    assert early.samples < late.samples / 3 and late.samples < 10_000
    with pytest.raises(ValueError, match="give_up must lie in"):
        RadiusTest((0.5,), 0.25, 0.001, 100, give_up=1.0)


def test_a_lost_radius_stops_the_test_before_the_limit():
    test = RadiusTest((0.75,), 0.25, 0.001, 10_000)
    for _ in range(6):
        test.look(30, 50)
    assert test.decided and not test.certified[1] and test.samples == 300
    late = RadiusTest((0.75,), 0.25, 0.001, 8000)  # votes good enough for the frequency, too late for the proof
    late.look(4970, 5000)
    assert late.decided and late.radius == 0


def test_a_half_space_is_decided_rightly_and_early(half_space):
    for margin, expected in ((0.1, 0.0), (0.4, 0.25), (0.62, 0.5), (1.2, 0.75)):
        model, x = half_space(margin)
        found = certify_at(SmoothedClassifier(model, 2, 0.25), x, RADII, n=20_000)
        assert found.radius == expected and found.radius <= model.distance(x)
        assert found.samples < 20_000 / 2


@pytest.fixture
def images():
    return [(20 * i, torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(i))) for i in range(7)]


def test_company_in_the_batch_changes_nothing(images):
    model = create_model("resnet8", num_classes=3, widths=(8, 8, 8, 8)).eval()
    asked = dict(radii=(0.1, 0.3), n0=30, n=400, alpha=0.01, look=20)
    together = list(certify_sequential(SmoothedClassifier(model, 3, 0.5, batch_size=100), images, **asked))
    assert [index for index, _ in together] == [index for index, _ in images]
    backwards = dict(certify_sequential(SmoothedClassifier(model, 3, 0.5, batch_size=40), images[::-1], **asked))
    alone = {
        i: f for image in images for i, f in certify_sequential(SmoothedClassifier(model, 3, 0.5), [image], **asked)
    }
    assert dict(together) == backwards == alone
    small = dict(certify_sequential(SmoothedClassifier(model, 3, 0.5, batch_size=13), images, **asked))
    assert small == alone  # a batch below the look: the looks stay where they are


def test_every_pass_is_full(images, half_space):
    model, _ = half_space(0.3)
    sizes = []

    class Spy(torch.nn.Module):
        def forward(self, batch):
            sizes.append(len(batch))
            return model(batch[:, :, :4, :4])

    list(certify_sequential(SmoothedClassifier(Spy().eval(), 2, 0.25, batch_size=64), images, RADII, 20, 8600, look=16))
    assert set(sizes) == {64}


def test_bad_questions_are_told(half_space):
    model, x = half_space(0.3)
    smoothed = SmoothedClassifier(model, 2, 0.25)
    least = smallest_limit(0.001, RADII, 0.25)
    with pytest.raises(ValueError, match=f"use n={least} or more"):
        certify_at(smoothed, x, RADII, n=least - 1)
    for radii in ((), (0.5, 0.25), (-0.1,), (math.inf,), (math.nan, 0.5)):
        with pytest.raises(ValueError, match="radii must be finite"):
            certify_at(smoothed, x, radii)
    with pytest.raises(ValueError, match="no sample certifies"):
        certify_at(smoothed, x, (50.0,))
    assert list(certify_sequential(smoothed, [], RADII)) == []
