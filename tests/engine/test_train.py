"""Whole runs on a few digits: what they write, what they repeat, and what they refuse."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kdzoo.config import Config
from kdzoo.engine import train
from kdzoo.engine.loop import Interrupted
from kdzoo.errors import UserError


def run(cfg, folder="out", **keywords):
    return train(Config(cfg, "tiny.py"), folder, device="cpu", **keywords)


def same_weights(one, two, name="last.safetensors"):
    a, b = load_file(one / name), load_file(two / name)
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_run_writes_its_folder(tiny, tmp_path):
    tiny["runtime"]["tensorboard"] = True
    metrics = run(tiny)
    out = tmp_path / "out"
    assert json.loads((out / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3] and lines[-1]["step"] == 9
    assert lines[-1]["test_top1"] == metrics["last"]["top1"]
    assert max(line["test_top1"] for line in lines) == metrics["best"]["top1"]
    assert metrics["student"]["init"] == "random, seed 0" and metrics["teacher"] is None
    assert metrics["train_images"] == 96 and metrics["seed"] == 0 and metrics["versions"]["torch"]
    assert np.load(out / "evaluation.npz")["confusion"].sum() == 60
    assert list((out / "tensorboard").iterdir())
    assert not list(out.rglob("*.tmp"))
    again = train(Config.from_file(out / "config.py"), "again", device="cpu")  # the resolved config trains again
    assert again["last"] == metrics["last"] and same_weights(out, tmp_path / "again")


def test_best_weights_score_what_the_metrics_say(tiny, tmp_path):
    from kdzoo.engine.testing import test_checkpoint

    metrics = run(tiny)
    for which in ("best", "last"):
        result = test_checkpoint(Config(tiny), str(tmp_path / "out" / f"{which}.safetensors"), "cpu", "tested")
        assert result.scores.top1 == pytest.approx(metrics[which]["top1"])
        assert result.scores.nll == pytest.approx(metrics[which]["nll"], rel=1e-5)
    assert json.loads((tmp_path / "tested" / "test.json").read_text())["top1"] == pytest.approx(metrics["last"]["top1"])
    assert sum(count for count, *_ in result.most_confused(100)) == 60 - round(result.scores.top1 * 0.6)


def test_the_seed_decides(tiny, tmp_path):
    run(tiny, "a")
    run(tiny, "b")
    run(tiny | dict(seed=1), "c")
    assert same_weights(tmp_path / "a", tmp_path / "b") and not same_weights(tmp_path / "a", tmp_path / "c")


def test_the_teacher_changes_nothing_of_the_students_start(tiny, tmp_path):
    run(tiny, "teacher")
    checkpoint = str(tmp_path / "teacher" / "last.safetensors")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint=checkpoint)
    silent = [dict(type="CrossEntropy"), dict(type="KD", weight=0.0)]
    metrics = run(tiny | dict(teacher=teacher, losses=silent), "silent")
    run(tiny, "alone")
    assert same_weights(tmp_path / "silent", tmp_path / "alone")
    assert metrics["teacher"]["top1"] > 0 and len(metrics["teacher"]["sha256"]) == 64


def test_accumulation_changes_rounding_only_where_nothing_looks_across_the_batch(tiny, tmp_path):
    tiny["student"] = dict(name="gru_rows", options=dict(img_size=8, drop_rate=0.0))  # no batch norm
    run(tiny, "whole")
    run(tiny | dict(runtime=tiny["runtime"] | dict(accumulate=3)), "parts")
    a, b = load_file("whole/last.safetensors"), load_file("parts/last.safetensors")
    assert all(torch.allclose(a[k], b[k], atol=1e-5) for k in a)


def test_the_cache_spares_the_teacher_and_changes_rounding_only(tiny, tmp_path):
    run(tiny, "teacher")
    checkpoint = str(tmp_path / "teacher" / "last.safetensors")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint=checkpoint)
    distil = tiny | dict(teacher=teacher, losses=[dict(type="CrossEntropy"), dict(type="KD")], epochs=4)
    plain = run(distil, "plain")
    cached = distil | dict(runtime=tiny["runtime"] | dict(teacher_cache=True))
    first, second = run(cached, "first"), run(cached, "second")
    assert first["teacher_cache"]["computed"] > 0 and second["teacher_cache"] == dict(computed=0, served=4 * 96)
    a, b = load_file("plain/last.safetensors"), load_file("first/last.safetensors")
    assert all(torch.allclose(a[k].float(), b[k].float(), atol=1e-4) for k in a)
    assert same_weights(tmp_path / "first", tmp_path / "second")
    assert plain["last"]["top1"] == pytest.approx(first["last"]["top1"], abs=2)


def test_the_cache_tells_teachers_of_equal_weights_apart(tiny):
    head = dict(type="CosFaceHead", scale=10.0)
    run(tiny | dict(head=head, losses=[dict(type="HeadLoss")]), "teacher")
    cfg = tiny | dict(losses=[dict(type="KD")], epochs=1, runtime=tiny["runtime"] | dict(teacher_cache=True))
    served = []
    for scale in (10.0, 2.0, 2.0):
        head = dict(type="CosFaceHead", scale=scale)
        teacher = dict(
            name="resnet8", options=tiny["student"]["options"], checkpoint="teacher/last.safetensors", head=head
        )
        served.append(run(cfg | dict(teacher=teacher), "student")["teacher_cache"]["served"])
    assert served == [0, 0, 96]  # another scale, another teacher


def test_the_cache_is_refused_where_views_are_unbounded(tiny):
    run(tiny, "teacher")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint="teacher/last.safetensors")
    cfg = tiny | dict(teacher=teacher, losses=[dict(type="KD")], runtime=dict(teacher_cache=True))
    with pytest.raises(UserError, match=r"runtime\.teacher_cache: the views of Mixup"):
        run(cfg | dict(augment=[dict(type="Mixup", alpha=1.0)]), "x")


def test_soft_targets_and_every_option_train(tiny):
    cfg = tiny | dict(
        augment=[dict(type="PadCrop", padding=1), dict(type="CutMix", alpha=1.0)],
        ema_decay=0.9,
        clip_grad=1.0,
        epochs=2,
        runtime=tiny["runtime"] | dict(precision="bf16", accumulate=2, evaluate_every=2),
    )
    metrics = run(cfg)
    assert metrics["last"]["epoch"] == 2 and metrics["precision"] == "bf16"
    assert [("test_top1" in json.loads(x)) for x in open("out/log.jsonl")] == [False, True]


@pytest.mark.slow
def test_compiled_training_gives_the_same_curve(tiny):
    plain = run(tiny, "plain")
    compiled = run(tiny | dict(runtime=tiny["runtime"] | dict(compile=True)), "compiled")
    assert compiled["last"]["nll"] == pytest.approx(plain["last"]["nll"], rel=1e-2)


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


@pytest.mark.parametrize("steps", [1, 4, 6, 8])
def test_ctrl_c_saves_and_the_run_goes_on_bit_for_bit(tiny, tmp_path, monkeypatch, steps):
    tiny |= dict(ema_decay=0.9, student=dict(name="resnet8", options=dict(widths=(8, 8, 8, 8))))
    whole = run(tiny, "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, steps)
        with pytest.raises(Interrupted, match="--resume --work-dir broken"):
            run(tiny, "broken")
    metrics = run(tiny, "broken", resume=True)
    assert same_weights(tmp_path / "whole", tmp_path / "broken")
    assert same_weights(tmp_path / "whole", tmp_path / "broken", "best.safetensors")
    assert metrics["last"] == whole["last"] and metrics["best"] == whole["best"]
    logs = [[json.loads(x) for x in open(f"{name}/log.jsonl")] for name in ("whole", "broken")]
    for a, b in zip(*logs, strict=True):
        assert {k: a[k] for k in ("epoch", "loss", "lr", "test_nll")} == {
            k: b[k] for k in ("epoch", "loss", "lr", "test_nll")
        }


def test_ctrl_c_during_the_last_evaluation_stops_before_the_next_seed(tiny, tmp_path, monkeypatch):
    import signal

    from kdzoo.engine import loop

    genuine = loop.write_evaluation
    with monkeypatch.context() as patch:
        patch.setattr(loop, "write_evaluation", lambda *a: (genuine(*a), signal.raise_signal(signal.SIGINT)))
        with pytest.raises(Interrupted, match="after its last epoch; go on with the same command and --resume"):
            run(tiny | dict(epochs=1), seeds=[0, 1])
    assert not (tmp_path / "out" / "seed1").exists()
    assert run(tiny | dict(epochs=1), seeds=[0, 1], resume=True)["runs"]["out"]["seeds"] == [0, 1]


def test_ctrl_c_outside_the_loop_says_how_to_go_on(tiny, monkeypatch):
    from kdzoo.engine import run as one

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(one, "build_training", stop)
    with pytest.raises(Interrupted, match="stopped at once.*--resume --work-dir out"):
        run(tiny)


def test_a_run_that_was_killed_before_its_first_checkpoint_repeats_no_log_line(tiny, tmp_path):
    run(tiny)
    for file in ("last/state.pt", "metrics.json"):  # as a kill before the first checkpoint leaves it
        (tmp_path / "out" / file).unlink()
    run(tiny, resume=True)
    lines = [json.loads(line) for line in open("out/log.jsonl")]
    assert [line["epoch"] for line in lines] == [1, 2, 3]


def test_one_run_is_not_resumed_as_several_nor_several_as_one(tiny):
    run(tiny | dict(epochs=1), "single")
    with pytest.raises(UserError, match="holds a single run; resume it without seeds"):
        run(tiny | dict(epochs=1), "single", seeds=[0, 1], resume=True)
    run(tiny | dict(epochs=1), "several", seeds=[0, 1])
    with pytest.raises(UserError, match="holds a run a seed, of 0 1; resume it with --seeds"):
        run(tiny | dict(epochs=1), "several", resume=True)


def test_a_damaged_record_is_one_line(tiny, tmp_path):
    run(tiny | dict(epochs=1))
    (tmp_path / "out" / "metrics.json").write_text('{"seed": ')
    with pytest.raises(UserError, match=r"metrics\.json is damaged .* remove it"):
        run(tiny | dict(epochs=1), resume=True)


@pytest.mark.parametrize("folder", [".", "..", "mine"])
def test_a_folder_of_other_things_is_never_renamed(tiny, tmp_path, folder):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")
    with pytest.raises(UserError, match="current folder|holds files and no earlier run"):
        run(tiny, folder)
    assert (tmp_path / "mine" / "thesis.tex").is_file()


def test_a_config_named_configs_has_a_folder_of_its_own():
    from kdzoo.engine.folder import default_folder

    assert str(default_folder(Config({}, "configs.py"))) == "work_dirs/configs"
    assert str(default_folder(Config({}, "a/configs/b/c.py"))) == "work_dirs/b/c"


def test_the_revision_is_the_checkouts_own(tmp_path, monkeypatch):
    import subprocess

    from kdzoo.engine import folder

    project = tmp_path / "project"
    (project / "site-packages" / "kdzoo").mkdir(parents=True)
    git = ["git", "-C", str(project), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git[:3], "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "theirs"], check=True)
    monkeypatch.setattr(folder.kdzoo, "__file__", str(project / "site-packages" / "kdzoo" / "__init__.py"))
    assert folder.git_revision() is None  # a wheel in an environment within somebody's repository
    monkeypatch.setattr(folder.kdzoo, "__file__", str(project / "kdzoo" / "__init__.py"))
    assert folder.git_revision()


def test_a_finished_run_is_not_run_again(tiny):
    metrics = run(tiny)
    assert json.loads(json.dumps(metrics)) == run(tiny, resume=True)


def test_resuming_under_another_config_is_refused(tiny):
    run(tiny)
    with pytest.raises(UserError, match=r"holds a run with batch_size = 32, now it is 16"):
        run(tiny | dict(batch_size=16), resume=True)


def test_an_earlier_run_is_set_aside_not_overwritten(tiny, capsys):
    first = run(tiny)
    run(tiny | dict(seed=3))
    assert "it is now out.1" in capsys.readouterr().out
    assert json.loads(open("out.1/metrics.json").read())["last"] == first["last"]
    assert json.loads(open("out/metrics.json").read())["seed"] == 3


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: b"nonsense" * 9]
)
def test_a_damaged_checkpoint_is_one_line(tiny, tmp_path, monkeypatch, damage):
    interrupt_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        run(tiny)
    state = tmp_path / "out" / "last" / "state.pt"
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(UserError, match=r"state\.pt is truncated or no kdzoo checkpoint; delete it"):
        run(tiny, resume=True)


def test_a_pickle_of_unknown_origin_is_not_run(tiny, tmp_path, monkeypatch):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "owned"), "w"))

    interrupt_after(monkeypatch, 4)
    with pytest.raises(Interrupted):
        run(tiny)
    torch.save({"epoch": 1, "model": Evil()}, tmp_path / "out" / "last" / "state.pt")
    with pytest.raises(UserError, match="no kdzoo checkpoint"):
        run(tiny, resume=True)
    assert not (tmp_path / "owned").exists()


def test_a_nan_loss_stops_the_run_and_keeps_the_last_good_state(tiny, tmp_path, monkeypatch):
    from kdzoo.losses.cross_entropy import CrossEntropy

    genuine, calls = CrossEntropy.forward, [0]

    def forward(self, student, teacher, target):
        calls[0] += 1
        return genuine(self, student, teacher, target) * (float("nan") if calls[0] == 6 else 1.0)

    monkeypatch.setattr(CrossEntropy, "forward", forward)
    with pytest.raises(UserError, match="the loss CrossEntropy became NaN or infinite at step 6"):
        run(tiny)
    state = torch.load(tmp_path / "out" / "last" / "state.pt", weights_only=True)
    assert (state["epoch"], state["step"]) == (1, 2)  # the checkpoint before, at step 5 of the run
    assert all(v.isfinite().all() for v in state["model"].values())
    metrics = run(tiny, resume=True)  # the fault was not the run's: it goes on
    assert metrics["last"]["epoch"] == 3


def test_overflowed_weights_do_not_replace_the_last_good_state(tiny, tmp_path, monkeypatch):
    from kdzoo.engine import loop

    genuine, calls = loop.train_step, [0]

    def step(training, *rest):
        genuine(training, *rest)
        calls[0] += 1
        if calls[0] == 5:
            next(training.student.parameters()).data[0] = float("inf")

    monkeypatch.setattr(loop, "train_step", step)
    with pytest.raises(UserError, match="weights became NaN or infinite in epoch 2|became NaN or infinite at step"):
        run(tiny)
    state = torch.load(tmp_path / "out" / "last" / "state.pt", weights_only=True)
    assert all(v.isfinite().all() for v in state["model"].values())


def test_a_full_disk_is_one_line_and_the_state_before_is_intact(tiny, tmp_path, monkeypatch):
    from kdzoo.engine import checkpoint

    genuine, calls = torch.save, [0]

    def save(value, path):
        calls[0] += 1
        if calls[0] == 3:
            raise RuntimeError("[enforce fail at inline_container.cc] . PytorchStreamWriter failed writing file")
        genuine(value, path)

    monkeypatch.setattr(checkpoint.torch, "save", save)
    with pytest.raises(UserError, match=r"state\.pt was not written .* the state before is intact"):
        run(tiny)
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    assert run(tiny, resume=True)["last"]["epoch"] == 3
    assert not list((tmp_path / "out").rglob("*.tmp"))


def test_a_full_disk_while_the_log_is_written_is_one_line(tiny, monkeypatch):
    import errno

    from kdzoo.engine import folder

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(folder, "open", full, raising=False)
    with pytest.raises(UserError, match=r"the disk is full: out/log\.jsonl"):
        run(tiny)


def test_a_teacher_at_chance_is_told(tiny, capsys):
    run(tiny | dict(epochs=1, optimizer=dict(type="SGD", lr=1e-9)), "poor")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint="poor/last.safetensors")
    run(tiny | dict(teacher=teacher, losses=[dict(type="KD")], epochs=1), "out")
    assert "warning: the teacher resnet8 has" in capsys.readouterr().out


def test_class_counts_that_differ_are_told(tiny, tmp_path):
    from kdzoo.models import create_model, save_weights

    save_weights(create_model("resnet8", 7, in_chans=1, **tiny["student"]["options"]), tmp_path / "seven.safetensors")
    teacher = dict(name="resnet8", options=tiny["student"]["options"], checkpoint="seven.safetensors")
    with pytest.raises(
        UserError, match=r"seven\.safetensors does not fit resnet8: the checkpoint has 7 classes, the model 10"
    ):
        run(tiny | dict(teacher=teacher, losses=[dict(type="KD")]))


def test_a_test_part_without_a_readable_image_is_one_line(tiny, tmp_path):
    from PIL import Image

    for split in ("train", "val"):
        for name in "ab":
            (tmp_path / "pictures" / split / name).mkdir(parents=True)
            for number in range(2):
                file = tmp_path / "pictures" / split / name / f"{number}.png"
                Image.new("RGB", (9, 9)).save(file) if split == "train" else file.write_bytes(b"no")
    data = dict(type="ImageFolder", path="pictures", size=8, resize=8)
    with pytest.raises(UserError, match="no test image to evaluate on"):
        run(tiny | dict(data=data, augment=[], runtime=tiny["runtime"] | dict(workers=0)))


def test_an_image_folder_with_a_corrupt_file_trains_and_counts_it(tiny, tmp_path, caplog):
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("val", 4)):
        for name, shade in (("dark", 60), ("light", 190)):
            folder = tmp_path / "pictures" / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(shade - 40, shade + 40, (20, 24, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    (tmp_path / "pictures" / "train" / "dark" / "3.png").write_bytes(b"not a picture")
    cfg = tiny | dict(
        data=dict(type="ImageFolder", path="pictures", size=16, resize=18),
        augment=[dict(type="RandomResizedCrop"), dict(type="Flip")],
        batch_size=5,
        runtime=tiny["runtime"] | dict(workers=0),
    )
    metrics = run(cfg)
    assert metrics["unreadable_images"] == 1 and metrics["last"]["epoch"] == 3
    assert "3.png" in caplog.text
