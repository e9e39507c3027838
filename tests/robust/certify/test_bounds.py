"""Binomial bounds, empirical Bernstein, simplex maps and radii: golden values, the safe side, and coverage."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from kdzoo.robust.certify.bernstein import Moments, empirical_bernstein
from kdzoo.robust.certify.binomial import (
    binomial_p_value,
    check_samples,
    clopper_pearson_lower,
    clopper_pearson_upper,
    cohen_radius,
    round_down,
    smallest_n,
)
from kdzoo.robust.certify.cpm import cpm_radius, partition
from kdzoo.robust.certify.radii import lipschitz_radius, mono_radius, multi_radius, smoothed_lipschitz
from kdzoo.robust.certify.simplex import SimplexMap, sparsemax


def test_clopper_pearson_and_radius_are_the_official_ones(golden):
    for row in golden["clopper_pearson_cohen"]["rows"]:
        lower = clopper_pearson_lower(row["k"], row["n"], row["alpha"])
        assert lower == pytest.approx(row["lower"], abs=1e-12)
        assert clopper_pearson_upper(row["k"], row["n"], row["alpha"]) == pytest.approx(row["upper"], abs=1e-12)
        for sigma, radius in row["radius_by_sigma"].items():
            assert cohen_radius(lower, float(sigma)) == pytest.approx(radius or 0.0, abs=1e-11)
    for key, cap in golden["clopper_pearson_cohen"]["max_radius_all_agree"].items():
        n, alpha, sigma = (float(part.split("=")[1]) for part in key.split(","))
        assert cohen_radius(clopper_pearson_lower(int(n), int(n), alpha), sigma) == pytest.approx(cap, abs=1e-11)


@given(st.integers(1, 200_000), st.floats(0, 1), st.sampled_from([0.05, 0.001, 1e-4, 1e-6]))
def test_bounds_keep_their_tails(n, share, alpha):
    k = round(share * n)
    lower, upper = clopper_pearson_lower(k, n, alpha), clopper_pearson_upper(k, n, alpha)
    assert 0 <= lower < 1 and 0 < upper <= 1 and lower <= k / n <= upper
    assert lower == 0 or stats.binom.sf(k - 1, n, lower) <= alpha * (1 + 1e-9)  # P(X >= k) at the bound
    assert upper == 1 or stats.binom.cdf(k, n, upper) <= alpha * (1 + 1e-9)
    assert lower <= alpha ** (1 / n)  # no certificate beyond the cap of n equal votes


@pytest.mark.parametrize("alpha", [1e-3, 1e-6, 1e-12, 1.7e-16, 1e-30, 1e-100])
def test_tails_at_extreme_alphas(alpha):
    """Sums in whole numbers, without any rounding."""
    from fractions import Fraction

    def too_likely(counts, n, p):  # P(X in counts) > alpha
        top, unit = p.as_integer_ratio()
        mass = sum(math.comb(n, j) * top**j * (unit - top) ** (n - j) for j in counts)
        return mass > Fraction(alpha) * unit**n

    for n, k in ((10, 1), (10, 7), (60, 2), (60, 20), (60, 59), (300, 100)):
        assert not too_likely(range(k, n + 1), n, clopper_pearson_lower(k, n, alpha))
        assert not too_likely(range(k + 1), n, clopper_pearson_upper(k, n, alpha))


def test_exact_coverage_of_clopper_pearson():
    alpha, n = 0.05, 60
    lower, upper = clopper_pearson_lower(np.arange(n + 1), n, alpha), clopper_pearson_upper(np.arange(n + 1), n, alpha)
    for p in np.linspace(0.01, 0.99, 50):
        mass = stats.binom.pmf(np.arange(n + 1), n, p)
        assert mass[lower > p].sum() <= alpha and mass[upper < p].sum() <= alpha


@pytest.mark.parametrize(
    "k, n, alpha", [(-1, 10, 0.1), (11, 10, 0.1), (0.5, 10, 0.1), (0, 0, 0.1), (1, 2, 0.0), (1, 2, 1)]
)
def test_impossible_counts_are_refused(k, n, alpha):
    with pytest.raises(ValueError, match="expected whole numbers|alpha must lie"):
        clopper_pearson_lower(k, n, alpha)


def test_radius_refuses_certainty_and_bad_sigma():
    with pytest.raises(ValueError, match="no finite sample|confidence bound"):
        cohen_radius(1.0, 0.25)
    for sigma in (0, -1, math.nan, math.inf):
        with pytest.raises(ValueError, match="sigma must be positive"):
            cohen_radius(0.9, sigma)
    assert cohen_radius(0.5, 0.25) == cohen_radius(0.2, 0.25) == 0


@pytest.mark.parametrize("alpha", [0.5, 0.25, 0.1, 0.001, 1e-6])
def test_smallest_n_is_the_least_that_certifies(alpha):
    n = smallest_n(alpha)
    assert clopper_pearson_lower(n, n, alpha) > 0.5
    assert n == 1 or clopper_pearson_lower(n - 1, n - 1, alpha) <= 0.5
    if n > 1:
        with pytest.raises(ValueError, match=f"use n={n} or more"):
            check_samples(n - 1, alpha)


@given(st.floats(0, 100, allow_subnormal=False))
def test_printed_radii_never_exceed_the_radius(radius):
    text = round_down(radius)
    assert float(text) <= radius and "." in text and "e" not in text
    assert float(text) >= radius * 0.989


def test_predict_p_values(golden):
    for row in golden["predict_binomtest"]["rows"]:
        assert binomial_p_value(row["top1"], row["top2"]) == pytest.approx(row["pvalue"], rel=1e-9)


def test_sparsemax_is_the_official_one(golden):
    inputs = torch.tensor(golden["sparsemax"]["input"], dtype=torch.float64)
    for scale, rows in golden["sparsemax"]["multiplier_to_output"].items():
        assert torch.allclose(SimplexMap("sparsemax", float(scale))(inputs), inputs.new_tensor(rows), atol=1e-11)
    for scale, rows in golden["sparsemax"]["softmax_multiplier_to_output"].items():
        assert torch.allclose(SimplexMap("softmax", float(scale))(inputs), inputs.new_tensor(rows), atol=1e-11)
    inputs = torch.tensor(golden["generalized_sparsemax"]["input"], dtype=torch.float64)
    for mass, rows in golden["generalized_sparsemax"]["by_r"].items():
        assert torch.allclose(sparsemax(inputs, float(mass)), inputs.new_tensor(rows), atol=1e-11)


@given(st.lists(st.floats(-1e4, 1e4), min_size=1, max_size=12), st.floats(0.1, 5))
def test_sparsemax_is_the_nearest_point(values, mass):
    logits = torch.tensor(values, dtype=torch.float64)
    p = sparsemax(logits, mass)
    assert (p >= 0).all() and float(p.sum()) == pytest.approx(mass, rel=1e-9)
    # The conditions of optimality: logits - p is constant where p > 0, and not larger elsewhere.
    gap = logits - p
    assert (gap[p > 0].max() - gap[p > 0].min()) < 1e-7 and gap[p == 0].le(gap[p > 0].min() + 1e-7).all()


@pytest.mark.parametrize("kind", ["softmax", "sparsemax"])
def test_maps_are_as_smooth_as_they_say(kind):
    chosen = SimplexMap(kind, 3.0)
    a, b = torch.randn(2, 2000, 7, dtype=torch.float64)
    b = a + 0.01 * b
    ratio = (chosen(a) - chosen(b)).norm(dim=1) / (a - b).norm(dim=1)
    assert ratio.max() <= chosen.lipschitz * (1 + 1e-9) and ratio.max() > 0.5 * chosen.lipschitz


def test_empirical_bernstein_is_the_official_one(golden):
    part = golden["empirical_bernstein"]
    for row in part["rows"]:
        sample = np.array(part["samples"][row["sample"]])
        moments = Moments.of(torch.from_numpy(sample)[:, None])
        assert float(moments.variance()) == pytest.approx(row["var_ddof1"], rel=1e-10)
        lower, upper = empirical_bernstein(float(moments.mean), float(moments.variance()), row["n"], row["alpha"])
        assert lower == pytest.approx(row["eb_lower"], abs=1e-12) and upper == pytest.approx(row["eb_upper"], abs=1e-12)
    for row in part["large_n"]:
        lower, _ = empirical_bernstein(row["mean"], row["std"] ** 2, row["n"], row["alpha"])
        assert row["mean"] - lower == pytest.approx(row["eb_shift"], abs=1e-12)
    for row in golden["eb_vs_cp_ceiling"]["rows"]:
        assert empirical_bernstein(1.0, 0.0, row["n"], row["alpha"])[0] == pytest.approx(row["eb"], abs=1e-12)


@pytest.mark.parametrize("a, b, n", [(8, 2, 100), (0.2, 0.05, 400), (0.02, 0.02, 50)])
def test_coverage_of_empirical_bernstein(a, b, n):
    alpha, rng = 0.1, np.random.default_rng(0)
    sample = rng.beta(a, b, size=(20_000, n))
    lower, upper = empirical_bernstein(sample.mean(1), sample.var(1, ddof=1), n, alpha)
    truth = a / (a + b)
    assert (lower > truth).mean() <= alpha and (upper < truth).mean() <= alpha


def test_moments_do_not_depend_on_the_batches():
    values = torch.rand(1000, 4, generator=torch.Generator().manual_seed(0)) * 1e-3 + 0.999  # cancels in raw sums
    for size in (1, 7, 400, 1000):
        first, *rest = values.split(size)
        moments = Moments.of(first)
        for part in rest:
            moments = moments.merge(Moments.of(part))
        assert np.allclose(moments.mean, values.double().numpy().mean(0), rtol=1e-13)
        assert np.allclose(moments.variance(), values.double().numpy().var(0, ddof=1), rtol=1e-9)


def test_moments_that_cannot_be_are_refused():
    for mean, variance in ((1.5, 0.0), (0.5, 0.3), (0.5, -0.1), (math.nan, 0.1)):
        with pytest.raises(ValueError, match="scale them"):
            empirical_bernstein(mean, variance, 100, 0.01)
    with pytest.raises(ValueError, match="n must be at least 2"):
        empirical_bernstein(0.5, 0.0, 1, 0.01)


def test_radii_are_the_official_ones(golden):
    for row in golden["lvm_radii"]["rows"]:
        top, following, sigma = row["pA"], row["pB"], row["sigma"]
        assert multi_radius(top, following, sigma) == pytest.approx(row["R_multi"], abs=1e-12)
        assert mono_radius(top, sigma) == pytest.approx(row["R_mono"], abs=1e-12)
        assert lipschitz_radius(top, following, sigma) == pytest.approx(row["R_lipschitz_margin"], abs=1e-12)
        if top > following:
            assert lipschitz_radius(top, following, sigma) <= multi_radius(top, following, sigma)


def test_smoothed_lipschitz(golden):
    for row in golden["smoothed_lipschitz"]["rows"]:
        assert smoothed_lipschitz(row["L"], row["sigma"], row["r"]) == pytest.approx(row["width_r_tight"], rel=1e-12)
        assert smoothed_lipschitz(math.inf, row["sigma"], row["r"]) == pytest.approx(row["limit_L_inf"], rel=1e-12)


def test_cpm_is_the_official_one(golden):
    for row in golden["cpm"]["rows"]:
        if row["mode"] == "Rmulti":
            top, radius = cpm_radius(row["counts_sel"], row["counts_est"], row["N"], row["sigma"], row["alpha"])
            assert top == row["cls"]
        else:
            lower = clopper_pearson_lower(row["counts_est"][int(np.argmax(row["counts_sel"]))], row["N"], row["alpha"])
            radius = cohen_radius(lower, row["sigma"])
        assert radius == pytest.approx(row["radius"], abs=1e-11)


@given(st.lists(st.integers(0, 100), min_size=2, max_size=12))
def test_partitions_hold_every_class_once(counts):
    buckets = partition(counts)
    assert sorted(c for bucket in buckets for c in bucket) == list(range(len(counts)))
    assert counts[buckets[0][0]] == max(counts) and all(buckets)


def test_coverage_of_the_partitioned_radius():
    """Selection and estimation on one smoothed classifier of known probabilities: the multi-class radius holds."""
    alpha, sigma, rng = 0.05, 1.0, np.random.default_rng(0)
    p = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    true = multi_radius(0.4, 0.25 + 0.2 + 0.1 + 0.05, sigma)  # if the others moved together; they are apart here
    true = max(true, multi_radius(0.4, 0.25, sigma))
    wrong = 0
    for selection, votes in zip(rng.multinomial(50, p, 2000), rng.multinomial(300, p, 2000), strict=True):
        top, radius = cpm_radius(selection, votes, 300, sigma, alpha)
        wrong += radius > (true if top == 0 else 0)
    assert wrong / 2000 <= alpha
