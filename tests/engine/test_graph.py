"""A captured step, with the CUDA graph's contract acted out on the CPU: fixed inputs, outputs and gradients."""

from types import SimpleNamespace

import pytest
import torch
from torch.utils._pytree import tree_flatten, tree_unflatten

from kdzoo.config import Config
from kdzoo.engine import graph
from kdzoo.engine.experiment import read_experiment
from kdzoo.engine.meters import Meters
from kdzoo.engine.setup import build_training
from kdzoo.engine.step import train_step
from kdzoo.errors import ConfigError

GPU = SimpleNamespace(device=torch.device("cuda"), num_processes=1)


def graphed(module, sample_args, **options):
    """``torch.cuda.make_graphed_callables``: every replay writes the same memory, which autograd is handed detached."""
    plain, parameters, kept = module.forward, tuple(module.parameters()), {}
    assert options["allow_unused_input"]

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx, *inputs):
            for mine, given in zip(sample_args, inputs, strict=False):
                mine.copy_(given)
            with torch.enable_grad():
                outputs, kept["spec"] = tree_flatten(plain(*sample_args))
            kept["outputs"] = outputs
            return tuple(output.detach() for output in outputs)

        @staticmethod
        @torch.autograd.function.once_differentiable
        def backward(ctx, *slopes):
            ends = [(o, s) for o, s in zip(kept["outputs"], slopes, strict=True) if o.requires_grad]
            outputs, slopes = zip(*ends, strict=True)
            found = torch.autograd.grad(outputs, parameters, slopes, allow_unused=True)
            mine = kept.setdefault("gradients", [None if g is None else torch.empty_like(g) for g in found])
            for static, new in zip(mine, found, strict=True):
                if static is not None:
                    static.copy_(new)
            return *(None,) * len(sample_args), *(None if g is None else g.detach() for g in mine)

    module.forward = lambda *inputs: tree_unflatten(Graphed.apply(*inputs, *parameters), kept["spec"])
    for _ in range(3):
        kept["spec"] = tree_flatten(plain(*sample_args))[1]  # the warm-up, which moves the batch-norm statistics


@pytest.fixture
def on_a_gpu(monkeypatch):
    capture = graph.capture
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", graphed)
    monkeypatch.setattr(graph, "capture", lambda _, *rest, **options: capture(GPU, *rest, **options))


def trained(tiny, device="cpu", **runtime):
    tiny["data"]["train_limit"] = 80  # two batches of 32 and one of 16, which runs beside the graph
    tiny["runtime"] |= runtime
    training = build_training(read_experiment(Config(tiny)), device)
    meters = Meters(training.names, torch.device(device))
    training.distiller.train()
    for epoch in range(2):
        for number, batch in enumerate(training.data.train.epoch(epoch)):
            train_step(training, batch, meters, number)
    return training


def test_a_captured_step_is_the_plain_one(tiny, on_a_gpu):
    ours, plain = trained(tiny, cuda_graph=True), trained(tiny, cuda_graph=False)
    assert ours.distiller.forward.__module__ == graph.__name__
    torch.testing.assert_close(ours.student.state_dict(), plain.student.state_dict())


def test_what_can_not_be_captured_is_told(tiny, on_a_gpu, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("CUDA error: operation not permitted when stream is capturing\nmore of it")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fails)
    with pytest.raises(ConfigError, match=r"runtime.cuda_graph: .*CUDA error: operation not permitted.*False") as error:
        trained(tiny, cuda_graph=True)
    assert "\n" not in str(error.value)


@pytest.mark.gpu
@pytest.mark.parametrize("precision, near", [("fp32", 1e-3), ("bf16", 3e-2)])
def test_a_real_graph_trains_as_the_plain_step_does(tiny, precision, near):
    ours, plain = (trained(tiny, "cuda", precision=precision, cuda_graph=captured) for captured in (True, False))
    torch.testing.assert_close(ours.student.state_dict(), plain.student.state_dict(), rtol=near, atol=near)
