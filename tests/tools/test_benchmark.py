"""tools/benchmark.py train: fair timing, the real engine, sane numbers, and one line for a mistake."""

import csv
import gc
import math
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from importlib.metadata import version

import numpy as np
import pytest
import torch

from kdzoo.errors import UserError
from kdzoo.losses import functional as KF
from kdzoo.models import create_model
from kdzoo.tools.benchmark import main
from kdzoo.tools.benchmarks import plain_loop, timing, train
from kdzoo.tools.benchmarks.images import find_images
from kdzoo.tools.benchmarks.kdzoo_loop import KdzooLoop, experiment, mean_known
from kdzoo.tools.benchmarks.plain_loop import Pictures, PlainLoop
from kdzoo.tools.benchmarks.results import append_rows

TINY = ["--pair", "resnet8-resnet8", "--images", "48", "--batch-size", "8", "--rounds", "1", "--steps", "2"]


@pytest.fixture(autouse=True)
def _no_data_one_thread(monkeypatch):
    monkeypatch.delenv("KDZOO_DATA", raising=False)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def test_the_table_and_the_csv_say_the_same(tmp_path, capsys):
    file = tmp_path / "speed.csv"
    assert main(["train", *TINY, "--device", "cpu", "--csv", str(file)]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "resnet8 -> resnet8, batch 8, 48 synthetic images"
    rows = list(csv.DictReader(file.open()))
    assert [row["variant"] for row in rows] == [
        "plain loop",
        "kdzoo fp32",
        "kdzoo fp32, first run's teacher cache",
        "kdzoo fp32, warm teacher cache",
        "kdzoo bf16",
        "kdzoo bf16, first run's teacher cache",
        "kdzoo bf16, warm teacher cache",
        "bare fp32",
        "bare fp32, student",
        "bare bf16",
        "bare bf16, student",
    ]
    rate = {row["variant"]: float(row["images_per_second_p50"]) for row in rows}
    for row in rows:
        name = row["variant"]
        assert rate[name] > 0 and float(row["times_plain"]) == pytest.approx(rate[name] / rate["plain loop"], rel=0.01)
        line = next(line for line in printed if line.startswith(f"{name}  "))
        assert float(line.split()[-4].replace(",", "")) == pytest.approx(rate[name], abs=1)
        assert (row["teacher"], row["student"], row["batch_size"], row["device"]) == ("resnet8", "resnet8", "8", "cpu")
        assert row["data"] == "synthetic" and row["torch"] == version("torch") and row["threads"] == "1"
        assert abs(datetime.now(timezone.utc) - datetime.fromisoformat(row["date"])) < timedelta(hours=1)
    share = {row["variant"]: row["of_limit"] for row in rows}
    for name, limit in (("plain loop", "bare fp32"), ("kdzoo bf16, warm teacher cache", "bare bf16, student")):
        assert float(share[name]) == pytest.approx(rate[name] / rate[limit], rel=0.01)
    assert share["bare fp32"] == ""


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["--rounds", "0"], "--rounds is 0; use 1 or more"),
        (["--steps", "0"], "--steps is 0; use 1 or more"),
        (["--batch-size", "1"], "--batch-size is 1; use 2 or more"),
        (["--images", "4"], "--images is 4; use 8 or more"),
        (["--pair", "resnet20"], "expected TEACHER-STUDENT"),
        (["--student", "resnet9"], "unknown model 'resnet9' (did you mean"),
        (["--root", "nowhere"], "train_images.npy is missing"),
        (["--csv", "other.csv"], "other.csv has other columns"),
        (["--precision", "fp16"], "fp16 needs a GPU"),
    ],
)
def test_a_mistake_is_one_line(tmp_path, capsys, arguments, words):
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    assert main(["train", *TINY, "--device", "cpu", *arguments]) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and told.count("\n") == 1 and words in told


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(capsys):
    assert main(["train", *TINY, "--device", "cuda"]) == 2
    assert capsys.readouterr().err == "error: there is no CUDA device here; take --device cpu\n"


def test_help_does_not_load_torch():
    code = "import sys; from kdzoo.tools.benchmark import main\ntry:\n    main(['train', '--help'])\n"
    code += "except SystemExit:\n    pass\nassert not {'torch', 'numpy'} & set(sys.modules), 'heavy'"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--precision" in done.stdout


class Clockwork:
    """A contestant whose steps take a known time on a clock that only it moves."""

    limit = None

    def __init__(self, name, clock, lead_seconds, seconds, log):
        self.name, self.clock, self.lead_seconds, self.seconds, self.log = name, clock, lead_seconds, seconds, log

    def steps(self, number, count):
        self.log.append((number, self.name))
        try:
            for step in range(count):
                assert not gc.isenabled()
                self.clock[0] += self.lead_seconds if step < timing.LEAD else self.seconds
                yield 10
        finally:
            self.log.append((number, f"{self.name} closed"))


def test_rounds_alternate_and_only_the_steps_after_the_lead_count(monkeypatch):
    clock, log = [0.0], []
    monkeypatch.setattr(timing.time, "perf_counter", lambda: clock[0])
    pair = [Clockwork("a", clock, 7.0, 0.5, log), Clockwork("b", clock, 3.0, 0.25, log)]
    rates = timing.interleave(pair, rounds=2, steps=4, device=torch.device("cpu"))
    assert rates == {"a": [20.0, 20.0], "b": [40.0, 40.0]}
    order = [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b")]
    assert log == [entry for number, name in order for entry in ((number, name), (number, f"{name} closed"))]
    assert gc.isenabled()


def test_the_factor_is_taken_within_rounds():
    # The machine was three times slower in the second round: it tells nothing of the loops.
    rates = {"plain loop": [100.0, 30.0, 90.0], "kdzoo fp32": [200.0, 66.0, 180.0]}
    rows = train.summarise(rates, dict.fromkeys(rates))
    assert rows[1]["times_plain"] == 2.0 and rows[1]["p50"] == 180.0 and rows[1]["of_limit"] is None


def test_the_verdict_names_who_reached_the_target_and_who_missed_it():
    rows = [
        dict(variant="plain loop", times_plain=1.0),
        dict(variant="kdzoo fp32", times_plain=1.49),
        dict(variant="kdzoo bf16", times_plain=1.5),
        dict(variant="bare bf16", times_plain=9.0),
    ]
    told = train.verdict(rows, ("cpu", "resnet20", "resnet8", 128))
    assert told[1:] == ["  reached by: kdzoo bf16", "  missed by: kdzoo fp32"] and "1.5 times" in told[0]
    assert train.verdict(rows, ("cpu", "resnet20", "resnet8", 64)) == []


def test_a_gpu_gets_the_graph_and_the_compiled_step():
    assert [(name, runtime) for name, _, runtime in train.variants(["bf16"], "cuda") if "cache" not in name] == [
        ("kdzoo bf16", dict(precision="bf16")),
        ("kdzoo bf16, CUDA graph", dict(precision="bf16", cuda_graph=True)),
        ("kdzoo bf16, compiled", dict(precision="bf16", compile=True)),
    ]
    cached = [(limit, runtime) for name, limit, runtime in train.variants(["fp16"], "cuda") if "cache" in name]
    assert cached == [
        (None, dict(precision="fp16", teacher_cache=True)),
        ("bare fp16, student", dict(precision="fp16", teacher_cache=True)),
        (None, dict(precision="fp16", teacher_cache=True, compile=True)),
        ("bare fp16, student", dict(precision="fp16", teacher_cache=True, compile=True)),
    ]


@pytest.mark.gpu
def test_all_variants_run_on_a_gpu(capsys):
    assert main(["train", *TINY, "--images", "256", "--device", "cuda"]) == 0
    assert "kdzoo bf16, CUDA graph, warm teacher cache" in capsys.readouterr().out


@pytest.fixture
def noise(tmp_path):
    folder = tmp_path / "noise"
    folder.mkdir()
    return find_images(None, 40, folder)


def loop(noise, tmp_path, **runtime):
    runtime |= dict(cache_dir=str(tmp_path / "cache"))
    return KdzooLoop("kdzoo", experiment(noise.data, "resnet8", "resnet8", 8, runtime), "cpu", "bare fp32")


def test_a_warm_cache_asks_the_teacher_nothing_more(noise, tmp_path):
    warm = loop(noise, tmp_path, teacher_cache=True)
    warm.fill_cache(rounds=2, steps=7)  # more than the 5 steps of an epoch
    cache = warm.training.cache
    assert cache.computed > 0
    before, served = cache.computed, cache.served
    assert list(warm.steps(0, 7)) == [8] * 7 and list(warm.steps(1, 7)) == [8] * 7
    assert cache.computed == before and cache.served == served + 2 * 7 * 8


def test_a_first_runs_cache_knows_its_share_of_the_views(noise, tmp_path):
    first = loop(noise, tmp_path, teacher_cache=True)
    first.fill_cache(rounds=1, steps=25, share=0.5)
    cache = first.training.cache
    before = cache.computed
    assert list(first.steps(0, 25)) == [8] * 25
    # Of the 200 images drawn some views come twice in any case, so a few more than half are known.
    assert 70 <= cache.computed - before <= 110


def test_the_share_of_known_views_is_that_of_a_simulated_run():
    generator = torch.Generator().manual_seed(0)
    seen, known = torch.zeros(2000, 9, dtype=torch.bool), 0
    for _ in range(12):
        view = torch.randint(9, (2000, 1), generator=generator)
        known += int(seen.gather(1, view).sum())
        seen.scatter_(1, view, True)
    assert mean_known(epochs=12, views=9) == pytest.approx(known / (12 * 2000), abs=0.01)
    assert mean_known() == pytest.approx(0.478, abs=0.001)


def test_loops_in_one_process_keep_their_own_precision_and_train(noise, tmp_path):
    loops = {precision: loop(noise, tmp_path, precision=precision) for precision in ("bf16", "fp32")}
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16), ("fp32", torch.float32)):
        student, seen = loops[precision].training.student, []
        before = student.network.fc.weight.detach().clone()
        with_hook = student.network.fc.register_forward_hook(lambda _, __, logits, seen=seen: seen.append(logits.dtype))
        assert list(loops[precision].steps(0, 1)) == [8]
        with_hook.remove()
        assert seen == [dtype] and not torch.equal(before, student.network.fc.weight)


def test_the_plain_loop_trains_on_pictures_and_on_nothing_of_kdzoo_but_the_networks(noise, monkeypatch):
    monkeypatch.setattr(plain_loop, "WORKERS", 0)
    teacher, student = (create_model("resnet8", 100).network for _ in range(2))
    plain = PlainLoop(teacher, student, Pictures(noise.images, noise.labels), 8, torch.device("cpu"), cores=2)
    taught = [p.clone() for p in teacher.parameters()]
    before = student.fc.weight.detach().clone()
    # More steps than an epoch has, without an end in between.
    assert list(plain.steps(0, 7)) == [8] * 7
    assert not torch.equal(before, student.fc.weight)
    assert all(torch.equal(a, b) for a, b in zip(taught, teacher.parameters(), strict=True))


def test_the_plain_pictures_are_the_recipes():
    grey = np.full((1, 32, 32, 3), 51, dtype=np.uint8)
    image, label, index = Pictures(grey, np.array([7]))[0]
    assert (image.shape, image.dtype, label, index) == ((3, 32, 32), torch.float32, 7, 0)
    inside, border = (0.2 - 0.5071) / 0.2675, (0.0 - 0.5071) / 0.2675  # the pad is black before normalisation
    values = image[0].unique()
    assert all(math.isclose(v, inside, abs_tol=1e-5) or math.isclose(v, border, abs_tol=1e-5) for v in values.tolist())
    assert image[0, 16, 16].item() == pytest.approx(inside, abs=1e-5)


def test_the_plain_loss_is_kd():
    student, teacher = torch.randn(6, 100), torch.randn(6, 100)
    plain = PlainLoop.__new__(PlainLoop)
    plain.temperature = 4.0
    assert plain.kd(student, teacher).item() == pytest.approx(KF.kd(student, teacher, 4.0).item(), rel=1e-5)
    ranked = torch.arange(10.0).flip(0).expand(4, 10)  # class 0 first, class 9 last
    right = plain_loop.accuracy(ranked, torch.tensor([0, 4, 5, 0]))
    assert [value.item() for value in right] == [50.0, 75.0]


def test_rows_are_appended_under_one_header(tmp_path):
    file = tmp_path / "rows.csv"
    append_rows(file, [dict(a=1, b="x, y")])
    append_rows(file, [dict(a=2, b="z")])
    assert file.read_text() == 'a,b\n1,"x, y"\n2,z\n'
    with pytest.raises(UserError, match="other columns"):
        append_rows(file, [dict(c=1)])
    assert file.read_text().count("\n") == 3
