"""VQ codebook, sparse mixture of experts, Hilbert kernel."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.datasets import make_moons
from sklearn.neighbors import KNeighborsClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from kdzoo.heads import HilbertKernelClassifier, SparseMoEHead, VQHead


def test_vq_logits_are_the_codes_and_tie_within_one():
    head = VQHead(6, 11, codes=4).double()
    features = torch.randn(5, 6, dtype=torch.float64)
    logits = head(features)
    for k in range(11):
        assert torch.equal(logits[:, k], head.codebook(features)[:, head.assignment[k]])
    assert torch.bincount(head.assignment).tolist() == [3, 3, 3, 2]
    target = torch.tensor([0, 10, 3, 3, 7])
    torch.testing.assert_close(head.code_loss(features, target), F.cross_entropy(logits, target))
    grads = [torch.autograd.grad(loss, head.codebook.weight)[0] for loss in (
        head.code_loss(features, target), head.loss(head(features), target))]  # fmt: skip
    torch.testing.assert_close(*grads)


def test_vq_in_half_precision():
    head, target = VQHead(6, 11, codes=4).bfloat16(), torch.tensor([0, 10, 3, 3, 7])
    features = torch.randn(5, 6).bfloat16()
    loss = head.code_loss(features, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, head.loss(head(features).float(), target))


def test_vq_bound_is_what_a_perfect_codebook_reaches():
    head = VQHead(4, 10, codes=4)
    target = torch.arange(10).repeat(3)
    with torch.no_grad():
        head.codebook.weight.copy_(torch.eye(4)), head.codebook.bias.zero_()
    perfect = head(F.one_hot(head.assignment[target], 4).float()).argmax(1)
    assert 100 * (perfect == target).double().mean().item() == pytest.approx(head.bound(target)) == 40.0
    assert VQHead(4, 10, codes=10).bound(target) == 100.0


def test_moe_asks_the_top_experts_alone():
    head = SparseMoEHead(6, 3, experts=4, top_k=2).double()
    x = torch.randn(1, 6, dtype=torch.float64)
    gate = head.gate(x)[0]
    weight = head.experts.weight.view(4, 3, 6)
    bias = head.experts.bias.view(4, 3)
    best = gate.argsort(descending=True)[:2]
    share = torch.softmax(gate[best], 0)
    expected = sum(share[i] * (weight[e] @ x[0] + bias[e]) for i, e in enumerate(best))
    torch.testing.assert_close(head(x)[0], expected)
    head(x).sum().backward()
    touched = head.experts.bias.grad.view(4, 3).abs().sum(1) > 0
    assert set(touched.nonzero().flatten().tolist()) == set(best.tolist())
    dense = SparseMoEHead(6, 3, experts=4, top_k=4).double()
    mixed = torch.softmax(dense.gate(x), 1) @ dense.experts(x).view(4, 3)
    torch.testing.assert_close(dense(x), mixed)


def test_moe_gradcheck():
    head = SparseMoEHead(4, 3, experts=3, top_k=2).double()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: head.loss(head(x), torch.tensor([0, 1, 2])), x)


@parametrize_with_checks([HilbertKernelClassifier()])
def test_scikit_learns_rules(estimator, check):
    check(estimator)


def test_hilbert_votes_and_limits():
    x, y = make_moons(150, noise=0.2, random_state=0)
    test, _ = make_moons(60, noise=0.2, random_state=1)
    model = HilbertKernelClassifier(alpha=1.5).fit(x, y)
    votes = np.linalg.norm(test[:, None] - x[None], axis=2) ** -1.5
    expected = np.stack([votes[:, y == k].sum(1) for k in (0, 1)], axis=1)
    np.testing.assert_allclose(model.predict_proba(test), expected / expected.sum(1, keepdims=True), rtol=1e-9)
    assert model.score(x, y) == 1.0  # it interpolates
    nearest = KNeighborsClassifier(1).fit(x, y).predict(test)
    assert (HilbertKernelClassifier(alpha=500).fit(x, y).predict(test) == nearest).all()
    on_sphere = HilbertKernelClassifier(normalise=True).fit(x, y)
    np.testing.assert_allclose(on_sphere.predict_proba(5 * test), on_sphere.predict_proba(test), rtol=1e-6)


def test_duplicates_with_other_labels_are_decided_by_their_majority():
    model = HilbertKernelClassifier().fit([[0.0], [0.0], [0.0], [1.0]], [0, 1, 1, 0])
    np.testing.assert_allclose(model.predict_proba([[0.0]]), [[1 / 3, 2 / 3]])


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: VQHead(4, 10, codes=11), "codes must be from 2"),
        (lambda: VQHead(4, 10).code_loss(torch.zeros(1, 4), torch.tensor([10])), "class indices 0 to 9"),
        (lambda: SparseMoEHead(4, 3, experts=2, top_k=3), "top_k must be from 1"),
        (lambda: SparseMoEHead(4, 3)(torch.zeros(2, 5)), r"features must be floating \[B, 4\]"),
        (lambda: VQHead(4, 10)(torch.zeros(2, 5)), r"features must be floating \[B, 4\]"),
        (lambda: SparseMoEHead(4, 3).loss(torch.zeros(2, 3), torch.tensor([0, 3])), "target must hold class indices"),
        (lambda: SparseMoEHead(4, 3).loss(torch.zeros(2, 3), torch.zeros(2)), r"or soft labels \[2, 3\]"),
        (lambda: HilbertKernelClassifier(alpha=0).fit(np.eye(2), [0, 1]), "alpha must be"),
        (lambda: HilbertKernelClassifier().fit(np.eye(2), [1, 1]), "y holds one class only"),
    ],
)
def test_mistakes_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()
