"""What the kernels promise beside their values: edges, inputs, and the operators around the losses."""

import json
import math
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from kdzoo.kernels import launch, pld
from kdzoo.kernels.linear_kd import linear_kd
from kdzoo.kernels.triton import TRITON, scale_rows
from kdzoo.losses import functional as KF

from .reference import CASES, expected

pytestmark = pytest.mark.usefixtures("by_definition")
HEADS = json.loads((Path(__file__).parents[1] / "data" / "heads.json").read_text())
INF = float("inf")
by_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def logits(rows: int = 2, classes: int = 5, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    student, teacher = (scale * torch.randn(rows, classes) for _ in range(2))
    return student, teacher, torch.randint(classes, (rows,))


def same_as_reference(case, given, device, rtol: float = 1e-5, atol: float = 1e-5) -> None:
    """Equal also in where NaN and infinity stand."""
    wanted = expected(case, *given)
    loss, grad = case.call(TRITON[case.name], *(x.to(device) for x in given))
    torch.testing.assert_close(loss.double().cpu(), wanted.loss, rtol=rtol, atol=atol, equal_nan=True)
    if wanted.loss.isfinite().all():
        torch.testing.assert_close(grad.double().cpu(), wanted.grad, rtol=1e-4, atol=atol, equal_nan=True)


@by_case
def test_constant_rows(case, device):
    _, teacher, target = logits()
    same_as_reference(case, (torch.full_like(teacher, 0.3), teacher, target), device)
    student = teacher.clamp(-0.99, 0.99) if case.cosines else teacher
    same_as_reference(case, (student, torch.zeros_like(teacher), target), device)


@by_case
def test_an_infinite_student_logit(case, device):
    student, teacher, target = logits()
    if case.cosines:
        pytest.skip("a cosine is not infinite")
    for value in (-INF, INF):
        changed = student.clone()
        changed[0, (target[0] + 1) % 5] = value
        same_as_reference(case, (changed, teacher, target), device)


@by_case
def test_large_logits(case, device):
    """60 times: float32's own rounding of the logits is what is left."""
    if case.cosines:
        pytest.skip("a cosine is not large")
    given = logits(scale=180.0)
    wanted = expected(case, *given)
    loss, grad = case.call(TRITON[case.name], *(x.to(device) for x in given))
    torch.testing.assert_close(loss.double().cpu(), wanted.loss, rtol=1e-4, atol=1e-3)
    assert grad.isfinite().all()


@pytest.mark.parametrize("name", ["kd", "dkd", "nkd", "binary_kl", "binary_kl_norm", "dist_inter", "pld"])
def test_temperature_of_a_thousandth(name, device):
    case = next(case for case in CASES if case.name == name)
    given = logits()
    options = {**case.options, "temperature": 1e-3, "standardize": False}
    if name not in ("kd", "dkd"):
        del options["standardize"]
    arguments = [x for x, key in zip(given[1:], ("teacher", "target"), strict=True) if key in case.inputs]
    reference = KF.dist if name == "dist_inter" else getattr(KF, name)
    more = {"gamma": 0.0} if name == "dist_inter" else {}
    wanted = reference(given[0].double(), *arguments, reduction="none", **options, **more)
    target = given[2].to(device) if "target" in case.inputs else None
    loss, grad = TRITON[name](given[0].to(device), given[1].to(device), target, **options)
    torch.testing.assert_close(loss.double().cpu(), wanted, rtol=1e-4, atol=1e-6)
    assert grad.isfinite().all()


def test_equal_logits_give_no_loss(device):
    student, _, target = logits(scale=10.0)
    for name in ("kd", "dkd", "binary_kl", "binary_kl_norm"):
        loss, grad = TRITON[name](student.to(device), student.to(device), target.to(device) if name == "dkd" else None)
        assert loss.abs().max() < 2e-6 and grad.abs().max() < 2e-6, name


@by_case
def test_a_label_that_is_no_class_gives_nan(case, device):
    if "target" not in case.inputs:
        pytest.skip("takes no label")
    student, teacher, _ = (x.to(device) for x in logits(rows=1))
    for label in (-100, 5, 2**40):
        loss, _ = case.call(TRITON[case.name], student.clamp(-1, 1), teacher, torch.tensor([label], device=device))
        assert loss.isnan().all(), label


@by_case
def test_loss_alone_and_no_rows(case, device):
    given = [x.to(device) for x in logits(rows=1)]
    given[0] = given[0].clamp(-0.9, 0.9)
    loss, grad = case.call(TRITON[case.name], *given, need_grad=False)
    with_grad, _ = case.call(TRITON[case.name], *given)
    assert grad is None and torch.equal(loss, with_grad)
    loss, grad = case.call(TRITON[case.name], *(x[:0] for x in given))
    assert loss.shape == (0,) and grad.shape == (0, 5)


def test_any_layout(device):
    """Classes that are not neighbours in memory, and one teacher row for all."""
    student, teacher, _ = logits(3, 6)
    wanted = KF.kd(student, teacher[:1].expand(3, 6), reduction="none")
    loss, grad = TRITON["kd"](student.t().contiguous().t().to(device), teacher.to(device)[:1].expand(3, 6))
    torch.testing.assert_close(loss.cpu(), wanted)
    assert grad.is_contiguous()


def test_offsets_of_more_than_31_bits(device):
    """Two rows 2^31 + 64 elements apart; the 4 GiB between them are never touched."""
    apart = 2**31 + 64
    memory = torch.empty(apart + 10, dtype=torch.bfloat16, device=device)
    student = memory.as_strided((2, 10), (apart, 1))
    student.copy_(torch.randn(2, 10))
    teacher = torch.randn(2, 10).bfloat16().to(device)
    loss, _ = TRITON["kd"](student, teacher, need_grad=False)
    torch.testing.assert_close(loss, KF.kd(student.float(), teacher.float(), reduction="none"), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.zeros(2, 5).double(), torch.zeros(2, 5), "student_logits must be float32"),
        (torch.zeros(2, 1), torch.zeros(2, 1), "at least 2 classes"),
        (torch.zeros(2, 5), torch.zeros(3, 5), "must match student_logits"),
        (torch.zeros(5), torch.zeros(5), "student_logits must be float32"),
    ],
)
def test_refuses_other_inputs(student, teacher, message):
    with pytest.raises(ValueError, match=message):
        TRITON["kd"](student, teacher)


def test_refuses_other_targets_and_kinds():
    student, teacher, target = logits()
    with pytest.raises(ValueError, match="int64 class indices"):
        TRITON["nkd"](student, teacher, target.int())
    with pytest.raises(ValueError, match="kind must be one of"):
        TRITON["margin_softmax"](student, None, target, kind="sphere")
    with pytest.raises(ValueError, match="order must be integers"):
        TRITON["pld"](student, teacher, target, order=teacher)


class TestPLD:
    """The ranking: sorted by the kernel, given, or cut off."""

    def test_ties_and_signed_zeros_are_ranked_as_by_the_reference(self, device):
        teacher = torch.tensor([[0.0, 2.0, -0.0, 2.0, -1.0, -1.0, 0.0]])
        student, target = torch.randn(1, 7), torch.tensor([4])
        wanted = KF.pld(student.double(), teacher.double(), target, reduction="none")
        for dtype in (torch.float32, torch.bfloat16, torch.float16):  # 64-bit keys, then 32-bit
            loss, _ = TRITON["pld"](student.to(device), teacher.to(device, dtype), target.to(device))
            torch.testing.assert_close(loss.double().cpu(), wanted, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int32, torch.int64])
    def test_a_kept_order(self, dtype, device):
        student, teacher, target = (x.to(device) for x in logits(3, 20))
        order = teacher.argsort(dim=1, stable=True).to(dtype)
        loss, grad = TRITON["pld"](student, teacher, target, order=order)
        sorted_here, its_grad = TRITON["pld"](student, teacher, target)
        torch.testing.assert_close(loss, sorted_here)
        torch.testing.assert_close(grad, its_grad, rtol=1e-4, atol=1e-6)

    def test_above_the_sort_limit_the_rows_are_sorted_first(self, device, monkeypatch):
        monkeypatch.setattr(pld, "SORT_LIMIT", 32)
        monkeypatch.setattr(pld, "LOOP", launch.Shape(block=32, one=False, warps=1))
        student, teacher, target = logits(1, 33)
        wanted = KF.pld(student.double(), teacher.double(), target, reduction="none")
        loss, _ = TRITON["pld"](student.to(device), teacher.to(device), target.to(device), need_grad=False)
        torch.testing.assert_close(loss.double().cpu(), wanted, rtol=1e-5, atol=1e-5)

    def test_cross_entropy_rides_on_the_first_place(self, device):
        given = logits(2, 6)
        student = given[0].double().requires_grad_()
        wanted = KF.pld(student, *(x.double() if x.is_floating_point() else x for x in given[1:]), ce_weight=0.7)
        loss, grad = TRITON["pld"](*(x.to(device) for x in given), ce_weight=0.7, reduction_scale=0.5)
        torch.testing.assert_close(loss.mean().double().cpu(), wanted.detach(), rtol=1e-5, atol=1e-6)
        (slope,) = torch.autograd.grad(wanted, student)
        torch.testing.assert_close(grad.double().cpu(), slope, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("k", [1, 3, 6])
    def test_top_k_is_the_sum_cut_off(self, k, device):
        student, teacher, target = logits(2, 6)
        wanted, scores = [], student.double().requires_grad_()
        for s, t, y in zip(scores, teacher.double(), target, strict=True):
            ranking = [int(y), *(c for c in t.argsort(descending=True).tolist() if c != y)]
            weight = t.softmax(dim=0)
            wanted.append(sum(weight[c] * (s[ranking[i:]].logsumexp(0) - s[c]) for i, c in enumerate(ranking[:k])))
        given = (x.to(device) for x in (student, teacher, target))
        loss, grad = TRITON["pld_topk"](*given, k=k)
        wanted = torch.stack(wanted)
        torch.testing.assert_close(loss.double().cpu(), wanted.detach(), rtol=1e-5, atol=1e-6)
        (slope,) = torch.autograd.grad(wanted.sum(), scores)
        torch.testing.assert_close(grad.double().cpu(), slope, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["normalized_softmax", "cosface", "arcface", "arcface_big_margin"])
def test_golden_margins(name, device):
    """The official values, on the cosines of their embeddings."""
    given = HEADS[name]
    embeddings, weight = (torch.tensor(given[key]).double() for key in ("embeddings", "W_dxC"))
    cosines = (F.normalize(embeddings, dim=1) @ F.normalize(weight, dim=0)).float().to(device)
    kind = name.split("_")[0] if "softmax" not in name else "none"
    scale = 1 / given["temperature"] if kind == "none" else given["scale"]
    margin = given.get("margin", given.get("margin_rad", 0.0))
    target = torch.tensor(given["labels"], device=device)
    loss, _ = TRITON["margin_softmax"](cosines, None, target, scale=scale, margin=margin, kind=kind)
    assert loss.mean().item() == pytest.approx(given["loss"], rel=1e-5)


def test_arcface_at_the_end_of_the_cosine(device):
    """Where the sine's slope is infinite, the sine counts as a constant."""
    cosines = torch.tensor([[1.0, -0.5], [-1.0, 0.5]], device=device)
    options = dict(scale=2.0, margin=0.5, kind="arcface")
    loss, grad = TRITON["margin_softmax"](cosines, None, torch.zeros(2, dtype=torch.int64, device=device), **options)
    missing = 1 - torch.exp(-loss)
    torch.testing.assert_close(grad[:, 0], -2.0 * missing * torch.tensor([math.cos(0.5), 1.0], device=device))


@pytest.mark.parametrize("name", ["l2_svm", "stablemax_cross_entropy"])
def test_golden_heads(name, device):
    given = HEADS["l2svm_batchmean_classsum" if name == "l2_svm" else "stablemax_ce"]
    student, target = torch.tensor(given["logits"], device=device).float(), torch.tensor(given["labels"], device=device)
    loss, grad = TRITON[name](student, None, target, reduction_scale=1 / len(target))
    assert loss.mean().item() == pytest.approx(given["loss"], rel=1e-5)
    torch.testing.assert_close(grad.double().cpu(), torch.tensor(given["grad_logits"]).double(), rtol=1e-5, atol=1e-6)


class TestScaleRows:
    @pytest.mark.parametrize("factor", [torch.tensor(2.5), torch.tensor([2.0, 0.0, -1.0])], ids=["one", "rows"])
    def test_a_second_backward_finds_the_saved_gradient_as_it_was(self, factor, device):
        saved = torch.randn(3, 37).to(device)
        kept = saved.clone()
        factor = factor.to(device)
        for _ in range(2):
            scaled = scale_rows(saved, factor)
            torch.testing.assert_close(scaled, kept * (factor[:, None] if factor.ndim else factor))
            assert torch.equal(saved, kept)

    def test_in_place(self, device):
        grad = torch.randn(3, 37).to(device)
        kept = grad.clone()
        assert scale_rows(grad, torch.tensor(1.0, device=device), in_place=True) is grad
        assert torch.equal(grad, kept)
        scale_rows(grad, torch.tensor([1.0, 2.0, 3.0], device=device), in_place=True)
        torch.testing.assert_close(grad, kept * torch.tensor([[1.0], [2.0], [3.0]], device=device))

    def test_a_broadcast_factor_has_stride_0(self, device):
        grad = torch.randn(3, 8).to(device)
        torch.testing.assert_close(scale_rows(grad, torch.tensor(0.5, device=device).expand(3)), grad * 0.5)


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("chunk", [None, 2])
def test_linear_kd(standardize, chunk, device):
    features, weight, bias = torch.randn(5, 4), torch.randn(7, 4), torch.randn(7)
    ahead, its_weight = torch.randn(5, 6), torch.randn(7, 6)
    inputs = [x.double().requires_grad_() for x in (features, weight, bias)]
    teacher = (ahead @ its_weight.T).double()
    wanted = KF.kd(F.linear(*inputs), teacher, 2.0, standardize, "none")
    slopes = torch.autograd.grad(wanted.mean(), inputs)
    given = [x.to(device) for x in (features, weight, bias)]
    options = dict(temperature=2.0, standardize=standardize, reduction_scale=1 / 5, chunk=chunk)
    both = (ahead.to(device), its_weight.to(device), None)
    for source in (both, teacher.float().to(device)):
        loss, *grads = linear_kd(*given, source, TRITON["kd"], **options)
        torch.testing.assert_close(loss.double().cpu(), wanted.detach(), rtol=1e-4, atol=1e-5)
        for grad, slope in zip(grads, slopes, strict=True):
            torch.testing.assert_close(grad.double().cpu(), slope, rtol=1e-4, atol=1e-6)
    assert linear_kd(*given, both, TRITON["kd"], need_grad=False, **options)[1:] == (None, None, None)


def test_rows_of_a_thousand_are_read_16_bytes_at_a_time():
    assert launch.common_alignment(1000, 1000) == 8
    assert launch.common_alignment(21841, 21841) == 1
    assert launch.shape_for(1000) == launch.Shape(block=1024, one=True, warps=4)
    assert not launch.shape_for(21841).one
