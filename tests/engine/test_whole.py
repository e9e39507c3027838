"""Sharded weights are gathered into a whole network, which is evaluated and kept."""

import copy
from pathlib import Path

import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine.experiment import read_experiment
from kdzoo.engine.loop import fit
from kdzoo.engine.setup import build_training


def test_what_is_evaluated_and_kept_is_the_whole_network(tiny):
    for name in ("plain", "sharded"):
        training = build_training(read_experiment(Config(tiny | dict(epochs=1))), "cpu")
        assert training.whole is None and training.evaluated is training.student
        if name == "sharded":  # as build_training does under FSDP, where the student alone can't be run
            training.whole = copy.deepcopy(training.student)
            training.student.forward = None
        Path(name).mkdir()
        progress = fit(training, Path(name), name, resume=False)
        assert progress.last["epoch"] == 1
    plain, sharded = (load_file(f"{name}/last.safetensors") for name in ("plain", "sharded"))
    assert plain.keys() == sharded.keys() and all(torch.equal(plain[key], sharded[key]) for key in plain)
