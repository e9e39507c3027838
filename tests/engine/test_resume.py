"""Stopped and resumed runs: bit for bit the same, and refused where they are not of one kind."""

import json

import pytest
import torch
from tiny_run import interrupt_after, run, same_weights

from kdzoo.engine.loop import Interrupted
from kdzoo.errors import UserError


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


def test_a_finished_run_is_not_run_again(tiny):
    metrics = run(tiny)
    assert json.loads(json.dumps(metrics)) == run(tiny, resume=True)


def test_a_run_beside_its_teacher_goes_on(tiny, monkeypatch):
    run(tiny | dict(epochs=1), "teacher")
    taught = tiny | dict(teacher=tiny["student"] | dict(checkpoint="teacher/last.safetensors"))
    with monkeypatch.context() as patch:
        interrupt_after(patch, 4)
        with pytest.raises(Interrupted):
            run(taught, "student")
    assert run(taught, "student", resume=True)["last"]["epoch"] == 3


def test_resuming_under_another_config_is_refused(tiny):
    run(tiny)
    with pytest.raises(UserError, match=r"holds a run with batch_size = 32, now it is 16"):
        run(tiny | dict(batch_size=16), resume=True)


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
