"""What goes wrong in the middle of a run is one line, and the last good state is kept."""

import pytest
import torch
from tiny_run import run

from kdzoo.errors import UserError


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
