"""Means, deviations and gains against numbers worked out by hand."""

import math

import pytest

from kdzoo.report import read_groups
from kdzoo.report.stats import Spread, gains, spread
from kdzoo.report.words import duration, gain_in_words, losses_in_words

TEACHER = {"name": "resnet20", "top1": 92.0}


def test_spread_is_mean_and_sample_deviation():
    # mean 5, squared deviations 9 1 1 1 0 0 4 16 = 32, over n - 1 = 7
    result = spread([2, 4, 4, 4, 5, 5, 7, 9])
    assert (result.mean, result.n) == (5.0, 8)
    assert result.sd == pytest.approx(math.sqrt(32 / 7))


def test_one_value_has_no_deviation_and_none_no_spread():
    assert spread([3.0]) == Spread(3.0, None, 1)
    assert spread([None, 3.0, None]) == Spread(3.0, None, 1)
    assert spread([None]) is None and spread([]) is None


def test_spread_in_words():
    assert spread([93.1, 93.5, 93.9]).text() == "93.50 ± 0.40"
    assert spread([0.12345]).text(3) == "0.123"
    assert spread([1.0, math.nan]).text() == "nan ± nan"


def test_the_gain_is_paired_by_seed(study):
    (gain,) = gains(read_groups([study]))
    assert (gain.distilled.name, gain.alone.name) == ("distilled", "alone")
    assert gain.differences == [1.0, 2.0, 3.0]
    assert (gain.spread.mean, gain.spread.sd, gain.wins) == (2.0, 1.0, 3)
    # Student's t for 2 degrees of freedom at 97.5 %: 4.30265 (any table); 4.30265 * 1 / sqrt(3) = 2.48414
    assert gain.interval == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)
    assert gain_in_words(gain) == (
        "+2.00 ± 1.00 points of last top-1, better in 3 of 3 seeds (paired 95 % interval -0.48 to +4.48)"
    )


def test_the_rival_is_the_strongest_alike(tmp_path, make_run):
    make_run(tmp_path / "weak" / "seed0", 70.0)
    make_run(tmp_path / "strong" / "seed0", 75.0)
    make_run(tmp_path / "other_network" / "seed0", 90.0, network="resnet20")
    make_run(tmp_path / "longer" / "seed0", 90.0, epochs=9)
    make_run(tmp_path / "more_data" / "seed0", 90.0, metrics={"train_images": 60000})
    make_run(tmp_path / "kd" / "seed0", 76.0, teacher=TEACHER)
    (gain,) = gains(read_groups([tmp_path]))
    assert (gain.alone.name, gain.differences, gain.interval) == ("strong", [1.0], None)
    assert "one seed" in gain_in_words(gain)


def test_only_seeds_both_finished_are_compared(tmp_path, make_run):
    for seed in (0, 1):
        make_run(tmp_path / "alone" / f"seed{seed}", 70.0 + seed, seed)
    make_run(tmp_path / "kd" / "seed0", 69.0, 0, teacher=TEACHER, finished=False)
    make_run(tmp_path / "kd" / "seed1", 70.5, 1, teacher=TEACHER)
    make_run(tmp_path / "kd" / "seed2", 99.0, 2, teacher=TEACHER)
    (gain,) = gains(read_groups([tmp_path]))
    assert (gain.differences, gain.wins) == ([-0.5], 0)


def test_no_shared_seed_no_comparison(tmp_path, make_run):
    make_run(tmp_path / "alone" / "seed0", 70.0, 0)
    make_run(tmp_path / "kd" / "seed1", 71.0, 1, teacher=TEACHER)
    assert gains(read_groups([tmp_path])) == []


def test_losses_in_words():
    losses = [
        {"type": "CrossEntropy", "weight": 0.1},
        {"type": "KD", "temperature": 2.0, "standardize": True, "eps": None, "norm": False, "weight": 9.0},
        {"type": "DIST", "weight": 1.0},
    ]
    assert losses_in_words(losses) == "0.1 × CrossEntropy + 9 × KD(temperature=2, standardize) + DIST"
    assert losses_in_words([]) == "–"


@pytest.mark.parametrize(
    "seconds, words",
    [(4.23, "4.2 s"), (59.4, "59 s"), (59.7, "1 min 0 s"), (301, "5 min 1 s"), (7500, "2 h 5 min"), (None, "–")],
)
def test_durations(seconds, words):
    assert duration(seconds) == words
