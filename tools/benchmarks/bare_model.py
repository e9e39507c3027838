"""The networks alone, on one batch that lies ready: what a training step can't be faster than."""

from collections.abc import Callable, Iterator

import torch
from torch import nn


class BareModel:
    """Teacher forward, student forward and backward; no data, no loss, no optimizer.

    The batch is fixed and channels_last. On a GPU the work is replayed as one CUDA graph, so that the
    limit is the arithmetic's and not the launches'.

    Args:
        name: in the table.
        teacher: ``None`` for the student alone, the limit of a step whose teacher logits are known.
        student: images [B, 3, 32, 32] to logits.
        precision: ``"fp32"``, or of autocast.
        batch_size: B.
        device: where to compute.
    """

    limit = None
    DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}

    def __init__(
        self, name: str, teacher: nn.Module | None, student: nn.Module, precision: str, batch_size: int,
        device: torch.device,
    ):
        place = dict(device=device, memory_format=torch.channels_last)
        self.name, self.precision, self.device = name, precision, device
        self.teacher = None if teacher is None else teacher.to(**place).eval()
        self.student = student.to(**place).train()
        self.images = torch.rand(batch_size, 3, 32, 32).to(**place)
        self.run: Callable[[], None] = self.once if device.type != "cuda" else captured(self.once)

    def steps(self, number: int, count: int) -> Iterator[int]:
        """Do the work ``count`` times; yields the images of each."""
        for _ in range(count):
            self.run()
            yield len(self.images)

    def once(self) -> None:
        self.student.zero_grad(set_to_none=True)
        dtype = self.DTYPES.get(self.precision)
        # A graph must not keep the casts of autocast's cache, which are freed when the context ends.
        with torch.autocast(self.device.type, dtype, dtype is not None, cache_enabled=self.device.type != "cuda"):
            if self.teacher is not None:
                with torch.no_grad():
                    self.teacher(self.images)
            logits = self.student(self.images)
        logits.float().sum().backward()


def captured(work: Callable[[], None]) -> Callable[[], None]:
    """``work`` as one CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # the libraries choose their kernels before the capture
        for _ in range(3):
            work()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay
