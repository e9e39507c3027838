"""AutoAttack's states: runs that were killed, shared or are of another model; seeds."""

import copy
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from autoattack_case import EPS, SHORT, example, same
from safetensors.torch import load_file
from torch import nn

from kdzoo.errors import UserError
from kdzoo.robust.attacks.autoattack import AutoAttack, runner
from kdzoo.robust.attacks.autoattack.state import model_fingerprint
from kdzoo.robust.certify.run import Shard

pytest.importorskip("pyautoattack")


def test_seeds_and_one_image_at_a_time():
    model, x, y = example()
    square = [dict(name="square", queries=15)]
    attack = AutoAttack("Linf", 0.02, "custom", square, chunk=1)
    first = attack.evaluate(model, x, y)
    same(first, attack.evaluate(model, x, y))
    other = replace(attack, seed=1).evaluate(model, x, y)
    assert any(not torch.equal(a, b) for a, b in zip(first.images(x), other.images(x), strict=True))
    before = torch.get_rng_state()
    attack.evaluate(model, x[:2], y[:2])
    assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers were used up"


class Noisy(nn.Module):
    """Random in evaluation mode, as a randomised defence is."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, images):
        return self.network(images + 0.05 * torch.randn_like(images))


def test_a_random_network_gives_the_same_result_in_every_run_and_share(tmp_path):
    model, x, y = example()
    model, results = Noisy(model).eval(), []
    attack = AutoAttack("Linf", 0.02, "custom", [dict(name="apgd-ce", steps=4, eot=2), SHORT[3]], chunk=6)
    for seed, shards in ((1, 1), (2, 1), (3, 2)):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        parts = [attack.evaluate(model, x, y, tmp_path / str(seed), Shard(i, shards)) for i in range(shards)]
        assert torch.equal(before, torch.get_rng_state()), "the caller's random numbers were used up"
        results.append(parts[-1])
    assert 0 < results[0].robust_accuracy < results[0].clean_accuracy
    same(results[0], results[1])
    same(results[0], results[2])


def test_shards_merge_to_the_result_of_one_process(tmp_path):
    model, x, y = example()
    attack = AutoAttack("L1", 3.0, "custom", SHORT, chunk=4)
    whole = attack.evaluate(model, x, y)
    parts = [attack.evaluate(model, x, y, tmp_path, Shard(number, 3)) for number in range(3)]
    assert [part.complete for part in parts] == [False, False, True]
    assert len(parts[0].target) == 8 and parts[0].robust.tolist() == whole.robust[[0, 1, 2, 3, 12, 13, 14, 15]].tolist()
    same(parts[2], whole)
    same(attack.evaluate(model, x, y, tmp_path, Shard(1, 6)), whole)  # nothing is left to do
    with pytest.raises(ValueError, match="too few for 2 processes; use a chunk .* of 2"):
        attack.evaluate(model, x[:4], y[:4], tmp_path / "other", Shard(1, 2))


SCRIPT = """
import sys
from autoattack_case import EPS, SHORT, example
from kdzoo.robust.attacks.autoattack import AutoAttack
model, x, y = example()
AutoAttack("Linf", EPS["Linf"], "custom", SHORT, chunk=4).evaluate(model, x, y, sys.argv[1])
"""


def test_a_killed_run_goes_on_to_the_same_result(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    environment = dict(os.environ, OMP_NUM_THREADS="1", PYTHONPATH=paths)
    process = subprocess.Popen([sys.executable, str(script), str(tmp_path / "state")], env=environment)
    limit = time.monotonic() + 120
    first = tmp_path / "state" / "chunk00001.safetensors"
    while time.monotonic() < limit and not (first.exists() and len(load_file(first)["seconds"]) >= 2):
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    last = tmp_path / "state" / "chunk00005.safetensors"
    assert len(load_file(last)["seconds"]) < 5, "killed too late to test anything"
    model, x, y = example()
    attack = AutoAttack("Linf", EPS["Linf"], "custom", SHORT, chunk=4)
    stages = []
    resumed = attack.evaluate(model, x, y, tmp_path / "state", progress=lambda seen: stages.append(seen))
    whole = attack.evaluate(model, x, y)
    same(resumed, whole)
    assert stages[0].seconds_left > 0 and stages[-1].seconds_left == 0 and stages[-1].done == len(x)


def test_interrupted_between_any_two_attacks_it_goes_on(tmp_path, monkeypatch):
    model, x, y = example()
    attack = AutoAttack("L2", EPS["L2"], "custom", SHORT[:2] + SHORT[3:], chunk=12)
    whole = attack.evaluate(model, x, y)
    real, calls = runner.perturb, []

    def once(*arguments):
        calls.append(arguments[0].name)
        if len(calls) > 1:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(runner, "perturb", once)
    for _ in range(7):
        calls.clear()  # one attack on one chunk gets done, the next is interrupted
        try:
            same(attack.evaluate(model, x, y, tmp_path), whole)
            break
        except KeyboardInterrupt:
            continue
    else:
        pytest.fail("it never came to its end")


def test_a_folder_of_another_run_is_refused_and_left_alone(tmp_path):
    model, x, y = example()
    attack = AutoAttack("Linf", 0.01, "custom", SHORT[:1], chunk=8)
    before = attack.evaluate(model, x, y, tmp_path)
    files = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    other_model, _, _ = example()
    with torch.no_grad():
        other_model[0].weight.add_(1e-3)
    for wrong, arguments, name in [
        (replace(attack, eps=0.02), (model, x, y), "eps"),
        (replace(attack, seed=3), (model, x, y), "seed"),
        (replace(attack, attacks=SHORT[:2]), (model, x, y), "attacks"),
        (replace(attack, chunk=9), (model, x, y), "chunk"),
        (attack, (other_model, x, y), "model"),
        (attack, (model, x.flip(0), y), "images"),
    ]:
        with pytest.raises(UserError, match=f"holds a run with {name} = .*choose another --out"):
            wrong.evaluate(*arguments, tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    same(attack.evaluate(model, x, y, tmp_path), before)
    (tmp_path / "chunk00001.safetensors").write_bytes(b"cut off")
    with pytest.raises(UserError, match="chunk00001.* is damaged.*delete it"):
        attack.evaluate(model, x, y, tmp_path)
    (tmp_path / "key.json").unlink()
    with pytest.raises(UserError, match="no key.json"):
        attack.evaluate(model, x, y, tmp_path)


def test_the_same_weights_in_another_network_are_another_model(tmp_path):
    model, x, y = example()

    class Own(nn.Module):
        def __init__(self, activation):
            super().__init__()
            self.network, self.activation = model, activation

        def forward(self, images):
            return self.activation(self.network(images))

    plain, steep = Own(partial(torch.mul, other=1.0)), Own(partial(torch.mul, other=2.0))
    wider = copy.deepcopy(model)
    next(module for module in wider.modules() if isinstance(module, nn.Conv2d)).dilation = (2, 2)
    names = [model_fingerprint(each) for each in (model, wider, plain, steep, Own(torch.tanh), Own(torch.relu))]
    assert len(set(names)) == 6 and model_fingerprint(Own(torch.relu)) == names[-1]
    attack = AutoAttack("Linf", 0.01, "custom", SHORT[:1])
    attack.evaluate(plain.eval(), x, y, tmp_path)
    with pytest.raises(UserError, match="holds a run with model"):
        attack.evaluate(Own(torch.tanh).eval(), x, y, tmp_path)


class Normalised(nn.Module):
    """A network behind a mean that no state dict holds."""

    def __init__(self, network, mean, as_buffer, wrap=torch.tensor):
        super().__init__()
        self.network = network
        if as_buffer:
            self.register_buffer("shift", torch.tensor([mean]), persistent=False)
        else:
            self.shift = wrap([mean])

    def forward(self, images):
        return self.network(images - torch.as_tensor(self.shift, dtype=images.dtype))


def test_another_normalisation_is_another_model_whether_or_not_the_state_dict_has_it(tmp_path):
    model, x, y = example()
    for kind in ((True, torch.tensor), (False, torch.tensor), (False, np.array)):
        names = [model_fingerprint(nn.Sequential(Normalised(model, mean, *kind))) for mean in (0.1, 0.5, 0.1)]
        assert names[0] == names[2] != names[1]
    assert model_fingerprint(Normalised(model, 0.0, True)) != model_fingerprint(model)
    attack = AutoAttack("Linf", 0.01, "custom", SHORT[:1])
    attack.evaluate(nn.Sequential(Normalised(model, 0.0, True)).eval(), x, y, tmp_path)
    with pytest.raises(UserError, match="holds a run with model"):
        attack.evaluate(nn.Sequential(Normalised(model, 0.1, True)).eval(), x, y, tmp_path)


@pytest.mark.filterwarnings("ignore:.*weight_norm.*:FutureWarning")
def test_a_weight_that_is_made_in_every_pass_does_not_change_the_fingerprint():
    layer = nn.utils.weight_norm(nn.Linear(3, 3))
    other = nn.utils.weight_norm(nn.Linear(3, 3))
    other.load_state_dict(layer.state_dict())
    assert not torch.equal(layer.weight, other.weight) and model_fingerprint(layer) == model_fingerprint(other)
