"""Invariances, adapters, states and errors of the losses on stage maps and pooled features.

Their values, gradients, precisions and edge cases are in test_every_loss.py, as every loss's.
"""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy_layers import pool

from kdzoo.errors import ConfigError
from kdzoo.losses import build_loss, features
from kdzoo.losses.at import AT, attention, attention_transfer
from kdzoo.losses.crd import CRD, noise_contrast
from kdzoo.losses.fitnet import FitNet, hint
from kdzoo.losses.mgd import MGD, reconstruction
from kdzoo.losses.nst import NST, neuron_selectivity
from kdzoo.losses.ofd import OFD, partial_distance
from kdzoo.losses.pkt import PKT, neighbour_divergence
from kdzoo.losses.review_kd import ReviewKD, hierarchical_context
from kdzoo.losses.rkd import RKD, relational
from kdzoo.losses.sp import SP, similarity_preserving
from kdzoo.losses.srrl import SRRL, squared_error
from kdzoo.losses.vid import VID, gaussian_surprise
from kdzoo.output import ModelOutput
from kdzoo.registry import LOSSES

STUDENT = [(4, 8), (6, 8), (8, 4), (10, 2)]  # stem to last stage: channels, height and width
TEACHER = [(5, 8), (7, 8), (12, 4), (16, 2)]
LARGER = [(5, 16), (7, 16), (12, 8), (16, 4)]
NAMES = ["AT", "CRD", "FitNet", "MGD", "NST", "OFD", "PKT", "RKD", "ReviewKD", "SP", "SRRL", "VID"]
WITH_ADAPTERS = ["CRD", "FitNet", "MGD", "OFD", "ReviewKD", "SRRL", "VID"]
TRAIN_SIZE = 40


def output(maps=STUDENT, size=6, seed=0, relu=False, classes=3):
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randn(size, width, side, side, generator=generator) for width, side in maps]
    drawn = [x.relu() for x in drawn] if relu else drawn
    logits = torch.randn(size, classes, generator=generator)
    return ModelOutput(logits, drawn, drawn[-1].mean((2, 3)), index=torch.arange(size) * 3)


def pair(size=6, student=STUDENT, teacher=TEACHER):
    return output(student, size, seed=1), output(teacher, size, seed=2), torch.arange(size) % 3


def built(name, student, teacher, **arguments):
    torch.manual_seed(0)
    if name == "CRD":
        arguments = dict(dim=8, negatives=16) | arguments
    return build_loss(
        dict(type=name, **arguments),
        student_example=student,
        teacher_example=teacher,
        teacher_classifier=torch.nn.Linear(teacher.pooled.shape[1], teacher.logits.shape[1]),
        train_size=TRAIN_SIZE,
    )


def rotation(width, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.linalg.qr(torch.randn(width, width, generator=generator, dtype=torch.float64))[0]


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


# --- Invariances ---------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 5), st.integers(1, 6), st.integers(0, 2**31), st.floats(0.01, 1000), st.sampled_from([1, 2, 3.5]))
def test_at_sees_neither_the_scale_nor_the_order_of_channels(size, width, seed, scale, power):
    ours, theirs = drawn(size, width, 4, 3, seed=seed), drawn(size, 3, 4, 3, seed=seed + 1)
    plain = attention_transfer(ours, theirs, power)
    torch.testing.assert_close(attention_transfer(ours.flip(1) * scale, theirs / scale, power), plain)
    assert attention_transfer(-ours, ours, power) < 1e-20
    torch.testing.assert_close(attention(ours, power).norm(dim=1), torch.ones(size, dtype=torch.float64))


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**31), st.floats(0.1, 100))
def test_similarities_of_images_survive_rotation_and_scale(size, width, seed, scale):
    ours, theirs = drawn(size, width, seed=seed), drawn(size, 4, seed=seed + 1)
    turned = ours @ rotation(width, seed) * scale
    for loss in (similarity_preserving, neighbour_divergence):
        torch.testing.assert_close(loss(turned, theirs), loss(ours, theirs), rtol=1e-7, atol=1e-12)
        assert loss(turned, ours).abs() < 1e-12


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 6), st.integers(1, 7), st.integers(0, 2**31), st.floats(0.1, 100), st.floats(-50, 50))
def test_rkd_survives_rotation_shift_and_scale(size, width, seed, scale, shift):
    ours, theirs = drawn(size, width, seed=seed), drawn(size, 4, seed=seed + 1)
    moved = ours @ rotation(width, seed) * scale + shift
    torch.testing.assert_close(relational(moved, theirs), relational(ours, theirs), rtol=1e-6, atol=1e-9)
    assert relational(moved, ours) < 1e-9
    assert relational(moved[:1], theirs[:1]) == 0


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 6), st.integers(0, 2**31), st.floats(0.1, 100))
def test_nst_sees_neither_the_order_of_positions_nor_of_channels(size, width, seed, scale):
    ours, theirs = drawn(size, width, 3, 4, seed=seed), drawn(size, 5, 3, 4, seed=seed + 1)
    plain = neuron_selectivity(ours, theirs)
    order = torch.randperm(12, generator=torch.Generator().manual_seed(seed))
    moved = [x.flatten(2)[:, :, order].reshape(x.shape) for x in (ours, theirs)]
    torch.testing.assert_close(neuron_selectivity(*moved), plain)
    torch.testing.assert_close(neuron_selectivity(ours.flip(1) * scale, theirs), plain)
    assert neuron_selectivity(-ours, ours).abs() < 1e-12 and plain > -1e-12


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


# --- Details of single losses --------------------------------------------------------------------


def test_partial_distance_case_by_case():
    ours, theirs = [-2.0, -0.75, -0.25, 3.0], [-3.0, -0.5, 2.0]  # the margin -1 stands for -3
    expected = [[0.0, 0.0, 16.0], [0.0625, 0.0, 7.5625], [0.5625, 0.0625, 5.0625], [16.0, 12.25, 1.0]]
    for x, row in zip(ours, expected, strict=True):
        for t, distance in zip(theirs, row, strict=True):
            maps = torch.tensor([x, t]).view(2, 1, 1, 1, 1)
            assert partial_distance(*maps, torch.tensor([-1.0])).item() == distance


def test_at_survives_powers_that_overflow():
    ours, theirs = output().features[-1] * 1e15, output(TEACHER).features[-1] * 1e-3
    value = attention_transfer(ours.requires_grad_(), theirs, power=4.0)
    value.backward()
    torch.testing.assert_close(value, attention_transfer(ours / 1e15, theirs * 1e3, power=4.0))
    assert ours.grad.isfinite().all()


def test_pkt_is_a_number_for_opposite_vectors():
    ours = torch.randn(64, 300)
    ours = torch.cat([ours, -ours * 3]).requires_grad_()
    value = neighbour_divergence(ours, torch.randn(128, 5))
    value.backward()
    assert value.isfinite() and ours.grad.isfinite().all()


def test_equal_images_pull_on_nothing():
    """The published code passes gradients of up to 1e12 on here."""
    for function in (relational, similarity_preserving, neighbour_divergence):
        ours = torch.full((4, 6), 0.3, requires_grad=True)
        function(ours, torch.randn(4, 5)).backward()
        assert ours.grad.abs().max() < 1e2


def test_vid_fits_its_variance():
    mean, theirs = drawn(4, 3, 5, 5), drawn(4, 3, 5, 5, seed=1) * 2
    variance = (mean - theirs).square().mean((0, 2, 3)).requires_grad_()
    gaussian_surprise(mean, variance, theirs).backward()
    torch.testing.assert_close(variance.grad, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    student, teacher, target = pair()
    loss = built("VID", student, teacher, initial_variance=100.0)
    torch.testing.assert_close(F.softplus(loss.scales[0]), torch.full((7,), 100.0 - 1e-5))


def test_ofd_measures_its_margins_over_all_batches():
    batches = [pair(size) for size in (2, 6, 3)]
    loss = built("OFD", *batches[0][:2])
    for number, (student, teacher, target) in enumerate(batches):
        teacher.features[-1][:, 0] = teacher.features[-1][:, 0].abs()  # never below zero
        teacher.features[-1] += number
        loss(student, teacher, target)
    seen = torch.cat([teacher.features[-1] for _, teacher, _ in batches]).transpose(0, 1).flatten(1)
    expected = torch.stack([x[x < 0].mean() if (x < 0).any() else torch.tensor(0.0) for x in seen])
    torch.testing.assert_close(loss.margins[-1].mean, expected)
    assert loss.margins[-1].mean[0] == 0
    loss.eval()
    loss(*batches[0])
    torch.testing.assert_close(loss.margins[-1].mean, expected)


def test_ofd_after_a_relu_compares_what_the_relu_leaves():
    student, teacher = output(), output(TEACHER, seed=3, relu=True)
    loss = built("OFD", student, teacher, stages=[[-1, -1]])
    ours = loss.connectors[0](student.features[-1])
    theirs = teacher.features[-1]
    expected = torch.where(theirs > 0, ours - theirs, ours.relu()).square().sum() / len(ours)
    torch.testing.assert_close(loss(student, teacher, None), expected)


def test_mgd_masks_the_asked_part_anew_at_every_call():
    student, teacher, target = pair(size=200)
    ones = ModelOutput(student.logits, [torch.ones(200, 16, 2, 2)])
    for kind, shape in (("channel", (200, 16, 1, 1)), ("position", (200, 1, 2, 2))):
        loss = built("MGD", ones, teacher, masked=0.3, mask=kind)
        seen = []
        loss.generator.register_forward_pre_hook(lambda module, inputs, seen=seen: seen.append(inputs[0]))
        values = [loss(ones, teacher, target).item() for _ in range(2)]
        assert values[0] != values[1]
        kept = seen[0]
        assert torch.equal(kept, kept.amax([d for d in range(1, 4) if shape[d] == 1], keepdim=True).expand_as(kept))
        assert kept.unique().tolist() == [0, 1] and 1 - kept.mean() == pytest.approx(0.3, abs=0.05)


# --- CRD's memory --------------------------------------------------------------------------------


def test_crd_remembers_the_images_it_saw():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher, momentum=0.25)
    before = {key: entry.clone() for key, entry in loss.state_dict().items()}
    loss(student, teacher, target)
    seen = torch.zeros(TRAIN_SIZE, dtype=torch.bool)
    seen[student.index] = True
    for who, model in (("student", student), ("teacher", teacher)):
        memory, old = getattr(loss, f"{who}_memory"), before[f"{who}_memory"]
        embedded = F.normalize(getattr(loss, f"embed_{who}")(model.pooled))
        expected = F.normalize(0.25 * old[seen] + 0.75 * embedded)
        torch.testing.assert_close(memory[seen], expected)
        assert torch.equal(memory[~seen], old[~seen])
    assert torch.equal(loss.labels[seen], target) and (loss.labels[~seen] == -1).all()


def test_crd_sets_its_normalizers_once():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher, negatives=1000)
    means = []
    for who, other in (("student", "teacher"), ("teacher", "student")):
        model = student if who == "student" else teacher
        anchors = F.normalize(getattr(loss, f"embed_{who}")(model.pooled))
        means.append((anchors @ getattr(loss, f"{other}_memory").T / 0.07).exp().mean())
    loss(student, teacher, target)
    expected = (torch.stack(means) * TRAIN_SIZE).log()  # 1000 draws come near the mean over all
    torch.testing.assert_close(loss.log_z, expected, atol=0.15, rtol=0)
    first = loss.log_z.clone()
    loss(*pair(size=3))
    assert torch.equal(loss.log_z, first) and loss.has_z


def test_crd_in_evaluation_changes_nothing():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher).eval()
    before = {key: entry.clone() for key, entry in loss.state_dict().items()}
    assert loss(student, teacher, target).isfinite()
    assert all(torch.equal(entry, before[key]) for key, entry in loss.state_dict().items())


def test_crd_leaves_out_images_of_the_same_class():
    student, teacher, target = pair()
    one_class = torch.ones_like(target)
    others = torch.ones(TRAIN_SIZE, dtype=torch.bool)
    others[student.index] = False
    for label, changes in ((1, False), (0, True)):
        values = []
        for memory in (0.1, -0.3):
            loss = built("CRD", student, teacher, negatives=50)
            loss.has_z.fill_(True)
            loss.labels.fill_(label)
            loss.student_memory[others] = loss.teacher_memory[others] = memory
            torch.manual_seed(3)
            values.append(loss(student, teacher, one_class))
        assert (values[0] != values[1]).item() == changes


def test_crd_resumes_from_its_state():
    student, teacher, target = pair()
    loss = built("CRD", student, teacher)
    loss(student, teacher, target)
    copy = built("CRD", student, teacher)
    copy.load_state_dict(loss.state_dict())
    values = []
    for module in (loss, copy):
        torch.manual_seed(5)
        values.append(module(student, teacher, target))
    assert torch.equal(*values)


def test_crd_takes_soft_labels_and_a_target_for_a_class():
    student, teacher, target = pair()
    values = []
    for labels in (target, F.one_hot(target, 3).float() * 0.9 + 0.1 / 3):
        loss = built("CRD", student, teacher)
        torch.manual_seed(3)
        values.append(loss(student, teacher, labels))
    assert torch.equal(*values)


# --- Adapters ------------------------------------------------------------------------------------


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


def test_srrl_leaves_the_teachers_classifier_alone():
    student, teacher, target = pair()
    classifier = torch.nn.Sequential(torch.nn.Dropout(0.5), torch.nn.Linear(16, 3))
    before = [p.clone() for p in classifier.parameters()]
    loss = SRRL(student_example=student, teacher_example=teacher, teacher_classifier=classifier)
    assert not [name for name, _ in [*loss.named_modules(), *loss.named_parameters()] if "classifier" in name]
    assert not [key for key in loss.state_dict() if "classifier" in key]
    loss.train()
    ours = [x.requires_grad_() for x in student.features]
    first = loss(student, teacher, target)
    first.backward()
    assert torch.equal(first, loss(student, teacher, target))  # no dropout
    assert ours[-1].grad.abs().max() > 0 and all(p.grad is None for p in classifier.parameters())
    assert all(map(torch.equal, classifier.parameters(), before))
    classifier.bfloat16()  # a teacher in half precision
    assert loss(student, teacher, target).item() == pytest.approx(first.item(), rel=0.02)


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


# --- Errors --------------------------------------------------------------------------------------


def without(model, **changes):
    fields = dict(logits=model.logits, features=model.features, pooled=model.pooled, index=model.index)
    return ModelOutput(**{**fields, **changes})


def examples(student=STUDENT, teacher=TEACHER):
    return dict(student_example=output(student), teacher_example=output(teacher))


DEEP = [*STUDENT, (12, 1)]
BAD_ARGUMENTS = [
    (lambda: AT(power=0.5), "power must be at least 1"),
    (lambda: AT(stages=[[1]]), r"stages must be pairs"),
    (lambda: SP(stages=[]), r"stages must be pairs"),
    (lambda: NST(stages=[1, 2]), r"stages must be pairs"),
    (lambda: RKD(angle_weight=-1.0), "angle_weight must be 0 or more"),
    (lambda: FitNet(hint_layer=7, **examples()), "FitNet cannot pair stage 7 of the student's 4 maps"),
    (lambda: FitNet(student_example=output(), teacher_example=None), "FitNet needs a teacher's stage maps"),
    (lambda: VID(eps=0.0, **examples()), "eps must be between 0 and initial_variance"),
    (lambda: VID(**examples(student=DEEP)), r"5 maps and the teacher 4; say which .* stages="),
    (lambda: OFD(**examples([(4, 8)], [(4, 8)])), "skips the stem"),
    (lambda: MGD(masked=1.0, **examples()), "masked must be in"),
    (lambda: MGD(mask="pixel", **examples()), "mask must be 'channel' or 'position'"),
    (lambda: ReviewKD(max_width=0, **examples()), "max_width must be at least 1"),
    (lambda: SRRL(**examples()), "SRRL needs the teacher's classifier"),
    (lambda: SRRL(**examples(), teacher_classifier=torch.nn.Linear(16, 4)), r"gives \[6, 4\].*are \[6, 3\]"),
    (lambda: SRRL(beta=-1.0, **examples(), teacher_classifier=torch.nn.Linear(16, 3)), "beta must be 0 or more"),
    (lambda: CRD(momentum=1.0, train_size=5, **examples()), "momentum must be in"),
    (lambda: CRD(negatives=0, train_size=5, **examples()), "negatives and train_size must be at least 1"),
    (lambda: CRD(temperature=0.0, train_size=5, **examples()), "temperature must be above 0"),
]


@pytest.mark.parametrize(("call", "words"), BAD_ARGUMENTS)
def test_bad_arguments_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


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


@pytest.mark.parametrize(
    ("index", "words"),
    [
        (None, "CRD needs student.index.*use a loss without a memory"),
        (torch.arange(5), r"student.index must be int64 \[6\]"),
        (torch.arange(6).float(), "student.index must be int64"),
        (torch.arange(6) + TRAIN_SIZE, r"must be in \[0, 40\).*got 40 to 45"),
    ],
)
def test_crd_needs_an_index(index, words):
    student, teacher, target = pair()
    with pytest.raises(ValueError, match=words):
        built("CRD", student, teacher)(without(student, index=index), teacher, target)


def test_a_config_tells_the_place():
    with pytest.raises(ConfigError, match=r"losses\[1\].*FitNet needs 'student_example'"):
        build_loss(dict(type="FitNet"), "losses[1]")
    with pytest.raises(ConfigError, match=r"losses\[1\].*AT expects float for 'power'"):
        build_loss(dict(type="AT", power="2"), "losses[1]")
    with pytest.raises(ConfigError, match=r"losses\[0\].*SRRL.*teacher's classifier"):
        build_loss(dict(type="SRRL"), "losses[0]", **examples())
