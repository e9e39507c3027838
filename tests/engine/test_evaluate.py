"""Scores against counts made by hand, and the evaluation file."""

import numpy as np
import pytest
import torch
from torch import nn

from kdzoo.data import build_data
from kdzoo.engine.evaluate import confusion_matrix, predict, score, throughput, write_evaluation


def expected_scores(logits, target):
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    order = np.argsort(-logits, axis=1)
    confidence, right = p.max(1), order[:, 0] == target
    bins = np.clip(np.ceil(confidence * 15) - 1, 0, 14).astype(int)
    ece = sum(abs(right[bins == b].mean() - confidence[bins == b].mean()) * (bins == b).mean() for b in set(bins))
    top5 = (order[:, :5] == target[:, None]).any(1).mean()
    return right.mean() * 100, top5 * 100, -np.log(p[np.arange(len(p)), target]).mean(), ece * 100


def test_scores_equal_a_count_by_hand():
    rng = np.random.default_rng(0)
    logits, target = rng.normal(size=(400, 9)) * 2, rng.integers(9, size=400)
    scores = score(torch.tensor(logits), torch.tensor(target))
    assert (scores.top1, scores.top5, scores.nll, scores.ece) == pytest.approx(
        expected_scores(logits, target), rel=1e-4
    )


def test_a_confidence_of_one_is_in_the_last_of_the_15_bins():
    logits = np.zeros((40, 6))
    logits[:, 0] = np.repeat([30.0, 5.0], 20)  # softmax: 1 in float32, and 0.967
    target = np.zeros(40, dtype=int)
    target[:4] = 1
    assert torch.tensor(logits).float().softmax(1).max() == 1
    assert score(torch.tensor(logits), torch.tensor(target)).ece == pytest.approx(
        expected_scores(logits, target)[3], rel=1e-4
    )


def test_top5_of_few_classes_is_not_told():
    assert score(torch.eye(3) * 9, torch.arange(3)).top5 is None
    assert score(torch.eye(3) * 9, torch.arange(3)).top1 == 100


def test_top5_counts_what_top1_does_where_logits_tie():
    flat = score(torch.zeros(100, 10), torch.arange(100) % 10)  # a network that died
    assert (flat.top1, flat.top5) == pytest.approx((10, 50))
    tied = torch.arange(3.0).repeat(4)[None].expand(12, 12)  # four classes to each of three logits
    assert score(tied, torch.arange(12)).top5 == pytest.approx(100 * 5 / 12)
    nan = score(torch.full((20, 10), float("nan")), torch.arange(20) % 10)
    assert nan.top1 <= nan.top5 <= 50


@pytest.fixture
def digits():
    return build_data(
        dict(type="Digits", train_limit=40, test_limit=60), 20, [], 0, torch.device("cpu"), test_batch_size=25
    )


class Brightest(nn.Module):
    """Guesses by the mean brightness, in training mode unless told otherwise."""

    def forward(self, images):
        assert not self.training
        return images.mean(dim=(1, 2, 3))[:, None] * torch.arange(10.0) * 20 - torch.arange(10.0) ** 2


def test_predict_keeps_order_and_mode(digits):
    model = Brightest().train()
    logits, target = predict(model, digits.test.epoch(0))
    assert model.training and logits.shape == (60, 10)
    labels = torch.cat([b.target for b in digits.test.epoch(0)])
    assert torch.equal(target, labels)


def test_evaluation_file_holds_the_most_confident_mistakes_with_their_pictures(digits, tmp_path):
    logits, target = predict(Brightest(), digits.test.epoch(0))
    path = tmp_path / "evaluation.npz"
    write_evaluation(path, confusion_matrix(logits, target), logits, target, digits.test, digits.classes, most=7)
    held = np.load(path, allow_pickle=False)
    probabilities, guess = logits.softmax(1), logits.argmax(1)
    assert held["confusion"].sum() == 60 and held["confusion"].trace() == (guess == target).sum()
    assert (np.diff(held["mistakes_confidence"]) <= 0).all() and len(held["mistakes_true"]) == 7
    wrong = guess != target
    assert held["mistakes_confidence"][0] == pytest.approx(probabilities[wrong].max().item())
    images = torch.cat([b.images for b in digits.test.epoch(0)])
    worst = int(torch.where(wrong, probabilities.max(1).values, -1.0).argmax())
    assert np.array_equal(held["mistakes_images"][0], (images[worst] * 255).round().byte().permute(1, 2, 0).numpy())
    assert held["mistakes_true"][0] == target[worst] and held["mistakes_predicted"][0] == guess[worst]


def test_evaluation_file_without_mistakes(digits, tmp_path):
    target = torch.cat([b.target for b in digits.test.epoch(0)])
    logits = torch.eye(10)[target]
    write_evaluation(tmp_path / "e.npz", confusion_matrix(logits, target), logits, target, digits.test, digits.classes)
    assert len(np.load(tmp_path / "e.npz")["mistakes_images"]) == 0


def test_throughput_is_a_positive_rate():
    assert throughput(Brightest(), torch.rand(4, 1, 8, 8), seconds=0.01) > 0
