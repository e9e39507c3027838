"""Normalised softmax, CosFace, ArcFace: pytorch-metric-learning's values, gradients everywhere, new classes."""

import numpy as np
import pytest
import torch

from kdzoo.heads import ArcFaceHead, CosFaceHead, NormalizedSoftmaxHead

CASES = {
    "normalized_softmax": lambda c: NormalizedSoftmaxHead(5, 4, temperature=c["temperature"]),
    "normalized_softmax_T1": lambda c: NormalizedSoftmaxHead(5, 4, temperature=c["temperature"]),
    "cosface": lambda c: CosFaceHead(5, 4, c["scale"], c["margin"]),
    "cosface_s8": lambda c: CosFaceHead(5, 4, c["scale"], c["margin"]),
    "arcface": lambda c: ArcFaceHead(5, 4, c["scale"], c["margin_rad"]),
    "arcface_s8": lambda c: ArcFaceHead(5, 4, c["scale"], c["margin_rad"]),
    "arcface_big_margin": lambda c: ArcFaceHead(5, 4, c["scale"], c["margin_rad"]),
}
HEADS = [
    lambda: NormalizedSoftmaxHead(5, 4), lambda: NormalizedSoftmaxHead(5, 4, learn_temperature=True),
    lambda: CosFaceHead(5, 4), lambda: ArcFaceHead(5, 4), lambda: ArcFaceHead(5, 4, margin_rad=1.5),
    lambda: NormalizedSoftmaxHead(5, 4, centre=True),
]  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_golden_values_and_gradients(golden, name):
    case = golden[name]
    head = CASES[name](case).double()
    with torch.no_grad():
        head.weight.copy_(torch.tensor(case["W_dxC"], dtype=torch.float64).T)
    features = torch.tensor(case["embeddings"], dtype=torch.float64, requires_grad=True)
    logits = head(features)
    np.testing.assert_allclose(logits.detach(), case["inference_logits"], rtol=1e-8, atol=1e-9)
    loss = head.loss(logits, torch.tensor(case["labels"]))
    assert loss.item() == pytest.approx(case["loss"], rel=1e-9)
    loss.backward()
    np.testing.assert_allclose(features.grad, case["grad_embeddings"], rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(head.weight.grad.T, case["grad_W"], rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("build", HEADS)
def test_gradcheck(build):
    head = build().double()
    features = torch.randn(3, 5, dtype=torch.float64, requires_grad=True)
    target = torch.tensor([0, 3, 1])

    def function(features, *parameters):
        state = dict(zip([n for n, p in head.named_parameters() if p.requires_grad], parameters, strict=True))
        logits = torch.func.functional_call(head, state, features)
        return head.loss(logits, target)

    trained = [p for p in head.parameters() if p.requires_grad]
    assert torch.autograd.gradcheck(function, [features, *trained])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("build", HEADS)
def test_finite_where_features_meet_weights(build, dtype):
    head = build()
    w = head.weight.detach()
    features = torch.stack([w[0], -w[1], w[2] * 1e-4, torch.zeros(5), w[0] * 100]).to(dtype).requires_grad_()
    loss = head.loss(head(features), torch.tensor([0, 1, 2, 3, 1]))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(features.grad).all() and torch.isfinite(head.weight.grad).all()


@pytest.mark.parametrize("build", HEADS)
def test_autocast_does_not_lower_the_precision(build):
    head, features = build(), torch.randn(6, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(head(features), head(features.clone())) and head(features).dtype == torch.float32
        inside = head(features)
    torch.testing.assert_close(inside, head(features))


def test_decision_is_without_the_margin_and_a_fixed_temperature_stays():
    features = torch.randn(7, 5)
    head = ArcFaceHead(5, 4, scale=2.0)
    cosine = torch.nn.functional.cosine_similarity(features[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), 2 * cosine)
    fixed, learnt = NormalizedSoftmaxHead(5, 4), NormalizedSoftmaxHead(5, 4, learn_temperature=True)
    assert [n for n, p in fixed.named_parameters() if p.requires_grad] == ["weight"]
    learnt.loss(learnt(features), torch.arange(7) % 4).backward()
    assert learnt.log_temperature.grad.abs() > 0


def test_weights_of_another_temperature_are_refused():
    learnt, held = NormalizedSoftmaxHead(5, 4, temperature=0.1, learn_temperature=True), {}
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        held = {name: x.to(dtype) for name, x in learnt.state_dict().items()}
        fixed = NormalizedSoftmaxHead(5, 4, temperature=0.1)
        fixed.load_state_dict(held)
        assert fixed.temperature == 0.1  # to the digit: what was trained and resumed is the same function
    other = torch.nn.Sequential(NormalizedSoftmaxHead(5, 4, temperature=0.5))
    with pytest.raises(RuntimeError, match=r"temperature 0\.1.*, the head has 0\.5; set temperature="):
        other.load_state_dict({f"0.{name}": x for name, x in held.items()})
    taken = NormalizedSoftmaxHead(5, 4, temperature=0.5, learn_temperature=True)
    taken.load_state_dict(learnt.state_dict())
    torch.testing.assert_close(taken(torch.eye(5)), learnt(torch.eye(5)))


def test_add_class_needs_no_training():
    head = CosFaceHead(5, 4)
    before = head(torch.eye(5)).detach()
    embeddings = torch.tensor([[0.0, 0, 0, 0, 3], [0, 0, 0, 0.1, 1]])
    assert head.add_class(embeddings) == 4 and head.num_classes == 5
    after = head(torch.eye(5))
    torch.testing.assert_close(after[:, :4], before)  # the old classes are as they were
    assert after[4].argmax() == 4
    with pytest.raises(ValueError, match="embeddings has no row"):
        head.add_class(torch.zeros(0, 5))
    with pytest.raises(ValueError, match="embeddings point nowhere"):
        head.add_class(torch.tensor([[1.0, 0, 0, 0, 0], [-1.0, 0, 0, 0, 0]]))


def test_add_class_refuses_nan_where_features_are_not_looked_at(monkeypatch):
    monkeypatch.setattr("kdzoo.heads.checks.visible", lambda x: False)  # as on a GPU
    head = CosFaceHead(3, 2)
    with pytest.raises(ValueError, match="got NaN"):
        head.add_class(torch.tensor([[1.0, 2.0, 3.0], [float("nan"), 0.0, 1.0]]))
    assert head.num_classes == 2


def test_imprinting_lets_old_and_new_classes_compete_as_means():
    """Embeddings that share a direction, as a weak network's do, and trained weights that lie across it."""
    torch.manual_seed(0)
    common, own = torch.eye(6)[5], torch.eye(6)[:4]
    labels = torch.arange(80) % 4
    features = 3 * common + own[labels] + 0.1 * torch.randn(80, 6)
    head = NormalizedSoftmaxHead(6, 3)
    head.weight.data = own[:3].clone()
    head.weight.requires_grad_(False)
    old = labels < 3
    assert (head(features[old]).argmax(1) == labels[old]).all()
    assert head.add_class(features[~old]) == 3 and not head.weight.requires_grad
    assert (head(features).argmax(1) == 3).all()  # the common direction decides for the added class
    head.imprint(features, labels)
    assert head.num_classes == 4 and not head.weight.requires_grad
    assert (head(features).argmax(1) == labels).all()
    directions = features / features.norm(dim=1, keepdim=True)
    torch.testing.assert_close(head.weight[1], directions[labels == 1].mean(0))
    grown = NormalizedSoftmaxHead(6, 3)
    grown.imprint(features, labels)  # from three classes to four in one call
    torch.testing.assert_close(grown(features), head(features))
    with pytest.raises(ValueError, match=r"got none of \[1\]"):
        head.imprint(features[labels != 1], labels[labels != 1])
    with pytest.raises(ValueError, match="labels must be class indices"):
        head.imprint(features, labels[:3])


def test_centring_is_a_layer_norm_and_leaves_the_common_direction_out():
    head = NormalizedSoftmaxHead(5, 4, temperature=1.0, centre=True)
    features = torch.randn(7, 5)
    normed = torch.nn.functional.layer_norm(features, (5,), eps=1e-12)
    expected = torch.nn.functional.cosine_similarity(normed[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(features), expected)
    torch.testing.assert_close(head(features + 100), head(features), atol=1e-4, rtol=0)
    head.add_class(features[:2] + 50)
    torch.testing.assert_close(head(features[:2])[:, 4], head(features[:2] + 50)[:, 4], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: ArcFaceHead(5, 4, margin_rad=28.6), "margin_rad must be radians"),
        (lambda: CosFaceHead(5, 4, margin=2.5), "margin must be a difference of cosines"),
        (lambda: CosFaceHead(5, 4, scale=0), "scale must be above 0"),
        (lambda: NormalizedSoftmaxHead(5, 4, temperature=0.0), "temperature must be above 0"),
        (lambda: NormalizedSoftmaxHead(5, 1), "num_classes >= 2"),
        (lambda: NormalizedSoftmaxHead(5, 4).loss(torch.zeros(2, 4), torch.tensor([0, 4])), "class indices 0 to 3"),
        (lambda: NormalizedSoftmaxHead(5, 4).loss(torch.zeros(2, 4), torch.zeros(2)), r"or soft labels \[2, 4\]"),
        (lambda: CosFaceHead(5, 4)(torch.zeros(2, 6)), r"features must be floating \[B, 5\]"),
        (lambda: CosFaceHead(5, 4)(torch.full((2, 5), float("nan"))), "features must be numbers"),
    ],
)
def test_mistakes_are_told(call, words):
    with pytest.raises(ValueError, match=words):
        call()
