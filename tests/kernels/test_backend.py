"""Which backend is taken, what a wrong one says, and what happens when a kernel fails."""

import subprocess
import sys
import warnings

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from kdzoo.heads import ArcFaceHead, CosFaceHead
from kdzoo.heads.svm import l2_svm_loss
from kdzoo.kernels import dispatch, native, ops
from kdzoo.losses import functional as KF


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.delenv("KDZOO_BACKEND", raising=False)
    monkeypatch.setattr(dispatch, "_failed", set())
    monkeypatch.setitem(dispatch.SMALLEST_ON_CPU, "kd", 0)
    monkeypatch.setitem(dispatch.SMALLEST_ON_CPU, "ce_kd", 0)


@pytest.fixture
def pair():
    return torch.randn(4, 6, requires_grad=True), torch.randn(4, 6)


def is_fused(loss):
    return type(loss.grad_fn).__name__ == "_DirectBackward"


def test_another_devices_memory_is_never_read_as_the_cpus():
    """In a process of its own, for what this was is a segmentation fault."""
    for call in ("KF.kd(s, m)", "KF.ce_kd(s, t, y.to('meta'))", "KF.pld(s, t, y, order=o.to('meta'))"):
        code = (
            "import torch; from kdzoo.losses import functional as KF; s = torch.randn(256, 100, requires_grad=True); "
            "t = torch.randn(256, 100); m = t.to('meta'); y = torch.zeros(256, dtype=torch.int64); o = t.argsort(1)\n"
            f"try: {call}\nexcept (RuntimeError, NotImplementedError) as error: print('told', error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0 and "told" in done.stdout, done


CALLS = {
    "kd": lambda s, t, y, **options: KF.kd(s, t, **options),
    "ce_kd": lambda s, t, y, **options: KF.ce_kd(s, t, y, **options),
    "dkd": lambda s, t, y, **options: KF.dkd(s, t, y, **options),
    "nkd": lambda s, t, y, **options: KF.nkd(s, t, y, **options),
    "pld": lambda s, t, y, **options: KF.pld(s, t, y, **options),
    "pld_topk": lambda s, t, y, **options: KF.pld_topk(s, t, y, k=3, **options),
    "binary_kl": lambda s, t, y, **options: KF.binary_kl(s, t, **options),
    "binary_kl_norm": lambda s, t, y, **options: KF.binary_kl_norm(s, t, **options),
    "cross_entropy": lambda s, t, y, **options: KF.cross_entropy(s, y, **options),
    "stablemax_cross_entropy": lambda s, t, y, **options: KF.stablemax_cross_entropy(s, y, **options),
}


@pytest.mark.parametrize("name", CALLS)
def test_auto_and_torch_on_the_cpu(name, pair):
    target = torch.tensor([0, 5, 2, 2])
    eager = CALLS[name](*pair, target, backend="torch")
    assert not is_fused(eager)
    auto = CALLS[name](*pair, target)
    assert is_fused(auto) == (name in dispatch.SMALLEST_ON_CPU)
    near = dict(rtol=1e-5, atol=1e-4 if name == "dkd" else 3e-6)  # float32 times DKD's weight of beta T^2 = 128
    torch.testing.assert_close(auto, eager, **near)
    for reduction in ("sum", "none"):
        both = (CALLS[name](*pair, target, reduction=reduction, backend=backend) for backend in ("auto", "torch"))
        torch.testing.assert_close(*both, **near)
    with pytest.raises(ValueError, match="reduction must be"):
        CALLS[name](*pair, target, reduction="avg")


@pytest.mark.parametrize("name", CALLS)
def test_triton_through_the_interpreter(name, pair):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the kernels are compiled here, not interpreted")
    target = torch.tensor([0, 5, 2, 2])
    loss = CALLS[name](*pair, target, backend="triton")
    assert is_fused(loss) and not dispatch._failed
    (grad,) = torch.autograd.grad(loss, pair[0])
    eager = CALLS[name](*pair, target, backend="torch")
    torch.testing.assert_close(loss, eager, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(grad, torch.autograd.grad(eager, pair[0])[0], rtol=1e-5, atol=1e-6)


class Made(TorchDispatchMode):
    """Types of the [4, 6] tensors that operations make anew."""

    def __init__(self):
        super().__init__()
        self.types = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **kwargs or {})
        if isinstance(made, torch.Tensor) and made.shape == (4, 6):
            self.types.add(made.dtype)
        return made


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [name for name in CALLS if name != "pld_topk"])  # whose selection is in float32
def test_the_kernel_alone_widens_half_precision(name, dtype, pair):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the kernels are compiled here, not interpreted")
    student, teacher = (x.detach().to(dtype) for x in pair)
    student.requires_grad_()
    target = torch.tensor([0, 5, 2, 2])
    with Made() as made:
        loss = CALLS[name](student, teacher, target, backend="triton")
        (grad,) = torch.autograd.grad(loss, student)
    assert made.types == {dtype} and not dispatch._failed  # a float32 copy of the batch would cost more than the loss
    wide = student.detach().float().requires_grad_()
    eager = CALLS[name](wide, teacher.float(), target, backend="torch")
    torch.testing.assert_close(loss, eager, rtol=1e-5, atol=1e-5)
    wanted = torch.autograd.grad(eager, wide)[0]
    torch.testing.assert_close(grad, wanted.to(dtype), rtol=torch.finfo(dtype).eps, atol=1e-4)


@pytest.mark.parametrize("name", CALLS)
def test_the_reference_widens_half_precision(name, pair):
    student, teacher = (x.detach().bfloat16() for x in pair)
    target = torch.tensor([0, 5, 2, 2])
    wide = CALLS[name](student.float(), teacher.float(), target, backend="torch")
    assert torch.equal(CALLS[name](student, teacher, target, backend="torch"), wide)


def test_soft_labels_of_half_precision_logits_keep_their_digits():
    logits, soft = torch.randn(3, 7).bfloat16(), torch.rand(3, 7)
    soft = soft / soft.sum(dim=1, keepdim=True)
    assert torch.equal(KF.cross_entropy(logits, soft), KF.cross_entropy(logits.float(), soft))


def test_a_label_on_another_gpu_takes_no_kernel():
    with FakeTensorMode():
        first, second = (torch.zeros(4, dtype=torch.int64, device=f"cuda:{i}") for i in (0, 1))
        student, teacher = torch.zeros(2, 4, 6, device="cuda:0")
        order = torch.zeros(4, 6, dtype=torch.int64, device="cuda:1")
        assert dispatch._covered(student, teacher, first, {})
        assert not dispatch._covered(student, teacher, second, {})
        assert not dispatch._covered(student, teacher.to("cuda:1"), first, {})
        assert not dispatch._covered(student, teacher, first, dict(order=order))


@pytest.mark.parametrize("version, capability", [("3.2.0", (7, 5)), ("3.2.0", (8, 0)), ("3.10.1+git1", (7, 5))])
def test_bfloat16_takes_no_kernel_where_none_compiles(version, capability, monkeypatch):
    monkeypatch.setattr(pytest.importorskip("triton"), "__version__", version)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda index: capability)
    monkeypatch.setattr(dispatch, "_runs_triton", lambda device: True)
    new = version != "3.2.0" or capability >= (8, 0)
    with FakeTensorMode():
        wide, narrow = (torch.zeros(4, 6, device="cuda:0", dtype=dtype) for dtype in (torch.float32, torch.bfloat16))
        assert dispatch._covered(narrow, narrow, None, {}) == dispatch._covered(wide, narrow, None, {}) == new
        assert dispatch._covered(wide, wide, None, {}) and dispatch._covered(wide.half(), None, None, {})
        assert dispatch.engine_by_chunks("auto", narrow) == ("triton" if new else "cpu")
        assert dispatch.engine_by_chunks("auto", wide) == "triton"


def test_dist_and_the_heads_take_their_kernels(pair, monkeypatch):
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        pytest.skip("the kernels are compiled here, not interpreted")
    student, teacher = pair
    target, features, asked = torch.tensor([0, 5, 2, 2]), torch.randn(4, 3), []
    fused_call = dispatch.ops.call
    monkeypatch.setattr(dispatch.ops, "call", lambda name, *a, **kw: asked.append(name) or fused_call(name, *a, **kw))
    heads = (ArcFaceHead(3, 6, scale=8.0), CosFaceHead(3, 6, scale=8.0))

    def losses():
        yield KF.dist(student, teacher, temperature=2.0)
        yield l2_svm_loss(student, target, C=0.5)
        yield from (head.loss(head(features), target) for head in heads)

    def slopes(found):
        leaves = (student, student, *(head.weight for head in heads))
        return [torch.autograd.grad(loss, leaf)[0] for loss, leaf in zip(found, leaves, strict=True)]

    plain = list(losses())
    assert not asked  # on the CPU they are not faster
    monkeypatch.setenv("KDZOO_BACKEND", "triton")
    found = list(losses())
    assert asked == ["dist_inter", "l2_svm", "margin_softmax", "margin_softmax"] and not dispatch._failed
    for left, right in zip(found + slopes(found), plain + slopes(plain), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-5, atol=1e-6)


def test_torch_vmap_takes_the_reference():
    student, teacher, target = torch.randn(3, 4, 6), torch.randn(3, 4, 6), torch.randint(6, (3, 4))
    for loss in (KF.kd, KF.dkd, KF.pld):
        given = (student, teacher) if loss is KF.kd else (student, teacher, target)
        each = torch.stack([loss(*parts) for parts in zip(*given, strict=True)])
        torch.testing.assert_close(torch.vmap(loss)(*given), each, rtol=1e-5, atol=1e-4 if loss is KF.dkd else 3e-6)


def test_the_approximation_of_pld_is_pld_for_every_place(pair):
    target = torch.tensor([0, 5, 2, 2])
    exact = KF.pld(*pair, target, temperature=2.0, backend="torch")
    for k in (6, 100):
        torch.testing.assert_close(KF.pld_topk(*pair, target, k=k, temperature=2.0), exact)
    first = KF.pld_topk(*pair, target, k=1, reduction="none", backend="torch")
    weight = pair[1].softmax(dim=1).gather(1, target[:, None]).squeeze(1)
    torch.testing.assert_close(first, weight * torch.nn.functional.cross_entropy(*(pair[0], target), reduction="none"))
    assert KF.pld_topk(*pair, target, k=3, temperature=2.0) < exact
    for wrong in (0, 4097, 2.5):
        with pytest.raises(ValueError, match="k must be a whole number from 1 to 4096"):
            KF.pld_topk(*pair, target, k=wrong)


def test_what_no_fused_form_covers_goes_to_the_reference(pair):
    student, teacher = pair
    temperature = torch.tensor(3.0, requires_grad=True)
    loss = KF.kd(student, teacher, temperature)
    assert not is_fused(loss)
    loss.backward()
    assert temperature.grad is not None
    soft = teacher.softmax(dim=1)
    assert not is_fused(KF.ce_kd(student, teacher, soft)) and not is_fused(KF.stablemax_cross_entropy(student, soft))
    assert KF.kd(student, teacher.double()).dtype == torch.float64
    slope = torch.func.grad(KF.kd)(student.detach(), teacher)
    torch.testing.assert_close(slope, torch.autograd.grad(KF.kd(student, teacher), student)[0])
    _, moved = torch.func.jvp(lambda s: KF.kd(s, teacher), (student.detach(),), (torch.ones(4, 6),))
    torch.testing.assert_close(moved, slope.sum())


def test_the_environment_goes_before_the_argument(pair, monkeypatch):
    monkeypatch.setenv("KDZOO_BACKEND", "torch")
    assert not is_fused(KF.kd(*pair, backend="auto"))
    monkeypatch.setenv("KDZOO_BACKEND", "auto")
    assert is_fused(KF.kd(*pair, backend="torch"))
    monkeypatch.setenv("KDZOO_BACKEND", "cuda")
    with pytest.raises(ValueError, match="KDZOO_BACKEND must be 'auto', 'torch' or 'triton', got 'cuda'"):
        KF.kd(*pair)


def test_small_batches_go_to_the_reference(pair, monkeypatch):
    assert dispatch.covers("kd", pair[0]) == (native.library() is not None)  # C pays at any size
    monkeypatch.setattr(dispatch, "covers", lambda name, student: False)
    monkeypatch.setitem(dispatch.SMALLEST_ON_CPU, "kd", 25)
    assert not is_fused(KF.kd(*pair)) and is_fused(KF.kd(*pair, standardize=True))
    monkeypatch.setitem(dispatch.SMALLEST_ON_CPU, "kd", 24)
    assert is_fused(KF.kd(*pair))


def test_an_unknown_backend_is_told(pair):
    with pytest.raises(ValueError, match="backend must be 'auto', 'torch' or 'triton', got 'cuda'"):
        KF.kd(*pair, backend="cuda")


def test_triton_where_it_cannot_run_is_told(pair, monkeypatch):
    monkeypatch.setattr(dispatch, "_triton", lambda: None)
    with pytest.raises(ValueError, match="backend 'triton' needs Triton and logits on a CUDA device"):
        KF.kd(*pair, backend="triton")


def test_a_kernel_that_fails_warns_once_and_is_replaced(pair, monkeypatch):
    class Broken:
        @staticmethod
        def kd(*tensors, **options):
            raise RuntimeError("no such instruction\nand a long listing")

        @staticmethod
        def scale_rows(grad, factor, in_place):
            return grad * factor

        TRITON = {"kd": kd}

    monkeypatch.setattr(dispatch, "_triton", lambda: Broken)
    monkeypatch.setattr(dispatch, "_runs_triton", lambda device: True)
    with pytest.warns(UserWarning, match=r"kernel kd failed \(RuntimeError: no such instruction\), plain PyTorch"):
        loss = KF.kd(*pair, backend="triton")
    torch.testing.assert_close(loss, KF.kd(*pair, backend="torch"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KF.kd(*pair, backend="triton").backward()


def test_inputs_at_fault_do_not_cost_the_kernel(pair):
    student, teacher = pair
    with pytest.raises(RuntimeError, match="size"):
        ops.call("kd", student, teacher[:, :5], None, "mean", "triton", temperature=4.0, standardize=False)
    assert not dispatch._failed


def test_kdzoo_works_where_triton_is_not_installed():
    code = (
        "import sys; sys.modules['triton'] = None\n"
        "import torch, kdzoo; from kdzoo.losses import functional as KF\n"
        "s = torch.randn(3, 4, requires_grad=True); KF.kd(s, s.detach() + 1).backward()\n"
        "try:\n    KF.kd(s, s, backend='triton')\nexcept ValueError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout.startswith("backend 'triton' needs Triton"), done.stderr


def test_compiles_with_the_choice_inside(pair):
    torch.compiler.reset()
    compiled = torch.compile(lambda s: KF.kd(s, pair[1]), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(pair[0]), KF.kd(*pair))
