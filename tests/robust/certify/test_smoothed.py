"""The smoothed classifier: sound where the truth is known, the same in any batches, clear about bad input."""

import pytest
import torch
from scipy.stats import norm
from torch import nn

from kdzoo.robust.certify import ABSTAIN, SmoothedClassifier, certify_votes


@pytest.fixture
def network():
    """A small convolutional network whose five classes are about as likely around the image 0.5."""
    torch.manual_seed(3)
    net = nn.Sequential(
        nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 14 * 14, 5)
    ).eval()
    with torch.no_grad():
        net[-1].bias -= net(0.5 + 0.5 * torch.randn(200, 3, 16, 16)).mean(dim=0)
    return net


@pytest.mark.parametrize("margin", [0.05, 0.2, 0.6, 2.0])
def test_a_half_space_is_never_certified_beyond_its_distance(half_space, margin):
    model, x = half_space(margin)
    for index in range(20):
        # With this alpha the 80 certificates of this test fail by chance less often than once in 10,000 seeds.
        predicted, radius = SmoothedClassifier(model, 2, sigma=0.25).certify(x, 50, 2000, 1e-6, index=index)
        assert radius <= model.distance(x) and (predicted in (1, ABSTAIN)) and (radius == 0) == (predicted == ABSTAIN)
    assert margin == 0.05 or radius > 0.4 * min(margin, 0.5)  # and not needlessly small


def test_equal_votes_stop_at_the_cap(half_space):
    model, x = half_space(50.0)
    predicted, radius = SmoothedClassifier(model, 2, 0.25).certify(x, 20, 1000, 0.001)
    assert predicted == 1 and radius == pytest.approx(0.25 * norm.ppf(0.001 ** (1 / 1000)), abs=1e-9)


def test_votes_do_not_depend_on_batches_or_order(network):
    x = torch.full((3, 16, 16), 0.5)
    whole = SmoothedClassifier(network, 5, 0.5, batch_size=120).votes(x, 4, 0, 120)
    for size in (7, 50, 119):
        smoothed = SmoothedClassifier(network, 5, 0.5, batch_size=size)
        parts = smoothed.votes(x, 4, 70, 50) + smoothed.votes(x, 4, 0, 70)
        assert torch.equal(parts, whole)
    assert int(whole.sum()) == 120 and int((whole > 5).sum()) >= 3
    assert not torch.equal(SmoothedClassifier(network, 5, 0.5, seed=1).votes(x, 4, 0, 120), whole)


def test_noise_is_of_the_stated_size_and_not_clipped():
    class Spy(nn.Module):
        def forward(self, images):
            self.seen = images
            return images.flatten(1)[:, :2]

    spy = Spy().eval()
    SmoothedClassifier(spy, 2, 0.25).logits([_request(torch.zeros(3, 32, 32), 300)])
    assert spy.seen.dtype == torch.float32 and spy.seen.min() < -0.8
    assert float(spy.seen.std()) == pytest.approx(0.25, rel=0.01)
    other = spy.seen
    SmoothedClassifier(spy, 2, 0.5).logits([_request(torch.zeros(3, 32, 32), 300)])
    assert torch.equal(spy.seen, 2 * other)


def _request(image, count):
    from kdzoo.robust.certify.smoothed import Request

    return Request(image, 0, 0, count)


def test_predict_decides_and_abstains(half_space):
    model, x = half_space(0.5)
    assert SmoothedClassifier(model, 2, 0.25).predict(x, 200, 0.001) == 1
    model, x = half_space(0.0)
    assert SmoothedClassifier(model, 2, 0.25).predict(x, 200, 0.001) == ABSTAIN


def test_samples_without_finite_logits_vote_for_nobody(half_space):
    model, x = half_space(1.0)

    class Broken(nn.Module):
        def forward(self, images):
            logits = model(images)
            logits[::2, 0] = float("nan")
            return logits

    certificate = SmoothedClassifier(Broken().eval(), 2, 0.25).certificate(x, 20, 400, 0.001)
    assert certificate.votes == [0, 200, 200] and certificate.predicted == ABSTAIN and certificate.radius == 0
    assert SmoothedClassifier(Broken().eval(), 2, 0.25).predict(x, 400, 0.001) == ABSTAIN


def test_predict_refuses_what_certify_refuses(half_space):
    model, x = half_space(0.5)
    with pytest.raises(ValueError, match=r"alpha must lie in \(0, 1\), got 1.5"):
        SmoothedClassifier(model, 2, 0.25).predict(x, 20, 1.5)
    with pytest.raises(ValueError, match="n=10 is too small for alpha=0.001.*use n=11 or more"):
        SmoothedClassifier(model, 2, 0.25).predict(x, 10, 0.001)


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(sigma=0.0), "sigma must be positive"),
        (dict(sigma=-0.25), "sigma must be positive"),
        (dict(n=5), "n=5 is too small for alpha=0.001.*use n=10 or more"),
        (dict(n0=0), "n0 must be at least 1"),
        (dict(alpha=1.0), r"alpha must lie in \(0, 1\)"),
        (dict(x=torch.full((3, 4, 4), 1.5)), r"expected \[0, 1\]"),
        (dict(x=torch.full((3, 4, 4), float("nan"))), r"expected \[0, 1\]"),
        (dict(x=torch.zeros(1, 3, 4, 4)), "expected one image"),
        (dict(x=torch.zeros(3, 4, 4, dtype=torch.uint8)), "expected one image"),
        (dict(classes=3), "set num_classes"),
    ],
)
def test_bad_input_is_told(half_space, change, words):
    model, x = half_space(1.0)
    given = dict(sigma=0.25, n=100, n0=10, alpha=0.001, x=x, classes=2) | change
    with pytest.raises(ValueError, match=words):
        SmoothedClassifier(model, given["classes"], given["sigma"]).certify(
            given["x"], given["n0"], given["n"], given["alpha"]
        )


def test_models_that_are_no_fixed_function_are_refused(network):
    with pytest.raises(ValueError, match="training mode"):
        SmoothedClassifier(network.train(), 5, 0.25)
    smoothed = SmoothedClassifier(network.eval(), 5, 0.25)
    network.train()
    with pytest.raises(ValueError, match="training mode"):
        smoothed.certify(torch.rand(3, 16, 16), 10, 20, 0.001)
    with pytest.raises(ValueError, match="batch's statistics"):
        SmoothedClassifier(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)).eval(), 2, 0.25)


def test_counts_alone_give_the_certificate_again(half_space):
    model, x = half_space(0.3)
    certificate = SmoothedClassifier(model, 2, 0.25).certificate(x, 50, 1000, 0.001)
    assert certify_votes(certificate.selection, certificate.votes, 0.25, 0.001) == certificate
    assert certify_votes(certificate.selection, certificate.votes, 0.25, 0.1).radius > certificate.radius


def test_bfloat16_adds_the_noise_in_float32(half_space):
    model, x = half_space(0.3)
    full = SmoothedClassifier(model, 2, 0.25).votes(x, 0, 0, 1000)
    half = SmoothedClassifier(model, 2, 0.25, precision="bf16").votes(x, 0, 0, 1000)
    assert int((full - half).abs().max()) <= 10


@pytest.mark.gpu
def test_an_image_waits_for_the_device_at_its_end_only():
    smoothed = SmoothedClassifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).cuda().eval(), 5, 0.25, batch_size=8)
    image = torch.rand(3, 4, 4)
    wanted = smoothed.votes(smoothed.prepare(image), 3, 0, 20).tolist()  # the noise's kernel is compiled now
    torch.cuda.set_sync_debug_mode("error")
    try:
        votes = smoothed.votes(smoothed.prepare(image), 3, 0, 20)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert votes.tolist() == wanted and sum(wanted) == 20
