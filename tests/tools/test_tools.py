"""The commands as a user types them: results, exit codes, and one line for every mistake."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from kdzoo.config import Config
from kdzoo.engine.experiment import read_experiment
from kdzoo.engine.setup import preflight
from kdzoo.engine.study import _expand
from kdzoo.tools import eval_robust, make_configs, test, train

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config(tiny):
    Path("tiny.py").write_text(Config(tiny).dump())
    return "tiny.py"


def test_train_then_test_then_noise(config, capsys):
    assert train.main([config, "--device", "cpu", "--work-dir", "w", "--cfg-options", "epochs=2"]) == 0
    out = capsys.readouterr().out
    assert "resnet8" in out and "report: w/report.html" in out and Path("w/report.html").stat().st_size > 10_000
    metrics = json.loads(Path("w/metrics.json").read_text())
    assert metrics["epochs"] == 2
    assert test.main(["w/config.py", "w/last.safetensors", "--device", "cpu", "--out", "t"]) == 0
    out = capsys.readouterr().out
    assert f"top-1       {metrics['last']['top1']:8.2f} %" in out and "confusion (rows: true" in out
    assert json.loads(Path("t/test.json").read_text())["top1"] == pytest.approx(metrics["last"]["top1"])
    command = [config, "w/last.safetensors", "--device", "cpu", "--sigmas", "0", "0.3", "--out", "r"]
    assert eval_robust.main(command) == 0
    scores = json.loads(Path("r/robust_noise.json").read_text())["scores"]
    assert scores[0] == dict(sigma=0.0, top1=pytest.approx(metrics["last"]["top1"]))


def test_seeds_and_resume(config, capsys):
    command = [config, "--device", "cpu", "--work-dir", "w", "--seeds", "0", "1", "--cfg-options", "epochs=1"]
    assert train.main(command) == 0
    first = capsys.readouterr().out
    assert train.main([*command, "--resume"]) == 0
    assert capsys.readouterr().out == first  # nothing was trained again


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["gone.py"], ["gone.py", "no such config"]),
        (["tiny.py", "--cfg-options", "losses.0.tye=KD"], ["--cfg-options", "losses[0]", "'tye'"]),
        (["tiny.py", "--cfg-options", "optimizer.lrr=1"], ["--cfg-options", "SGD got unknown 'lrr'", "'lr'?"]),
        (["tiny.py", "--cfg-options", "data.type=CIFAR100", "data.root=nowhere"], ["download.py --dataset cifar100"]),
        (["tiny.py", "--cfg-options", "epochs"], ["KEY=VALUE"]),
        (["tiny.py", "--device", "cuda"], ["device"]),
    ],
)
def test_mistakes_are_one_line_and_exit_with_2(config, capsys, words, told):
    if "cuda" in words and __import__("torch").cuda.is_available():
        pytest.skip("there is a GPU")
    assert train.main(words if "--device" in words else [*words, "--device", "cpu"]) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("error: ") and captured.err.count("\n") == 1 and "Traceback" not in captured.err
    for word in told:
        assert word in captured.err


def test_test_takes_a_run_not_a_study(capsys):
    assert test.main(["configs/quickstart.py", "any.safetensors", "--device", "cpu"]) == 2
    assert "a study of several runs; give the config.py" in capsys.readouterr().err


def test_test_refuses_weights_that_do_not_fit(config, capsys):
    assert test.main([config, "gone.safetensors", "--device", "cpu"]) == 2
    assert "gone.safetensors" in capsys.readouterr().err


def test_shipped_configs_are_found_by_name(capsys):
    assert train.main(["configs/quickstart.py", "--device", "cpu", "--cfg-options", "epochs=0"]) == 2
    assert "epochs must be at least 1" in capsys.readouterr().err


def test_the_generated_configs_are_what_the_table_says():
    folder = ROOT / "configs" / "cifar100"
    for path, text in make_configs.configs().items():
        assert (folder / path).read_text() == text, f"{path} is stale; run python tools/make_configs.py"
    held = {
        str(p.relative_to(folder))
        for m in ("teachers", "students", *make_configs.METHODS)
        for p in (folder / m).glob("*")
    }
    assert {p for p in held if p.endswith(".py")} == set(make_configs.configs())


def test_kds_odd_log_weighs_neither_dkd_nor_mlkd():
    pair = make_configs.PAIRS["resnet50-mobilenetv2"]
    assert pair.lskd_weight == 1.0  # as KD's log says
    assert "alpha=9.0, beta=72.0" in make_configs.distilled(pair, "dkd_ls")
    assert "standardize=True, weight=9.0" in make_configs.distilled(pair, "mlkd_ls")
    assert "weight=1.0" in make_configs.distilled(pair, "lskd")


def test_import_is_light():
    # Time is the machine's; what is imported is ours to choose. torch itself costs about 2 s.
    program = "import sys, kdzoo\nprint([m for m in ('torch', 'timm', 'accelerate', 'sklearn') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def configs(*folders):
    return sorted(p for f in folders for p in (ROOT / "configs" / f).rglob("*.py") if p.name != "__init__.py")


@pytest.mark.parametrize("method", ["teachers", "students", "short", *make_configs.METHODS])
def test_every_cifar_config_names_what_there_is(method):
    for path in configs(f"cifar100/{method}"):
        check(path)


@pytest.mark.parametrize("path", configs("imagenet"), ids=lambda p: p.stem)
def test_every_imagenet_config_names_what_there_is(path):
    student, teachers = check(path)
    import timm

    for network in (student, *teachers):
        assert timm.is_model(network.name.split(".")[0]), network.name


def check(path):
    config = Config.from_file(path)
    if "runs" in config:
        return [preflight(read_experiment(run)) for run in _expand(config).values()]
    experiment = read_experiment(config)
    preflight(experiment)
    return experiment.networks()


@pytest.mark.parametrize(
    "place, tool, words",
    [
        ("kdzoo.train", lambda config: train.main([config]), "runtime.accumulate=2"),
        ("kdzoo.engine.testing.test_checkpoint", lambda config: test.main([config, "w"]), "lower test_batch_size"),
        ("kdzoo.engine.testing.load_tested", lambda config: eval_robust.main([config, "w"]), "the task's --batch"),
    ],
    ids=["train", "test", "eval_robust"],
)
def test_a_full_gpu_is_told_in_one_line(config, capsys, monkeypatch, place, tool, words):
    def fails(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    monkeypatch.setattr(place, fails)
    assert tool(config) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert len(told) == 1 and told[0].startswith("error: the GPU's memory is full") and words in told[0]
