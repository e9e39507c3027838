"""What the losses on stage maps and pooled features share: invariances, adapters, sizes, errors."""

import pytest
import torch
from feature_case import LARGER, NAMES, STUDENT, WITH_ADAPTERS, built, drawn, examples, output, pair, rotation, without
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_layers import pool

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss, features
from kdzoo.losses.at import AT, attention_transfer
from kdzoo.losses.crd import noise_contrast
from kdzoo.losses.fitnet import hint
from kdzoo.losses.mgd import reconstruction
from kdzoo.losses.nst import NST, neuron_selectivity
from kdzoo.losses.ofd import partial_distance
from kdzoo.losses.pkt import PKT, neighbour_divergence
from kdzoo.losses.review_kd import hierarchical_context
from kdzoo.losses.rkd import relational
from kdzoo.losses.sp import similarity_preserving
from kdzoo.losses.srrl import squared_error
from kdzoo.losses.vid import gaussian_surprise
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**31), st.floats(0.1, 100))
def test_similarities_of_images_survive_rotation_and_scale(size, width, seed, scale):
    ours, theirs = drawn(size, width, seed=seed), drawn(size, 4, seed=seed + 1)
    turned = ours @ rotation(width, seed) * scale
    for loss in (similarity_preserving, neighbour_divergence):
        torch.testing.assert_close(loss(turned, theirs), loss(ours, theirs), rtol=1e-7, atol=1e-12)
        assert loss(turned, ours).abs() < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(0, 2**31))
def test_equal_maps_have_no_distance(size, seed):
    x = drawn(size, 3, 5, 6, seed=seed)
    assert hint(x, x) == 0 and hierarchical_context(x, x) == 0 and reconstruction(x, x) == 0
    assert partial_distance(x, x, torch.full((3,), -100.0)) == 0 and squared_error(x[:, :, 0, 0], x[:, :, 0, 0]) == 0


VARIANCE = torch.rand(4, dtype=torch.float64) + 0.5


KEPT = torch.rand(5, 7) < 0.6


ROWS = {
    "hint": (hint, (5, 4, 4, 4), (5, 4, 4, 4)),
    "attention_transfer": (attention_transfer, (5, 3, 4, 4), (5, 4, 4, 4)),
    "similarity_preserving": (similarity_preserving, (5, 3, 4, 4), (5, 4, 2, 2)),
    "relational": (relational, (5, 6), (5, 4)),
    "neighbour_divergence": (neighbour_divergence, (5, 6), (5, 4)),
    "neuron_selectivity": (neuron_selectivity, (5, 3, 4, 4), (5, 4, 4, 4)),
    "gaussian_surprise": (lambda s, t, **k: gaussian_surprise(s, VARIANCE, t, **k), (5, 4, 3, 3), (5, 4, 3, 3)),
    "partial_distance": (lambda s, t, **k: partial_distance(s, t, -VARIANCE, **k), (5, 4, 3, 3), (5, 4, 3, 3)),
    "hierarchical_context": (hierarchical_context, (5, 4, 8, 8), (5, 4, 8, 8)),
    "squared_error": (squared_error, (5, 4), (5, 4)),
    "reconstruction": (reconstruction, (5, 4, 3, 3), (5, 4, 3, 3)),
    "noise_contrast": (lambda s, t, **k: noise_contrast(s, t, KEPT, torch.tensor(0.3), **k), (5,), (5, 7)),
}


@pytest.mark.parametrize("name", ROWS)
def test_reductions(name):
    function, ours, theirs = ROWS[name]
    ours, theirs = drawn(*ours, seed=1), drawn(*theirs, seed=2)
    rows = function(ours, theirs, reduction="none")
    assert rows.shape == (5,) and rows.unique().numel() == 5
    torch.testing.assert_close(function(ours, theirs), rows.mean())
    torch.testing.assert_close(function(ours, theirs, reduction="sum"), rows.sum())
    with pytest.raises(ValueError, match="reduction must be"):
        function(ours, theirs, reduction="average")


def test_equal_images_pull_on_nothing():
    """The published code passes gradients of up to 1e12 on here."""
    for function in (relational, similarity_preserving, neighbour_divergence):
        ours = torch.full((4, 6), 0.3, requires_grad=True)
        function(ours, torch.randn(4, 5)).backward()
        assert ours.grad.abs().max() < 1e2


def test_which_losses_have_adapters():
    student, teacher, _ = pair()
    trainable = [name for name in NAMES if list(built(name, student, teacher).parameters())]
    assert trainable == WITH_ADAPTERS
    assert set(NAMES) <= set(LOSSES.names())
    assert all(LOSSES.get(name).needs_teacher and LOSSES.get(name).needs_features for name in NAMES)
    assert [name for name in NAMES if getattr(LOSSES.get(name), "needs_index", False)] == ["CRD"]


@pytest.mark.parametrize("name", WITH_ADAPTERS)
def test_adapters_learn(name):
    student, teacher, target = pair(size=8)
    loss = built(name, student, teacher)
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.03)
    values = []
    for _ in range(60):
        torch.manual_seed(1)
        values.append(loss(student, teacher, target))
        optimizer.zero_grad()
        values[-1].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in loss.parameters())
        optimizer.step()
    assert values[-1] < values[0] - 0.1 * abs(values[0])


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("maps", [LARGER, [(3, 4), (7, 3), (9, 3), (16, 1)]], ids=["larger", "smaller"])
def test_maps_of_other_sizes(name, maps):
    for student, teacher, target in (pair(teacher=maps), pair(student=maps, teacher=STUDENT), pair(1, teacher=maps)):
        maps_in = [x.requires_grad_() for x in student.features]
        student.pooled = maps_in[-1].mean((2, 3))
        value = built(name, student, teacher)(student, teacher, target)
        value.backward()
        assert value.isfinite() and all(x.grad is None or x.grad.isfinite().all() for x in maps_in)


def test_the_larger_map_is_average_pooled():
    student, teacher, target = pair(teacher=LARGER)
    pooled = [torch.from_numpy(pool(x.numpy(), side)) for x, (_, side) in zip(teacher.features, STUDENT, strict=True)]
    small = ModelOutput(teacher.logits, pooled, teacher.pooled)
    for name in ("AT", "FitNet", "MGD", "NST", "VID"):
        values = []
        for theirs in (teacher, small):
            loss = built(name, student, teacher)
            torch.manual_seed(2)
            values.append(loss(student, theirs, target))
        torch.testing.assert_close(*values)
    for name in ("AT", "NST"):  # no adapters: the roles can be exchanged
        values = [built(name, theirs, student)(theirs, student, target) for theirs in (teacher, small)]
        torch.testing.assert_close(*values)


def test_a_batch_of_one_pixel_has_no_variance():
    norm = features.AdapterNorm(3)
    x = torch.randn(1, 3, 1, 1, requires_grad=True)
    torch.testing.assert_close(norm(x), x / (1 + 1e-5) ** 0.5)
    with pytest.raises(ValueError, match="more than 1 value"):
        torch.nn.BatchNorm2d(3)(x)


def test_tokens_become_a_grid():
    grid = torch.randn(2, 5, 4, 4)
    tokens = grid.flatten(2).transpose(1, 2)
    extra = torch.randn(2, 2, 5)
    for lead in range(3):
        torch.testing.assert_close(features.as_map(torch.cat([extra[:, :lead], tokens], dim=1)), grid)
    assert features.as_map(torch.randn(2, 7, 5)).shape == (2, 5, 1, 7)
    values = []
    for theirs in (grid, torch.cat([extra[:, :1], tokens], dim=1)):
        taught = ModelOutput(torch.zeros(2, 3), [theirs, theirs])
        student = output([(4, 8), (6, 8)], size=2)
        values.append(AT()(student, taught, None))
    torch.testing.assert_close(*values)


def test_losses_read_the_stages_they_say():
    student, teacher, target = pair()
    reads = {"FitNet": {2}, "SP": {3}, "MGD": {3}, "SRRL": {3}, "RKD": set(), "PKT": set(), "CRD": set()}
    reads |= {name: {1, 2, 3} for name in ("AT", "NST", "VID", "OFD", "ReviewKD")}
    assert set(reads) == set(NAMES)
    for name, expected in reads.items():
        maps = [x.detach().requires_grad_() for x in student.features]
        pooled = student.pooled.detach().requires_grad_()
        ours = ModelOutput(student.logits, maps, pooled, index=student.index)
        built(name, ours, teacher)(ours, teacher, target).backward()
        assert {k for k, x in enumerate(maps) if x.grad is not None} == expected, name
        assert (pooled.grad is not None) == (name in ("RKD", "PKT", "CRD", "ReviewKD")), name


@pytest.mark.parametrize("name", NAMES)
def test_compiled_gradients(name):
    torch.compiler.reset()
    student, teacher, target = pair()
    inputs = [*student.features, student.pooled]
    grads = []
    for compiled in (False, True):
        loss = built(name, student, teacher)
        torch.manual_seed(4)
        for x in inputs:
            x.grad = None
            x.requires_grad_()
        call = torch.compile(loss, fullgraph=True, backend="aot_eager") if compiled else loss
        call(student, teacher, target).backward()
        grads.append([x.grad for x in inputs if x.grad is not None] + [p.grad for p in loss.parameters()])
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize("name", NAMES)
def test_missing_and_broken_features_are_named(name):
    student, teacher, target = pair()
    loss = built(name, student, teacher)
    pooled = name in ("RKD", "PKT", "CRD")
    empty = dict(pooled=None) if pooled else dict(features=[])
    needed = "needs pooled" if pooled else "stage maps but features is empty"
    with pytest.raises(ValueError, match=f"{name} .*{needed}|{name} needs the student's {needed}"):
        loss(without(student, **empty), teacher, target)
    with pytest.raises(ValueError, match=f"{name} needs .*teacher.*cached teacher logits"):
        loss(student, ModelOutput(teacher.logits), target)
    with pytest.raises(ValueError, match=f"{name} needs a teacher"):
        loss(student, None, target)
    with pytest.raises(ValueError, match="one batch size, got 6 and 5"):
        loss(student, pair(size=5)[1], target)
    nothing = float("nan")
    broken = dict(pooled=student.pooled * nothing) if pooled else dict(features=[x * nothing for x in student.features])
    with pytest.raises(ValueError, match=r"student\.(pooled|features\[-?\d\]) must be numbers, got NaN"):
        loss(without(student, **broken), teacher, target)


def test_shapes_of_features_are_checked():
    student, teacher, target = pair()
    with pytest.raises(ValueError, match=r"student.features\[1\] must be \[B, D, H, W\] or tokens"):
        AT()(without(student, features=[x[0, 0] for x in student.features]), teacher, target)
    with pytest.raises(ValueError, match=r"student.features\[1\] must be floating"):
        AT()(without(student, features=[x.long() for x in student.features]), teacher, target)
    with pytest.raises(ValueError, match=r"pooled \[B, D\].*got \[6, 10, 1, 1\]"):
        PKT()(without(student, pooled=student.pooled[:, :, None, None]), teacher, target)
    with pytest.raises(ValueError, match="AT pairs equal numbers of stages .* 3 maps and the teacher 4"):
        AT()(without(student, features=student.features[:3]), teacher, target)
    stages = [[-2, -2], [-1, -1]]
    assert AT(stages=stages)(without(student, features=student.features[1:]), teacher, target).isfinite()
    assert NST(stages=stages)(student, teacher, target).isfinite()


def test_a_config_tells_the_place():
    with pytest.raises(ConfigError, match=r"losses\[1\].*FitNet needs 'student_example'"):
        build_loss(dict(type="FitNet"), "losses[1]")
    with pytest.raises(ConfigError, match=r"losses\[1\].*AT expects float for 'power'"):
        build_loss(dict(type="AT", power="2"), "losses[1]")
    with pytest.raises(ConfigError, match=r"losses\[0\].*SRRL.*teacher's classifier"):
        build_loss(dict(type="SRRL"), "losses[0]", **examples())
