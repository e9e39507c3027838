"""One CUDA graph for the forward and backward of a step: small networks at batch 64 wait for launches."""

import copy

import torch
from accelerate import Accelerator
from torch import nn

from kdzoo.data import Data
from kdzoo.engine.experiment import Experiment, Runtime
from kdzoo.errors import ConfigError


def capture(
    accelerator: Accelerator, distiller: nn.Module, experiment: Experiment, settings: Runtime, data: Data, cached: bool
) -> None:
    """Replace ``distiller.forward`` by a graph for full batches; the odd last batch runs as before.

    Raises:
        ConfigError: no single GPU, gradient accumulation, fp16 (its loss scale is read on the host),
            or an augmentation whose targets differ from batch to batch in shape.
    """
    place = "runtime.cuda_graph"
    if accelerator.device.type != "cuda" or accelerator.num_processes > 1:
        raise ConfigError("a CUDA graph needs exactly one GPU; set it to False here", place)
    if settings.accumulate > 1 or settings.precision == "fp16" or settings.compile:
        raise ConfigError("a CUDA graph goes with accumulate=1, precision fp32 or bf16 and compile=False", place)
    batch = next(iter(data.train.epoch(0)))
    arguments = [batch.images.clone(), batch.target.clone()]
    if cached:
        arguments.append(torch.zeros(len(batch.images), data.num_classes, device=accelerator.device))
    before = copy.deepcopy(distiller.state_dict())  # the warm-up moves batch-norm statistics
    plain = distiller.forward
    distiller.train()
    try:  # a parameter that no loss reaches keeps no gradient, as in a step without a graph
        torch.cuda.make_graphed_callables(distiller, tuple(arguments), allow_unused_input=True)
    except RuntimeError as error:  # a loss or a layer that waits for the device, or too little memory
        cause = str(error).strip().splitlines() or [type(error).__name__]
        raise ConfigError(f"no CUDA graph can be made of this step ({cause[0]}); set it to False", place) from error
    graphed = distiller.forward
    distiller.load_state_dict(before)
    distiller.zero_grad(set_to_none=True)
    shape, kind = batch.images.shape, batch.target.shape

    def forward(images, target, teacher_logits=None, index=None, second=None):
        # No index and no second view: build_training refuses losses that need them.
        if not distiller.training or images.shape != shape or target.shape != kind:
            return plain(images, target, teacher_logits)
        if teacher_logits is None:
            return graphed(images, target)
        return graphed(images, target, teacher_logits.float())

    distiller.forward = forward
