"""Whole runs on a few digits, shared by the tests of the engine."""

import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine import train


def run(cfg, folder="out", **keywords):
    return train(Config(cfg, "tiny.py"), folder, device="cpu", **keywords)


def same_weights(one, two, name="last.safetensors"):
    a, b = load_file(one / name), load_file(two / name)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def interrupt_after(monkeypatch, steps):
    """Ctrl-C during the given step."""
    import signal

    from kdzoo.engine import loop

    genuine, count = loop.train_step, [0]

    def step(*arguments):
        count[0] += 1
        if count[0] == steps:
            signal.raise_signal(signal.SIGINT)
        genuine(*arguments)

    monkeypatch.setattr(loop, "train_step", step)
