"""Golden values, drawn logits and the losses of labels that the tests of kdzoo.losses share."""

import json
import math
from functools import partial
from pathlib import Path

import torch

from kdzoo.losses import functional as KF

GOLDEN = json.loads((Path(__file__).parent / "data" / "heads.json").read_text())


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


def divergence(w):
    return (torch.xlogy(w, w)).sum(dim=-1) + math.log(w.shape[-1])
