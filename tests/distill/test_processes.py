"""Two processes under DDP learn what one learns from the whole batch."""

import os

import pytest
import torch
import torch.multiprocessing as mp
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kdzoo.distill import AlignedGradients, Distiller, build_terms, loss_context
from kdzoo.output import ModelOutput

LOSSES = [
    dict(type="CrossEntropy", weight=0.1),
    dict(type="CTKD", weight=2.0),
    dict(type="BinaryKLNorm", until_epoch=1),  # off, but its head must not upset DDP
]


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.classifier = nn.Linear(12, 8), nn.Linear(8, 5)

    def outputs(self, images, features=False):
        pooled = self.body(images.flatten(1)).tanh()
        return ModelOutput(self.classifier(pooled), [], pooled)


def distiller_of(align):
    torch.manual_seed(0)
    student, teacher = Network(), Network()
    terms = build_terms(LOSSES, **loss_context(student, teacher, torch.zeros(2, 3, 2, 2), 60, 7))
    distiller = Distiller(student, terms, teacher, align=align)
    distiller.set_epoch(1)
    return distiller


def batch():
    generator = torch.Generator().manual_seed(1)
    return torch.rand(8, 3, 2, 2, generator=generator), torch.randint(5, (8,), generator=generator)


def step(distiller, raw, images, target, align, world):
    if not align:
        distiller(images, target).total.backward()
        return
    gradients = AlignedGradients(raw.parameters())
    if world == 1:
        gradients.add(*raw.split(distiller(images, target)))
        gradients.write()
        return

    def mean(flat):
        torch.distributed.all_reduce(flat)
        return flat / world

    with distiller.no_sync():
        gradients.add(*raw.split(distiller(images, target)))
    gradients.write(reduce=mean)


def work(rank, world, align, folder):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    raw = distiller_of(align)
    images, target = (x.chunk(world)[rank] for x in batch())
    step(DistributedDataParallel(raw), raw, images, target, align, world)
    torch.save([p.grad for p in raw.parameters()], f"{folder}/{rank}.pt")
    torch.distributed.barrier()  # who leaves first breaks the other's connection
    os._exit(0)  # gloo's threads sometimes abort the interpreter's own way out; what counts is on disk


@pytest.mark.slow
@pytest.mark.parametrize("align", [False, True])
def test_two_processes(tmp_path, align):
    mp.spawn(work, (2, align, str(tmp_path)), nprocs=2)
    whole = distiller_of(align)
    step(whole, whole, *batch(), align, 1)
    for rank in range(2):
        ours = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        torch.testing.assert_close(ours, [p.grad for p in whole.parameters()])
