"""Gram iteration and the layers against explicit matrices and their singular values."""

import numpy as np
import pytest
import torch
from torch import nn

from kdzoo.robust.certify import gram_bound
from kdzoo.robust.certify.lipschitz import (
    AOLLinear,
    CPLLayer,
    SLLLayer,
    coarse_grid_bound,
    margin_radius,
    network_bound,
    power_iteration_lower_bound,
    spectral_norm,
)


def matrix_of(layer, shape) -> np.ndarray:
    """The Jacobian of a linear layer, column by column."""
    size = int(np.prod(shape))
    basis = torch.eye(size, dtype=torch.float64).view(size, *shape)
    with torch.no_grad():
        return (layer(basis) - layer(torch.zeros(1, *shape, dtype=torch.float64))).flatten(1).numpy().T


def test_convolutions_are_the_official_ones(golden):
    for case in golden["gram_iteration"]["conv"]:
        kernel = torch.tensor(case["kernel"], dtype=torch.float64)
        for steps, value in case["gram_2023_circular_by_iter"].items():
            bound = float(gram_bound(kernel, case["n"], int(steps)))
            assert bound == pytest.approx(value, rel=1e-11) and bound >= case["exact_circular_svd"]
        assert float(gram_bound(kernel.float(), case["n"])) >= case["exact_circular_svd"]
        assert coarse_grid_bound(kernel) >= case["exact_zero_pad_svd"]


def test_dense_is_the_official_one(golden):
    case = golden["gram_iteration"]["dense"]
    matrix = torch.tensor(case["matrix"], dtype=torch.float64)
    for steps, value in case["gram_by_iter"].items():
        assert float(gram_bound(matrix, iterations=int(steps))) == pytest.approx(value, rel=1e-9)
    assert float(power_iteration_lower_bound(matrix, 3)) < case["exact"] <= float(gram_bound(matrix))
    assert float(power_iteration_lower_bound(matrix, 50)) == pytest.approx(case["exact"], rel=1e-6)


@pytest.mark.parametrize("shape", [(5, 3), (3, 5), (1, 4), (4, 1), (30, 30)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bounds_are_never_below_the_norm_and_fall(shape, dtype):
    for seed in range(20):
        weight = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
        exact = np.linalg.svd(weight.double().numpy(), compute_uv=False)[0]
        bounds = [float(gram_bound(weight, iterations=t)) for t in range(1, 9)]
        assert all(bound >= exact for bound in bounds)
        assert all(b <= a * (1 + 1e-6) for a, b in zip(bounds, bounds[1:], strict=False))
        assert bounds[-1] <= exact * 1.02


def test_scales_and_zeros():
    weight = torch.randn(6, 4, dtype=torch.float64)
    for scale in (1e-150, 1e150):
        assert float(gram_bound(weight * scale)) == pytest.approx(float(gram_bound(weight)) * scale, rel=1e-9)
    zero = torch.zeros(3, 3, requires_grad=True)
    bound = gram_bound(zero)
    bound.backward()
    assert float(bound.detach()) == 0 and zero.grad.isfinite().all()
    weight.requires_grad_()
    assert torch.autograd.gradcheck(lambda w: gram_bound(w), weight)


@pytest.mark.parametrize("dtype, scales", [(torch.float32, (1e-23, 1e20, 1e30)), (torch.float64, (1e-170, 1e160))])
def test_squares_neither_overflow_nor_vanish(dtype, scales):
    weight = torch.randn(6, 4, dtype=dtype)
    for scale in scales:
        assert float(gram_bound(weight * scale)) == pytest.approx(float(gram_bound(weight)) * scale, rel=1e-4)
    assert float(power_iteration_lower_bound(torch.zeros(3, 3, dtype=dtype))) == 0


def test_autocast_changes_no_bound():
    weight = torch.randn(40, 30, generator=torch.Generator().manual_seed(0))
    layers = nn.Linear(30, 40), AOLLinear(30, 40)
    for layer in layers:
        layer.weight.data = weight
    spectral_norm(layers[0])
    with torch.autocast("cpu", torch.bfloat16):
        made = gram_bound(weight), layers[0].weight, layers[1].rescaled()
    assert torch.equal(made[0], gram_bound(weight))
    assert torch.equal(made[1], layers[0].weight) and torch.equal(made[2], layers[1].rescaled())


def test_rounding_does_not_make_almost_orthogonal_layers_stretch():
    for seed in range(200):
        layer = AOLLinear(6, 6)
        nn.init.orthogonal_(layer.weight, 3.3, torch.Generator().manual_seed(seed))
        norms = np.linalg.svd(layer.rescaled().detach().double().numpy(), compute_uv=False)
        assert 0.9999 < norms[0] <= 1


def test_grid_bounds_hold_for_every_size(golden):
    for row in golden["conv_coarse_grid_bound"]["rows"]:
        assert row["bound"] >= row["dense128"] * (1 - 1e-12)
    case = golden["gram_iteration"]["conv"][0]
    kernel = torch.tensor(case["kernel"], dtype=torch.float64)
    rows = [r for r in golden["conv_coarse_grid_bound"]["rows"] if (r["k"], r["cout"], r["cin"]) == (3, 3, 2)]
    for row in rows[:1]:
        assert float(coarse_grid_bound(kernel, row["n0"], 10)) == pytest.approx(row["bound"], rel=1e-6)
    for size in (3, 4, 7, 40):
        assert coarse_grid_bound(kernel, 12) >= gram_bound(kernel, size, 8) * (1 - 1e-9)


@pytest.mark.parametrize("stride, mode", [(1, "zeros"), (2, "zeros"), (1, "circular"), (2, "circular")])
def test_convolutions_as_layers(stride, mode):
    layer = nn.Conv2d(2, 3, 3, stride, 1, padding_mode=mode).double()
    exact = np.linalg.svd(matrix_of(layer, (2, 6, 6)), compute_uv=False)[0]
    assert network_bound(nn.Sequential(layer).eval()) >= exact
    assert network_bound(nn.Sequential(layer).eval()) <= 2.5 * exact
    spectral_norm(layer)
    norm = np.linalg.svd(matrix_of(layer, (2, 6, 6)), compute_uv=False)[0]
    assert 0.4 < norm <= 1


def test_layers_are_the_published_ones(golden):
    case = golden["gram_iteration"]["dense"]
    aol = AOLLinear(4, 6, bias=False).double()
    aol.weight.data = torch.tensor(case["matrix"], dtype=torch.float64)
    assert np.allclose(aol.rescaled().detach(), case["aol"]["W"], atol=1e-11)
    sll_case = case["sll"]
    sll = SLLLayer(4, 6).double()
    sll.weight.data = torch.tensor(sll_case["W"], dtype=torch.float64)
    sll.log_q.data = torch.tensor(sll_case["q"], dtype=torch.float64).log()
    sll.bias.data.fill_(sll_case["b"])
    x = torch.tensor(sll_case["x"], dtype=torch.float64)
    assert np.allclose(sll(x).detach(), sll_case["y"], atol=1e-6)
    cpl = CPLLayer(4, 6).double()
    cpl.weight.data, cpl.bias.data = sll.weight.data, sll.bias.data
    assert np.allclose(cpl(x).detach(), case["cpl"]["y"], atol=1e-6)


@pytest.mark.parametrize(
    "make",
    [lambda: AOLLinear(7, 7), lambda: SLLLayer(7, 9), lambda: CPLLayer(7, 5), lambda: spectral_norm(nn.Linear(7, 7))],
)
def test_layers_do_not_stretch(make):
    layer = make().double()
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=2.0)
    a = torch.randn(4000, 7, dtype=torch.float64)
    b = a + 0.1 * torch.randn(4000, 7, dtype=torch.float64)
    ratio = (layer(a) - layer(b)).norm(dim=1) / (a - b).norm(dim=1)
    assert ratio.max() <= 1 + 1e-12 and ratio.max() > 0.5
    layer(a).square().sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in layer.parameters())


def test_pools_and_norms():
    for layer, shape, expected in (
        (nn.AvgPool2d(2), (1, 6, 6), 0.5),
        (nn.AvgPool2d(3, 1), (1, 6, 6), None),
        (nn.AvgPool2d(3, 2, 1), (1, 6, 6), None),
        (nn.AvgPool2d(2, divisor_override=1, ceil_mode=True), (1, 6, 6), 2.0),
        (nn.AvgPool2d(3, 2, 1, ceil_mode=True, count_include_pad=False), (1, 6, 6), None),
        (nn.BatchNorm2d(2), (2, 3, 3), None),
    ):
        layer = layer.double().eval()
        if isinstance(layer, nn.BatchNorm2d):
            layer.weight.data = torch.tensor([2.0, -3.0], dtype=torch.float64)
            layer.running_var = torch.tensor([0.25, 4.0], dtype=torch.float64)
        exact = np.linalg.svd(matrix_of(layer, shape), compute_uv=False)[0]
        bound = network_bound(nn.Sequential(layer).eval())
        assert exact <= bound * (1 + 1e-12) and (expected is None or bound == pytest.approx(expected))
    a, b = torch.randn(2, 500, 1, 6, 6)
    for pool in (nn.MaxPool2d(2), nn.MaxPool2d(3, 1), nn.MaxPool2d(3, 2)):
        stretch = (pool(a) - pool(b)).flatten(1).norm(dim=1) / (a - b).flatten(1).norm(dim=1)
        assert stretch.max() <= network_bound(nn.Sequential(pool).eval())


def test_a_linear_classifier_is_never_certified_beyond_its_margin():
    network = nn.Sequential(nn.Flatten(), nn.Linear(12, 4)).double().eval()
    x = torch.rand(300, 3, 2, 2, dtype=torch.float64)
    logits = network(x).detach()
    radius = margin_radius(logits, network_bound(network))
    weight, top = network[1].weight.detach(), logits.argmax(1)
    for i in range(len(x)):
        others = [c for c in range(4) if c != top[i]]
        exact = min((logits[i, top[i]] - logits[i, c]) / (weight[top[i]] - weight[c]).norm() for c in others)
        assert radius[i] <= exact


def test_logits_that_are_not_finite_certify_nothing():
    logits = torch.tensor([[3.0, 1.0], [torch.inf, 0.0], [torch.nan, 0.0], [1.0, -torch.inf]])
    assert margin_radius(logits, 2**0.5).tolist() == pytest.approx([1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("kernel, padding, known", [(1, 1, False), (3, 2, False), (3, 1, True), (3, (1, 0), True)])
def test_circular_padding_that_repeats_pixels_is_refused(kernel, padding, known):
    layer = nn.Conv2d(1, 1, kernel, padding=padding, padding_mode="circular").double().eval()
    exact = np.linalg.svd(matrix_of(layer, (1, 5, 5)), compute_uv=False)[0]
    if known:
        assert network_bound(nn.Sequential(layer).eval()) >= exact
    else:
        assert exact > 1.2 * float(coarse_grid_bound(layer.weight.detach()))
        for call in (lambda: network_bound(nn.Sequential(layer).eval()), lambda: spectral_norm(layer)):
            with pytest.raises(ValueError, match="repeats outputs"):
                call()
    with pytest.raises(ValueError, match="no bound is known for 'reflect' padding"):
        spectral_norm(nn.Conv2d(1, 1, 3, padding=1, padding_mode="reflect"))


def test_what_has_no_bound_is_told():
    for network, words in (
        (nn.Sequential(nn.Softmax(1)).eval(), "no bound is known for Softmax"),
        (nn.Sequential(nn.Linear(2, 2)), "training mode"),
        (nn.Sequential(nn.Conv2d(4, 4, 3, groups=2)).eval(), "no bound is known for Conv2d"),
    ):
        with pytest.raises(ValueError, match=words):
            network_bound(network)
    kernel = torch.randn(2, 2, 3, 3)
    for size in (None, 2):
        with pytest.raises(ValueError, match="needs the input's height"):
            gram_bound(kernel, size)
    for weight in (torch.randn(3), torch.randn(2, 2).half(), torch.full((2, 2), float("nan"))):
        with pytest.raises(ValueError, match="expected a float32|not finite"):
            gram_bound(weight)
    with pytest.raises(ValueError, match="groups"):
        spectral_norm(nn.Conv2d(4, 4, 3, groups=2))


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Standardised(nn.Conv2d):
    def _conv_forward(self, x, weight, bias):
        return super()._conv_forward(x, weight / weight.std(), bias)


class Steep(nn.Sequential):
    def forward(self, x):
        return 3 * super().forward(x)


def test_layers_that_use_their_weights_in_their_own_way_are_refused():
    replaced = nn.Linear(4, 4)
    replaced.forward = lambda x: 5 * x
    for network in (Doubled(4, 4), Standardised(3, 3, 1), Steep(nn.Linear(4, 4)), replaced):
        with pytest.raises(ValueError, match=f"{type(network).__name__}: it is a .* with a forward of its own"):
            network_bound(nn.Sequential(network).eval())
    with pytest.raises(ValueError, match="Standardised: it is a Conv2d with a forward of its own"):
        spectral_norm(Standardised(3, 3, 1))
    with pytest.raises(ValueError, match="no bound is known for Steep"):
        network_bound(Steep(nn.Linear(4, 4)).eval())


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_that_a_hook_computes_is_refused_and_a_parametrised_one_is_bounded():
    hooked = nn.utils.weight_norm(nn.Linear(4, 4))
    hooked.load_state_dict({key: 10 * value for key, value in hooked.state_dict().items()})  # .weight is the old one
    with pytest.raises(ValueError, match="Linear has forward hooks"):
        network_bound(nn.Sequential(hooked).eval())
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 4).double())
    layer.load_state_dict({key: 10 * value for key, value in layer.state_dict().items()})
    exact = float(torch.linalg.matrix_norm(layer.weight.detach(), 2))
    assert exact <= network_bound(nn.Sequential(layer).eval()) <= exact * (1 + 1e-9)


def test_a_batch_norm_left_in_training_mode_is_refused():
    network = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    network[1].train()
    with pytest.raises(ValueError, match="training mode"):
        network_bound(network)
