"""Keyed noise: known answers, the right law, and nothing but the key."""

import numpy as np
import pytest
import torch
from scipy import stats

from kdzoo.data import counter_noise
from kdzoo.data.counter_noise import MASK, counter_normal, philox_4x32, philox_normal
from kdzoo.data.gaussian_noise import GaussianNoise
from kdzoo.data.pipeline import Pipeline
from kdzoo.kernels import normal
from kdzoo.kernels.native import library


@pytest.mark.parametrize(
    "counter, key, expected",
    [
        ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        ((MASK,) * 4, (MASK, MASK), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_gives_the_known_answers_of_its_authors(counter, key, expected):
    words = philox_4x32([torch.tensor(word) for word in counter], key)
    assert tuple(int(word) for word in words) == expected


@pytest.mark.parametrize(
    "make",
    [
        lambda seed, streams, positions, shape: counter_normal(seed, streams, positions, shape),
        lambda seed, streams, positions, shape: philox_normal(
            seed, torch.from_numpy(streams), torch.from_numpy(positions), shape, torch.device("cpu")
        ),
    ],
    ids=["cpu", "other devices"],
)
def test_rows_are_normal_and_depend_on_their_key_alone(make):
    streams, positions = np.arange(300) // 30, np.arange(300) % 30
    rows = make(3, streams, positions, (3, 5, 7))
    assert rows.dtype == torch.float32 and rows.shape == (300, 3, 5, 7)
    assert stats.kstest(rows.flatten().numpy(), "norm").pvalue > 1e-3
    correlation = np.corrcoef(rows.flatten(1).numpy())
    assert np.abs(correlation - np.eye(300)).max() < 0.6
    order = np.random.default_rng(0).permutation(300)[:40]
    assert torch.equal(make(3, streams[order], positions[order], (3, 5, 7)), rows[order])
    assert not torch.equal(make(4, streams, positions, (3, 5, 7)), rows)
    assert len(np.unique(rows.flatten(1)[:, 0].numpy())) == 300


@pytest.mark.parametrize("shape", [(3, 32, 32), (7,), (3, 85)])
def test_c_draws_what_the_torch_operations_define(shape):
    if library() is None:
        pytest.skip("no C compiler here")
    streams, positions = np.array([0, 5, MASK, 7]), np.array([0, 1, 3, MASK])
    found = counter_normal(MASK, streams, positions, shape)
    keys = torch.from_numpy(streams), torch.from_numpy(positions)
    wanted = philox_normal(MASK, *keys, shape, torch.device("cpu"))
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)


def test_without_a_compiler_the_noise_is_the_same(monkeypatch):
    streams, positions = np.full(5, 3), np.arange(5)
    found = counter_normal(1, streams, positions, (3, 4, 4))
    monkeypatch.setattr(normal, "library", lambda: None)
    monkeypatch.setattr(counter_noise, "AT_ONCE", 100)  # two rows at a time
    torch.testing.assert_close(counter_normal(1, streams, positions, (3, 4, 4)), found, rtol=1e-6, atol=1e-7)
    assert counter_normal(1, streams[:0], positions[:0], (3, 4, 4)).shape == (0, 3, 4, 4)


def test_torchs_defaults_change_nothing():
    key = 1, np.full(5, 3), np.arange(5), (3, 4, 4)
    found = counter_normal(*key)
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"):
            other = counter_normal(*key)
    finally:
        torch.set_default_dtype(torch.float32)
    assert other.dtype == torch.float32 and torch.equal(found, other)


def test_numbers_close_to_zero_keep_their_law():
    """Of a million, as many as there should be below 1e-4: float32's grid near 1 must not swallow them."""
    rows = counter_normal(5, np.zeros(400, np.int64), np.arange(400), (2500,)).abs()
    wanted = 1e6 * 2e-4 / np.sqrt(2 * np.pi)
    assert abs(int((rows < 1e-4).sum()) - wanted) < 4 * np.sqrt(wanted)
    assert float((rows == 0).sum()) <= 1


def test_threads_draw_the_same_noise():
    streams, positions, threads = np.full(200, 3), np.arange(200), torch.get_num_threads()
    try:
        rows = []
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            rows.append(counter_normal(7, streams, positions, (3, 32, 32)))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(rows[0], rows[1]) and torch.equal(rows[0], rows[2])


def test_keys_out_of_range_are_told():
    for seed, streams, positions in ((-1, [0], [0]), (0, [2**32], [0]), (0, [0], [-1]), (0, [0, 1], [0])):
        with pytest.raises(ValueError, match="must lie in|must be"):
            counter_normal(seed, np.array(streams), np.array(positions), (2,))


def test_the_augmentation_adds_unclipped_noise_of_its_sigma():
    images, rng = torch.full((64, 3, 8, 8), 255, dtype=torch.uint8), np.random.default_rng(0)
    pipeline = Pipeline([GaussianNoise(0.25)])
    draws = pipeline.draw(rng, 64, 8, 8)
    noisy, _ = pipeline.apply(images, torch.zeros(64, dtype=torch.int64), np.arange(64), 64, draws)
    assert noisy.dtype == torch.float32 and noisy.max() > 1.5
    assert float(noisy.std()) == pytest.approx(0.25, rel=0.03) and float(noisy.mean()) == pytest.approx(1, abs=0.01)
    part, _ = pipeline.apply(images[:5], torch.zeros(5, dtype=torch.int64), np.arange(5), 64, draws)
    assert torch.equal(part, noisy[:5])
    assert pipeline.views is None
    for sigma in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="sigma is"):
            GaussianNoise(sigma)
