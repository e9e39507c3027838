"""Every objective on tiny networks, and each against its formula written out on its own."""

import copy

import pytest
import torch
import torch.nn.functional as F

from kdzoo.distill import build_terms, check_term
from kdzoo.errors import ConfigError
from kdzoo.registry import OBJECTIVES
from kdzoo.robust.attacks import apgd_train
from kdzoo.robust.attacks.budget import CIFAR_EPS
from kdzoo.robust.objectives import key_pair, measure_key_pair

SMALL = dict(Linf=0.05, L2=0.42, L1=2.0)
OURS = ("RAMP", "E-AT", "MAX", "SAT", "AVG", "MSD", "AdversarialTraining", "TRADES", "AdversarialCompSum")
TAUGHT = ("ARD", "RSLAD", "IAD")
KINDS = [dict(type=name) for name in OURS + TAUGHT]
SMOOTHING = {"Consistency", "MACER", "SmoothAdv", "SmoothTeacher"}  # in test_smoothing.py
KINDS += [
    dict(type="RAMP", trades=6.0),
    dict(type="RAMP", distance="cosine", pair=["L2", "L1"]),
    dict(type="IAD", begin=0, alpha=0.9),
    dict(type="ARD", alpha=0.5),
    dict(type="TRADES", norm="L2"),
    dict(type="RSLAD", norm="L1"),
]


def build(kind):
    return OBJECTIVES.build(dict(eps=SMALL, steps=3) | kind)


def worst(student, images, target, norm, steps=3):
    """The training attack on a copy in evaluation mode."""
    return apgd_train(copy.deepcopy(student).eval(), images, target, norm, SMALL[norm], steps)


def divergence(p_logits, q_logits, t=1.0):
    return F.kl_div(F.log_softmax(q_logits / t, 1), F.softmax(p_logits / t, 1), reduction="none").sum(1)


@pytest.fixture
def still(networks):
    """The networks without dropout: a loss can be computed twice."""
    for model in networks:
        model[3].p = 0.0
    return networks


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_trains_and_leaves_modes_and_teacher_alone(networks, images, target, kind):
    student, teacher = networks
    objective = build(kind)
    modes = [module.training for module in student.modules()]
    before = copy.deepcopy(teacher.state_dict())
    optimizer = torch.optim.SGD(student.parameters(), lr=0.05)
    values = []
    for step in range(12):
        torch.manual_seed(step % 4)
        loss, logits = objective(student, teacher, images, target)
        assert loss.ndim == 0 and loss.dtype == torch.float32 and logits.shape == (12, 4)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())
        optimizer.step()
        values.append(loss.item())
    assert sum(values[-4:]) < sum(values[:4])
    assert [module.training for module in student.modules()] == modes
    assert all(torch.equal(before[key], value) for key, value in teacher.state_dict().items())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_every_objective_here_is_tested():
    modules = {name: OBJECTIVES.get(name).__module__ for name in OBJECTIVES.names()}
    ours = {name for name, module in modules.items() if module.startswith("kdzoo.robust.objectives.")}
    assert ours == set(OURS + TAUGHT) | SMOOTHING


def test_plain_adversarial_training(still, images, target):
    student, _ = still
    expected = F.cross_entropy(student(worst(student, images, target, "L2").best), target)
    loss, _ = build(dict(type="AdversarialTraining", norm="L2"))(student, None, images, target)
    torch.testing.assert_close(loss, expected)


def test_avg_is_the_mean_over_norms(still, images, target):
    student, _ = still
    attacked = [worst(student, images, target, norm).best for norm in SMALL]
    expected = sum(F.cross_entropy(student(x), target) for x in attacked) / 3
    torch.testing.assert_close(build(dict(type="AVG"))(student, None, images, target)[0], expected)


def test_max_takes_each_images_worst(still, images, target):
    student, _ = still
    found = [worst(student, images, target, norm) for norm in SMALL]
    pick = torch.stack([f.loss for f in found]).argmax(0)
    x = torch.stack([found[norm].best[row] for row, norm in enumerate(pick.tolist())])
    assert len(pick.unique()) > 1
    loss, _ = build(dict(type="MAX"))(student, None, images, target)
    torch.testing.assert_close(loss, F.cross_entropy(student(x), target))


def test_ramp(still, images, target):
    student, _ = still
    q, r = (worst(student, images, target, norm) for norm in ("Linf", "L1"))
    x = torch.stack([a if p > s else b for a, b, p, s in zip(q.best, r.best, q.loss, r.loss, strict=True)])
    held = student(q.best).argmax(1) == target
    assert 0 < held.sum() < 12
    pairing = divergence(student(q.best), student(r.best))[held].mean()
    kind = dict(type="RAMP", lambda_=0.7)
    torch.testing.assert_close(build(kind)(student, None, images, target)[0],
                               F.cross_entropy(student(x), target) + 0.7 * pairing)  # fmt: skip
    trades = F.cross_entropy(student(images), target) + 6 * divergence(student(images), student(x)).mean()
    torch.testing.assert_close(build(kind | dict(trades=6.0))(student, None, images, target)[0], trades + 0.7 * pairing)


def test_ramp_runs_batch_norm_three_times(networks, images, target):
    student, _ = networks
    student[1].train()
    before = student[1].num_batches_tracked.item()
    build(dict(type="RAMP"))(student, None, images, target)
    assert student[1].num_batches_tracked.item() == before + 3


def test_msd_stays_in_one_of_the_balls_and_beats_its_start(still, images, target):
    student, _ = still
    moved = build(dict(type="MSD", steps=10)).wander(student, images, target)
    delta = (moved - images).double().flatten(1)
    orders = dict(Linf=float("inf"), L2=2, L1=1)
    inside = torch.stack([delta.norm(p=orders[n], dim=1) <= SMALL[n] * (1 + 1e-5) for n in SMALL])
    assert inside.any(0).all() and 0 <= moved.min() and moved.max() <= 1
    clean = F.cross_entropy(student(images), target, reduction="none")
    assert (F.cross_entropy(student(moved), target, reduction="none") >= clean - 1e-6).all()


def test_ard(still, images, target):
    student, teacher = still
    logits = student(worst(student, images, target, "Linf").best)
    clean = F.cross_entropy(student(images), target)
    expected = 0.8 * 25 * divergence(teacher(images), logits, 5.0).mean() + 0.2 * clean
    kind = dict(type="ARD", temperature=5.0, alpha=0.8)
    torch.testing.assert_close(build(kind)(student, teacher, images, target)[0], expected)


def pgd(student, images, score, start, steps=3):
    """Linf ascent written out, steps of eps / 4."""
    student, x = copy.deepcopy(student).eval(), start.clamp(0, 1)
    for _ in range(steps):
        x = x.detach().requires_grad_()
        score(student(x)).sum().backward()
        x = (x.detach() + SMALL["Linf"] / 4 * x.grad.sign()).clamp(images - 0.05, images + 0.05).clamp(0, 1)
    return x


def test_rslad(still, images, target):
    student, teacher = still
    taught = teacher(images)
    torch.manual_seed(5)
    x = pgd(student, images, lambda s: divergence(taught, s), images + 0.001 * torch.randn_like(images))
    expected = 5 / 6 * divergence(taught, student(x)).mean() + 1 / 6 * divergence(taught, student(images)).mean()
    torch.manual_seed(5)
    torch.testing.assert_close(build(dict(type="RSLAD"))(student, teacher, images, target)[0], expected)


def test_trades(still, images, target):
    student, _ = still
    before = student(images).detach()
    torch.manual_seed(5)
    x = pgd(student, images, lambda s: divergence(before, s), images + 0.001 * torch.randn_like(images))
    expected = F.cross_entropy(student(images), target) + 4 * divergence(student(images), student(x)).mean()
    torch.manual_seed(5)
    torch.testing.assert_close(build(dict(type="TRADES", beta=4.0))(student, None, images, target)[0], expected)


def test_iad_before_and_after_it_begins(still, images, target):
    student, teacher = still
    x = worst(student, images, target, "Linf").best
    objective = build(dict(type="IAD", beta=0.5, begin=2))
    first = divergence(teacher(images), student(x)).mean()
    objective.set_epoch(1)
    torch.testing.assert_close(objective(student, teacher, images, target)[0], first)
    objective.set_epoch(2)
    trust = teacher(x).softmax(1)[range(12), target].sqrt()
    own = ((1 - trust) * divergence(student(images), student(x))).mean()
    torch.testing.assert_close(objective(student, teacher, images, target)[0], first + own)


def test_eat_draws_by_what_does_not_hold():
    objective = build(dict(type="E-AT"))
    assert objective.probabilities() == [0.5, 0.5]
    objective.held, objective.seen = torch.tensor([30, 0]), torch.tensor([50, 0])
    assert objective.probabilities() == [0.5, 0.5]  # L1 not seen yet
    objective.held, objective.seen = torch.tensor([30, 40]), torch.tensor([50, 50])
    assert objective.probabilities() == pytest.approx([2 / 3, 1 / 3])
    torch.manual_seed(0)
    draws = [objective.draw() for _ in range(3000)]
    assert draws.count(0) / 3000 == pytest.approx(2 / 3, abs=0.03)
    objective.held = objective.seen.clone()
    assert objective.probabilities() == [0.5, 0.5]


def test_eat_counts_and_forgets_by_epoch(networks, images, target):
    student, _ = networks
    objective = build(dict(type="E-AT"))
    _, logits = objective(student, None, images, target)
    assert objective.seen.sum() == 12 and objective.held.sum() == (logits.argmax(1) == target).sum()
    resumed = build(dict(type="E-AT"))
    resumed.load_state_dict(objective.state_dict())
    resumed.set_epoch(0)  # as the engine does when it goes on
    assert resumed.probabilities() == objective.probabilities() and resumed.seen.sum() == 12
    resumed.set_epoch(1)
    assert resumed.seen.sum() == 0


def test_sat_draws_all_norms(networks, images, target):
    objective, asked = build(dict(type="SAT")), []
    objective.attack = lambda student, x, y, norm: asked.append(norm) or worst(student, x, y, norm, 1)
    for seed in range(30):
        torch.manual_seed(seed)
        objective(networks[0], None, images, target)
    assert set(asked) == set(SMALL) and max(map(asked.count, SMALL)) < 20


def test_gradients_reach_the_weights_under_autocast(networks, images, target):
    # An attack without gradients would leave cut-off casts of the weights in autocast's cache.
    student, _ = networks
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = build(dict(type="RAMP"))(student, None, images, target)
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in student.parameters())


def test_budgets():
    assert build(dict(type="MAX", eps=None)).eps == CIFAR_EPS
    assert OBJECTIVES.build(dict(type="MAX", eps=dict(L1=255.0), steps=dict(L1=15))).eps == CIFAR_EPS | {"L1": 255.0}
    assert OBJECTIVES.build(dict(type="MAX", eps=dict(L1=None))).eps == CIFAR_EPS
    assert OBJECTIVES.build(dict(type="MAX", steps=dict(L1=15))).steps == dict(Linf=10, L2=10, L1=15)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (dict(type="RAMP", pair=["Linf"]), "pair must be two different norms"),
        (dict(type="RAMP", lambda_=-1.0), "lambda_ and trades must be 0 or more"),
        (dict(type="MAX", norms=["L3"]), "norm must be one of Linf, L2, L1, got 'L3'"),
        (dict(type="MAX", eps=dict(L7=1.0)), "keys of Linf, L2, L1, got 'L7'"),
        (dict(type="AdversarialTraining", eps=0.0), "eps is expected to be above 0"),
        (dict(type="SAT", steps=0), "steps must be whole numbers of at least 1"),
        (dict(type="SAT", norms=[]), "norms must name one of"),
        (dict(type="MAX", steps=dict(L1=2.5)), "steps must be whole numbers"),
        (dict(type="MAX", eps=dict(L1="12")), "eps of L1 is expected to be a number"),
        (dict(type="TRADES", step_size=-0.1), "step_size must be above 0"),
        (dict(type="RSLAD", step_size=0.0), "step_size must be above 0"),
        (dict(type="AdversarialCompSum", step_size=0.0), "step_size must be above 0"),
        (dict(type="MSD", step_size=0.0), "step_size must be above 0"),
        (dict(type="ARD"), "ARD needs a teacher"),
        (dict(type="IAD", beta=-0.1), "beta and begin must be 0 or more"),
        (dict(type="RAMP", lamda_=1.0), "did you mean 'lambda_'"),
    ],
)
def test_mistakes_are_told(kind, words):
    with pytest.raises(ConfigError, match=words):
        check_term(kind, "losses[0]", taught=kind["type"] != "ARD")
        build_terms([kind])


def test_soft_labels_are_refused(networks, images):
    with pytest.raises(ValueError, match="take Mixup or CutMix out"):
        build(dict(type="MAX"))(networks[0], None, images, torch.rand(12, 4))


def test_in_a_distiller(tiny):
    from kdzoo.engine import train

    tiny |= dict(losses=[dict(type="E-AT", steps=1), dict(type="CrossEntropy", weight=0.5)], epochs=1)
    assert train(tiny, "out", device="cpu")["last"]["top1"] > 0
    tiny |= dict(losses=[dict(type="RSLAD", steps=1)], teacher=dict(name="resnet8", options=dict(widths=(8, 8, 8, 8))))
    assert train(tiny, "taught", device="cpu")["last"]["top1"] > 0


def test_key_pair(networks, images, target):
    assert key_pair(dict(Linf=48.1, L2=68.0, L1=59.9)) == ("Linf", "L1")
    with pytest.raises(ValueError, match="two norms or more"):
        key_pair(dict(L1=1.0))
    student, teacher = networks
    pair, accuracies = measure_key_pair(dict(L2=student, L1=teacher), images, target, SMALL, steps=3)
    expected = {n: (~worst(m, images, target, n).broken).float().mean().item() for n, m in (("L2", student),)}
    assert accuracies["L2"] == expected["L2"] and pair == key_pair(accuracies)
    measure_key_pair(dict(L2=student, Linf=teacher), images, target, dict(L2=0.4), steps=1)  # Linf: as for CIFAR
    with pytest.raises(ValueError, match="norm is expected to be one of"):
        measure_key_pair(dict(linf=student, L1=teacher), images, target, steps=1)
