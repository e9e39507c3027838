"""Soft-InfoNCE and in-batch scores: golden values, special cases, invariances, errors."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from label_case import drawn, float64

from kdzoo.losses import build_loss
from kdzoo.losses import functional as KF
from kdzoo.output import ModelOutput


def test_soft_info_nce_without_alpha_is_clips_loss():
    scores = drawn(6, 6)
    loss = KF.soft_info_nce(scores, drawn(6, 6, seed=1), alpha=0.0)
    torch.testing.assert_close(loss, KF.cross_entropy(scores, torch.arange(6)))


def test_soft_info_nce_spares_what_the_teacher_finds_similar():
    scores = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    similarity = torch.zeros(4, 4, dtype=torch.float64)
    similarity[0, 3] = 2.0
    KF.soft_info_nce(scores, similarity, reduction="none")[0].backward()
    push = scores.grad[0]
    assert 0 < push[3] < push[1] == push[2]
    torch.testing.assert_close(push.sum(), float64(0.0))


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 9), st.floats(0, 1), st.floats(1, 3), st.integers(0, 2**31))
def test_soft_info_nce_with_even_similarity_is_info_nce(size, alpha, beta, seed):
    scores, even = drawn(size, size, seed=seed), torch.zeros(size, size)
    plain = KF.cross_entropy(scores, torch.arange(size))
    torch.testing.assert_close(KF.soft_info_nce(scores, even, alpha=alpha, beta=beta), plain)
    shift = drawn(size, 1, seed=seed + 1)
    torch.testing.assert_close(KF.soft_info_nce(scores + shift, even, alpha=alpha, beta=beta), plain)


@pytest.mark.parametrize("labels", [[0], [0, 1], [2, 2, 2], [0, 0, 1]], ids=str)
def test_soft_info_nce_with_few_or_no_negatives(labels):
    target, size = torch.tensor(labels), len(labels)
    logits, teacher = drawn(size, 3).requires_grad_(), drawn(size, 3, seed=1)
    loss = build_loss(dict(type="SoftInfoNCE"))(ModelOutput(logits), ModelOutput(teacher), target)
    loss.backward()
    assert loss.isfinite() and logits.grad.isfinite().all()
    if len(set(labels)) == 1:
        assert loss == 0 and not logits.grad.any()
    if labels == [0, 1]:  # a single negative has the weight 1
        scores = logits[:, target]
        both = KF.cross_entropy(scores, torch.arange(2)) + KF.cross_entropy(scores.T, torch.arange(2))
        torch.testing.assert_close(loss, both / 2)


def test_in_batch_scores_of_soft_labels_mix_the_texts():
    logits, target = drawn(4, 3), torch.tensor([0, 2, 1, 1])
    one_hot = torch.eye(3, dtype=torch.float64)[target]
    torch.testing.assert_close(KF.in_batch_scores(logits, one_hot), KF.in_batch_scores(logits, target))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = KF.in_batch_scores(logits.float(), one_hot.float())
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, (logits.float() @ one_hot.float().T))
    mixed = build_loss(dict(type="SoftInfoNCE"))(ModelOutput(logits), ModelOutput(logits), 0.5 * one_hot + 1 / 6)
    assert mixed.isfinite()


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.soft_info_nce(x, x), "scores must be floating"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:1, :1]), "similarity must be"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:, :2], x[:, :2]), "negatives must be bool"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:, :2], alpha=2.0), "0 <= alpha <= beta"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:, :2], floor=0.0), "floor must be"),
    ],
)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
