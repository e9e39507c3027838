"""Golden values, special cases and invariances of the losses beyond the distillation papers' own."""

import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from kdzoo.losses import build_loss
from kdzoo.losses import functional as KF
from kdzoo.losses.tempnet import TempNet
from kdzoo.output import ModelOutput

GOLDEN = json.loads((Path(__file__).parents[1] / "data" / "heads.json").read_text())


def float64(x):
    return torch.tensor(x, dtype=torch.float64)


def drawn(*shape, seed=0, scale=3.0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * scale


LABEL_LOSSES = {
    "z_loss": partial(KF.z_loss, a=2.0, b=0.5),
    "comp_sum_0": partial(KF.comp_sum, tau=0.0),
    "comp_sum_1.5": partial(KF.comp_sum, tau=1.5),
    "comp_sum_2": partial(KF.comp_sum, tau=2.0),
    "stablemax": KF.stablemax_cross_entropy,
    "anchored_kd": KF.anchored_kd,
}


# Golden values


def golden_call(name, golden, logits):
    labels = torch.tensor(golden["labels"])
    if name.startswith("zloss"):
        return KF.z_loss(logits, labels, golden["a"], golden["b"], reduction="none")
    if name.startswith("compsum"):
        return KF.comp_sum(logits, labels, golden["tau"], reduction="none")
    return KF.stablemax_cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("name", [k for k in GOLDEN if k.startswith(("zloss", "compsum", "stablemax"))])
def test_label_losses_golden(name):
    golden = GOLDEN[name]
    logits = float64(golden["logits"]).requires_grad_()
    rows = golden_call(name, golden, logits)
    if "per_sample" in golden:
        torch.testing.assert_close(rows, float64(golden["per_sample"]), rtol=1e-9, atol=0)
    assert rows.mean().item() == pytest.approx(golden["loss"], rel=1e-9)
    rows.mean().backward()
    torch.testing.assert_close(logits.grad, float64(golden["grad_logits"]), rtol=1e-9, atol=1e-9)
    single = golden_call(name, golden, logits.detach().float())
    assert single.dtype == torch.float32 and single.mean().item() == pytest.approx(golden["loss"], rel=1e-5)


@pytest.mark.parametrize("name", [k for k in GOLDEN if k.startswith("smooth_adv")])
def test_smooth_adversarial_golden(name):
    """The golden values are of the same formula from memory: they pin it, they do not verify it."""
    golden = GOLDEN[name]
    clean, adversarial = (float64(golden[k]).requires_grad_() for k in ("h_clean", "h_adv"))
    settings = [golden[k] for k in ("tau", "rho", "nu")]
    rows = KF.smooth_adversarial_comp_sum(clean, adversarial, torch.tensor(golden["labels"]), *settings, "none")
    torch.testing.assert_close(rows, float64(golden["per_sample"]), rtol=1e-9, atol=0)
    rows.mean().backward()
    torch.testing.assert_close(clean.grad, float64(golden["grad_h_clean"]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(adversarial.grad, float64(golden["grad_h_adv"]), rtol=1e-9, atol=1e-9)


def test_tempered_cross_entropy_golden():
    golden = GOLDEN["tempnet_tau_ce"]
    arguments = float64(golden["logits"]), torch.tensor(golden["labels"]), float64(golden["tau"]), golden["rho"]
    rows = KF.tempered_cross_entropy(*arguments, reduction="none")
    torch.testing.assert_close(rows, float64(golden["per_sample"]), rtol=1e-9, atol=0)
    assert KF.tempered_cross_entropy(*arguments).item() == pytest.approx(golden["loss"], rel=1e-9)


# What all of them share


@pytest.mark.parametrize("loss", LABEL_LOSSES.values(), ids=LABEL_LOSSES)
def test_soft_labels_mix_the_labels_losses(loss):
    logits, target = drawn(5, 4), torch.tensor([0, 3, 1, 2, 2])
    hard, other = loss(logits, target, reduction="none"), loss(logits, target.flip(0), reduction="none")
    one_hot = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(loss(logits, one_hot[target], reduction="none"), hard)
    mixed = 0.3 * one_hot[target] + 0.7 * one_hot[target.flip(0)]
    entropy = 0.0
    if loss is KF.anchored_kd:  # a divergence: the label's entropy is taken off
        entropy = -torch.xlogy(mixed, mixed).sum(dim=1)
    torch.testing.assert_close(loss(logits, mixed, reduction="none"), 0.3 * hard + 0.7 * other - entropy)


@pytest.mark.parametrize("loss", LABEL_LOSSES.values(), ids=LABEL_LOSSES)
def test_reductions_and_refusals(loss):
    logits, target = drawn(5, 4), torch.tensor([0, 3, 1, 2, 2])
    rows = loss(logits, target, reduction="none")
    assert rows.shape == (5,)
    torch.testing.assert_close(loss(logits, target), rows.mean())
    torch.testing.assert_close(loss(logits, target, reduction="sum"), rows.sum())
    with pytest.raises(ValueError, match="target must"):
        loss(logits, target + 1)
    with pytest.raises(ValueError, match="target must"):
        loss(logits, target[:3])
    with pytest.raises(ValueError, match="logits"):
        loss(logits[0], target)
    with pytest.raises(ValueError, match="logits must be .*NaN"):
        loss(logits.index_fill(0, torch.tensor([1]), math.nan), target)


def tempered(s):
    return KF.tempered_cross_entropy(s, torch.tensor([0, 2, 1]), float64([0.5, 2.0, 3.0]))


TARGET = torch.tensor([0, 2, 1])
TWICE = {
    **{name: partial(lambda f, s: f(s, TARGET), loss) for name, loss in LABEL_LOSSES.items()},
    "smooth": lambda s: KF.smooth_adversarial_comp_sum(s, drawn(3, 4, seed=2), TARGET, tau=0.5),
    "anchor": lambda s: KF.anchored_kd(s, drawn(3, 4, seed=2).softmax(1), drawn(3, 4, seed=3), 2.0),
    "soft_info_nce": lambda s: KF.soft_info_nce(KF.in_batch_scores(s, TARGET), drawn(3, 3, seed=2)),
    "personal_kd": lambda s: KF.personal_kd(s, drawn(3, 4, seed=2), float64([1.0, 2.0, 3.0])),
    "tempered": tempered,
}


@pytest.mark.parametrize("loss", TWICE.values(), ids=TWICE)
def test_double_backward(loss):
    assert torch.autograd.gradgradcheck(loss, drawn(3, 4, scale=1.0).requires_grad_())


# Z-loss


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 9), st.floats(0.01, 100), st.floats(-50, 50), st.integers(0, 2**31))
def test_z_loss_ignores_shift_and_scale(classes, scale, shift, seed):
    logits, target = drawn(4, classes, seed=seed), torch.arange(4) % classes
    moved = KF.z_loss(logits * scale + shift, target)
    torch.testing.assert_close(moved, KF.z_loss(logits, target), rtol=1e-8, atol=1e-9)


def test_z_loss_is_bounded_and_blocks_the_gradient_of_flat_rows():
    logits = float64([[1.0, 1.0, 1.0], [0.0, 0.0, 9.0], [0.0, 1e-7, 0.0]]).requires_grad_()
    rows = KF.z_loss(logits, torch.tensor([0, 2, 1]), reduction="none")
    least = math.log1p(math.exp(-math.sqrt(2)))
    torch.testing.assert_close(rows, float64([math.log(2), least, least]))
    rows.sum().backward()
    assert torch.equal(logits.grad[[0, 2]], torch.zeros(2, 3, dtype=torch.float64))


# Comp-sum


def test_comp_sum_names_its_members():
    logits, target = drawn(6, 5), torch.arange(6) % 5
    p = logits.softmax(dim=1)[torch.arange(6), target]
    torch.testing.assert_close(KF.comp_sum(logits, target), KF.cross_entropy(logits, target))
    for tau, expected in ((0.0, 1 / p - 1), (1.7, (1 - p**0.7) / 0.7), (2.0, 1 - p)):
        torch.testing.assert_close(KF.comp_sum(logits, target, tau, reduction="none"), expected)
    near = KF.comp_sum(logits, target, 1 + 1e-9)
    torch.testing.assert_close(near, KF.cross_entropy(logits, target), rtol=1e-7, atol=0)


def test_comp_sum_goes_on_as_a_tangent_where_it_would_overflow():
    margin = torch.tensor([59.9, 60.1, 1e4], dtype=torch.float64)
    logits = torch.stack([margin, torch.zeros(3, dtype=torch.float64)], dim=1).requires_grad_()
    rows = KF.comp_sum(logits, torch.ones(3, dtype=torch.long), tau=0.0, reduction="none")
    torch.testing.assert_close(rows, math.exp(60) * float64([math.exp(-0.1), 1.1, 1e4 - 59]))
    rows.sum().backward()
    torch.testing.assert_close(logits.grad[:, 0], math.exp(60) * float64([math.exp(-0.1), 1.0, 1.0]))


def test_smooth_adversarial_form_without_a_perturbation_is_comp_sum():
    logits, target = drawn(4, 5).requires_grad_(), torch.arange(4)
    loss = KF.smooth_adversarial_comp_sum(logits, logits.detach(), target, tau=1.5, rho=2.0)
    torch.testing.assert_close(loss, KF.comp_sum(logits / 2, target, 1.5))
    loss.backward()
    assert logits.grad.isfinite().all()
    moved = KF.smooth_adversarial_comp_sum(logits, logits + 7, target, tau=1.5, rho=2.0)
    torch.testing.assert_close(moved, loss)  # a shift moves no margin


# StableMax


def test_stablemax_s_golden():
    golden = GOLDEN["stablemax_ce"]
    x = float64(golden["s_in"])
    pairs = torch.stack([x, torch.zeros_like(x)], dim=1)  # s(0) = 1
    odds = KF.stablemax_cross_entropy(pairs, torch.ones(len(x), dtype=torch.long), reduction="none").expm1()
    torch.testing.assert_close(odds, float64(golden["s_out"]), rtol=1e-9, atol=0)


def test_stablemax_is_smooth_at_zero_and_never_absorbs():
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    KF.stablemax_cross_entropy(zero, torch.tensor([0])).backward()
    torch.testing.assert_close(zero.grad, float64([[-2 / 3, 1 / 3, 1 / 3]]))
    ahead = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    KF.stablemax_cross_entropy(ahead, torch.tensor([0])).backward()
    assert (ahead.grad[0, 1:] > 0).all()  # softmax in float32 gives 0 here


# Anchored KD


def test_anchored_kd_contains_kd():
    student, teacher = drawn(6, 5), drawn(6, 5, seed=1)
    anchored = KF.anchored_kd(student, (teacher / 4).softmax(dim=1), temperature=4.0)
    torch.testing.assert_close(16 * anchored, KF.kd(student, teacher, temperature=4.0))


def test_anchored_kd_contains_dpo():
    student, reference = drawn(6, 2), drawn(6, 2, seed=1)
    beta, chosen = 0.3, torch.tensor([0, 1, 1, 0, 0, 1])
    sign = (1 - 2 * chosen).double()
    log_ratios = student.log_softmax(1) - reference.log_softmax(1)
    dpo = -torch.nn.functional.logsigmoid(beta * sign * (log_ratios[:, 0] - log_ratios[:, 1])).mean()
    torch.testing.assert_close(KF.anchored_kd(student, chosen, reference, temperature=1 / beta), dpo)


def test_anchored_kd_is_least_at_the_anchor_plus_q():
    q, anchor = drawn(6, 5).softmax(dim=1), drawn(6, 5, seed=1)
    best = (anchor + 2.0 * q.log() + 5).requires_grad_()
    loss = KF.anchored_kd(best, q, anchor, temperature=2.0)
    loss.backward()
    assert loss.abs() < 1e-12 and best.grad.abs().max() < 1e-12
    shifted = KF.anchored_kd(drawn(6, 5, seed=2) + 3, q, anchor - 8, 2.0)
    torch.testing.assert_close(shifted, KF.anchored_kd(drawn(6, 5, seed=2), q, anchor, 2.0))


def test_anchored_kd_gives_the_anchor_and_target_no_gradient():
    anchor, q = drawn(3, 4).requires_grad_(), drawn(3, 4, seed=1).softmax(1).detach().requires_grad_()
    KF.anchored_kd(drawn(3, 4, seed=2).requires_grad_(), q, anchor).backward()
    assert anchor.grad is None and q.grad is None


# Weights under a KL constraint, and fusion


def divergence(w):
    return (torch.xlogy(w, w)).sum(dim=-1) + math.log(w.shape[-1])


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 20), st.floats(1e-6, 0.999), st.floats(1e-6, 1e4), st.integers(0, 2**31))
def test_kl_constrained_weights_use_up_the_constraint(teachers, share, scale, seed):
    scores, radius = drawn(3, teachers, seed=seed, scale=scale), share * math.log(teachers)
    w = KF.kl_constrained_weights(scores, radius)
    torch.testing.assert_close(w.sum(dim=1), torch.ones(3, dtype=torch.float64))
    assert (divergence(w) - radius).abs().max() < 1e-9
    in_order = w.gather(1, scores.argsort(dim=1))
    assert (in_order.diff(dim=1) >= 0).all()  # never less weight for a higher score; far out, weights underflow to ties
    torch.testing.assert_close(KF.kl_constrained_weights(7 * scores - 3, radius), w, rtol=1e-6, atol=1e-9)


def test_kl_constrained_weights_are_the_best():
    """No feasible random weights have a larger mean score."""
    scores, radius = drawn(4, seed=3), 0.2
    best = (KF.kl_constrained_weights(scores, radius) * scores).sum()
    tried = torch.distributions.Dirichlet(torch.ones(4, dtype=torch.float64)).sample((200_000,))
    feasible = tried[divergence(tried) <= radius]
    means = feasible @ scores
    assert len(feasible) > 1000 and means.max() <= best < means.max() + 0.1


def test_kl_constrained_weights_at_the_ends():
    scores = float64([[0.0, 1.0, 2.0], [3.0, 3.0, 1.0], [4.0, 4.0, 4.0]])
    uniform = torch.full((3, 3), 1 / 3, dtype=torch.float64)
    torch.testing.assert_close(KF.kl_constrained_weights(scores, 0.0), uniform)
    everything = float64([[0, 0, 1], [0.5, 0.5, 0], [1 / 3, 1 / 3, 1 / 3]])
    torch.testing.assert_close(KF.kl_constrained_weights(scores, 5.0), everything)
    for two in (0.0, 0.01, 0.3, 0.6):
        w = KF.kl_constrained_weights(torch.tensor([1.0, 0.0]), two)
        assert w[0] * w[0].log() + w[1] * w[1].clamp_min(1e-300).log() + math.log(2) == pytest.approx(two, abs=1e-9)


def test_fusion_of_one_or_equal_teachers_changes_nothing():
    logits = drawn(6, 5)
    torch.testing.assert_close(KF.fuse_teachers([logits]), logits)
    torch.testing.assert_close(KF.fuse_teachers([logits, logits, logits], radius=0.4), logits)


def test_fusion_between_the_mean_and_the_best():
    teachers, target = drawn(3, 6, 5), torch.arange(6) % 5
    torch.testing.assert_close(KF.fuse_teachers(teachers, radius=0.0), teachers.mean(dim=0))
    log_p = teachers.log_softmax(dim=2)
    confident = (log_p.exp() * log_p).sum(dim=2).argmax(dim=0)
    right = log_p[:, torch.arange(6), target].argmax(dim=0)
    rows = torch.arange(6)
    torch.testing.assert_close(KF.fuse_teachers(teachers, radius=2.0), teachers[confident, rows])
    torch.testing.assert_close(KF.fuse_teachers(teachers, 2.0, target), teachers[right, rows])
    one_hot = torch.eye(5, dtype=torch.float64)[target]
    torch.testing.assert_close(KF.fuse_teachers(teachers, 0.3, one_hot), KF.fuse_teachers(teachers, 0.3, target))


def test_fusion_by_hand_for_two_teachers():
    """Weights from the label's log-probabilities, found on a fine grid."""
    teachers, target, radius = drawn(2, 4, 3), torch.tensor([0, 2, 1, 0]), 0.15
    fused = KF.fuse_teachers(teachers, radius, target)
    grid = torch.linspace(0.5, 1, 2_000_001, dtype=torch.float64)[:-1]
    bound = grid[divergence(torch.stack([grid, 1 - grid], dim=1)) <= radius][-1]
    for row in range(4):
        log_p = teachers[:, row].log_softmax(dim=1)[:, target[row]]
        first = bound if log_p[0] > log_p[1] else 1 - bound
        torch.testing.assert_close(
            fused[row], first * teachers[0, row] + (1 - first) * teachers[1, row], rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("target", [None, torch.arange(6) % 5])
def test_fusion_follows_permutations_and_shifts(target):
    teachers = drawn(3, 6, 5)
    fused = KF.fuse_teachers(teachers, 0.3, target)
    torch.testing.assert_close(KF.fuse_teachers(teachers[[2, 0, 1]], 0.3, target), fused)
    shifted = KF.fuse_teachers(teachers + drawn(3, 6, 1, seed=1), 0.3, target)
    torch.testing.assert_close(shifted.softmax(dim=1), fused.softmax(dim=1))


def test_fusion_with_one_weight_a_teacher():
    teachers = drawn(2, 6, 5)
    fused = KF.fuse_teachers(teachers, 0.3, per_image=False)
    weights = torch.linalg.lstsq(teachers.flatten(1).T, fused.flatten()[:, None]).solution
    torch.testing.assert_close(weights.T @ teachers.flatten(1), fused.flatten()[None])
    assert weights.sum().item() == pytest.approx(1) and divergence(weights[:, 0]).item() == pytest.approx(0.3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("scale", [0.0, 1e-6, 1.0, 600.0])
def test_fusion_is_finite_and_passes_no_gradient(dtype, scale):
    teachers = (drawn(3, 6, 2, scale=1.0) * scale).to(dtype).requires_grad_()
    fused = KF.fuse_teachers(teachers, 0.3)
    assert fused.dtype == torch.float32 and fused.isfinite().all() and not fused.requires_grad


# Personal temperature


def test_personal_temperature_is_where_the_robust_loss_is_least():
    logits, target = drawn(5, 7), torch.tensor([0, 1, 2, 3, 4])
    temperatures = KF.personal_temperature(logits, rho=0.8, low=0.01, high=100.0)
    for row in range(5):

        def loss(tau, row=row):
            tau = float64([tau])
            return KF.tempered_cross_entropy(logits[row : row + 1], target[row : row + 1], tau, rho=0.8).item()

        best = minimize_scalar(loss, bounds=(0.01, 100), method="bounded", options=dict(xatol=1e-10)).x
        assert temperatures[row].item() == pytest.approx(best, rel=1e-4)
    p = (logits / temperatures[:, None]).softmax(dim=1)
    torch.testing.assert_close(divergence(p), torch.full((5,), 0.8, dtype=torch.float64), rtol=0, atol=1e-9)


def test_personal_temperature_stays_in_bounds():
    logits = torch.cat([drawn(3, 4), torch.zeros(1, 4), drawn(1, 4, scale=1e5)])
    temperatures = KF.personal_temperature(logits, rho=0.5, low=2.0, high=5.0)
    assert ((2 <= temperatures) & (temperatures <= 5)).all()
    assert temperatures[3] == 2 and temperatures[4] == 5
    assert (KF.personal_temperature(logits, rho=9.0) == 1).all()  # above log 4


def test_personal_kd_with_one_temperature_is_kd():
    student, teacher = drawn(6, 5), drawn(6, 5, seed=1)
    rows = KF.personal_kd(student, teacher, torch.full((6,), 3.0), reduction="none")
    torch.testing.assert_close(rows, KF.kd(student, teacher, temperature=3.0, reduction="none"))


def test_tempnet_ignores_shifts_and_stays_in_bounds():
    net = TempNet(7, start=3.0, low=1.0, high=9.0, hidden=16).double().eval()
    logits = drawn(5, 7)
    torch.testing.assert_close(net(logits), torch.full((5,), 3.0, dtype=torch.float64))
    torch.nn.init.normal_(net.last.weight, std=30.0)
    tau = net(logits)
    assert tau.std() > 0.01 and ((tau > 1) & (tau < 9)).all()
    torch.testing.assert_close(net(logits + 100), tau)


def test_tempnet_by_hand():
    net = TempNet(3, start=2.0, low=1.0, high=5.0, hidden=4, dropout=0.5).double().eval()
    for p in net.parameters():
        torch.nn.init.normal_(p)
    state = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    z = drawn(1, 3)
    x = z[0].numpy() - z[0].numpy().mean()
    x = x / np.sqrt((x**2).sum())
    h = 1 / (1 + np.exp(-(state["projection.0.weight"] @ x + state["projection.0.bias"])))
    h = state["projection.3.weight"] @ h + state["projection.3.bias"]
    e = np.exp(h / np.exp(state["log_scale"]))
    out = ((e / e.sum() - 1 / 4) * h) @ state["last.weight"][0] + state["last.bias"][0]
    assert net(z).item() == pytest.approx(1 + 4 / (1 + np.exp(-out)))


def test_tempnet_kd_learns_the_personal_temperatures():
    teacher = drawn(32, 10).float() * torch.linspace(0.3, 3, 32)[:, None]
    target = teacher.argmax(dim=1)
    loss = build_loss(dict(type="TempNetKD", num_classes=10, low=0.1, high=12.0, hidden=64, dropout=0.0))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.03)
    goal = KF.personal_temperature(teacher, rho=1.0, low=0.1, high=12.0)

    def robust():
        return KF.tempered_cross_entropy(teacher, target, loss.tempnet(teacher), rho=1.0).item()

    first = robust()
    for _ in range(100):
        optimizer.zero_grad()
        loss(ModelOutput(torch.zeros_like(teacher)), ModelOutput(teacher), target).backward()
        optimizer.step()
    best = KF.tempered_cross_entropy(teacher, target, goal, rho=1.0).item()
    assert best < robust() < best + 0.3 * (first - best)
    # The direction of the logits is all the network sees, so it can't know their scale; on average it gets there.
    assert (loss.tempnet(teacher).mean() - goal.mean()).abs() < (4.0 - goal.mean()).abs()


def test_tempnet_kd_trains_student_and_network_apart():
    student, teacher = drawn(6, 5).requires_grad_(), drawn(6, 5, seed=1)
    target = torch.arange(6) % 5
    losses = [
        build_loss(dict(type="TempNetKD", num_classes=5, dropout=0.0, balance=b)).double().eval() for b in (1.0, 5.0)
    ]
    grads = [torch.autograd.grad(x(ModelOutput(student), ModelOutput(teacher), target), student)[0] for x in losses]
    torch.testing.assert_close(*grads)  # the balance does not reach the student
    expected = torch.autograd.grad(KF.kd(student, teacher, temperature=4.0), student)[0]
    torch.testing.assert_close(grads[0], expected)
    losses[0](ModelOutput(student.detach()), ModelOutput(teacher), target).backward()
    assert losses[0].tempnet.last.weight.grad.abs().max() > 0


# Soft-InfoNCE


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


# Errors


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda x, y: KF.z_loss(x, y, a=0.0), "a must be above 0"),
        (lambda x, y: KF.z_loss(x, y, b=math.nan), "b must be finite"),
        (lambda x, y: KF.comp_sum(x, y, tau=-0.1), "tau must be 0 or more"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x[:1], y), "logits and perturbed_logits"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x, x.softmax(1)), "target must be class indices"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x, y, rho=0.0), "rho must be above 0"),
        (lambda x, y: KF.smooth_adversarial_comp_sum(x, x, y, nu=-1.0), "nu must be 0 or more"),
        (lambda x, y: KF.anchored_kd(x, y, x[:, :2]), "student_logits and anchor_logits"),
        (lambda x, y: KF.anchored_kd(x, y, temperature=0.0), "temperature must be above 0"),
        (lambda x, y: KF.anchored_kd(x, 5 * x), "target must hold soft labels"),
        (lambda x, y: KF.kl_constrained_weights(x, -1.0), "radius must be 0 or more"),
        (lambda x, y: KF.kl_constrained_weights(y, 1.0), "scores must be floating"),
        (lambda x, y: KF.fuse_teachers([]), "at least one teacher"),
        (lambda x, y: KF.fuse_teachers([x, x[:, :2]]), "teacher_logits must have one shape"),
        (lambda x, y: KF.fuse_teachers([x[0]]), "teacher_logits must be floating logits"),
        (lambda x, y: KF.fuse_teachers([x], target=y + 9), "target must hold class indices"),
        (lambda x, y: KF.tempered_cross_entropy(x, y, torch.ones(1)), "temperature must be"),
        (lambda x, y: KF.tempered_cross_entropy(x, y, torch.zeros(2)), "temperature must be above 0"),
        (lambda x, y: KF.tempered_cross_entropy(x, y, torch.ones(2), rho=0.0), "rho must be above 0"),
        (lambda x, y: KF.personal_temperature(x, low=3.0, high=2.0), "0 < low < high"),
        (lambda x, y: KF.soft_info_nce(x, x), "scores must be floating"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:1, :1]), "similarity must be"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:, :2], x[:, :2]), "negatives must be bool"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:, :2], alpha=2.0), "0 <= alpha <= beta"),
        (lambda x, y: KF.soft_info_nce(x[:, :2], x[:, :2], floor=0.0), "floor must be"),
        (lambda x, y: build_loss(dict(type="AnchoredKD", anchor="student")), "anchor"),
        (lambda x, y: build_loss(dict(type="TempNetKD", num_classes=3, temperature=9.0)), "temperature must start"),
        (lambda x, y: build_loss(dict(type="TempNetKD", num_classes=3, balance=0.0)), "balance must be above 0"),
    ],
)
def test_bad_arguments_are_named(call, words):
    from kdzoo.errors import ConfigError

    with pytest.raises((ValueError, ConfigError), match=words):
        call(torch.randn(2, 3), torch.tensor([0, 2]))
