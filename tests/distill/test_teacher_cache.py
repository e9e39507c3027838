"""The cache of teacher logits: each view asked once, kept exactly, refused when it is something else's."""

import json
import os
from dataclasses import replace

import pytest
import torch

from kdzoo.distill import TeacherCache
from kdzoo.distill.teacher_cache import CacheCard
from kdzoo.errors import UserError

CARD = CacheCard("teacher", "data", "PadCrop(1) + Flip(0.5)", images=6, views=18, classes=4, precision="fp32")
CPU = torch.device("cpu")


class Teacher:
    """Logits that tell index and view; remembers how many images it saw."""

    def __init__(self):
        self.seen = 0

    def __call__(self, images):
        self.seen += len(images)
        return images @ torch.arange(8.0).view(2, 4).to(images.dtype) / 7


def ask(cache, teacher, index, view):
    index, view = torch.tensor(index), torch.tensor(view)
    images = torch.stack([index, view], dim=1).float()
    return cache.logits(index, view, images, teacher), images


def test_each_view_is_asked_once(tmp_path):
    cache, teacher = TeacherCache(tmp_path, CARD, CPU), Teacher()
    first, images = ask(cache, teacher, [0, 5, 2], [3, 17, 0])
    assert torch.equal(first, teacher(images)) and teacher.seen == 6
    teacher.seen = 0
    again, _ = ask(cache, teacher, [2, 0, 5], [0, 3, 17])
    assert teacher.seen == 0 and torch.equal(again, first[[2, 0, 1]])
    mixed, images = ask(cache, teacher, [0, 0, 5], [3, 4, 17])
    assert teacher.seen == 1
    torch.testing.assert_close(mixed, teacher(images))
    assert (cache.computed, cache.served) == (4, 5)


def test_it_is_there_for_the_next_run(tmp_path):
    teacher = Teacher()
    first, _ = ask(TeacherCache(tmp_path, CARD, CPU), teacher, [1, 4], [2, 9])
    other = Teacher()
    again, _ = ask(TeacherCache(tmp_path, CARD, CPU), other, [1, 4], [2, 9])
    assert other.seen == 0 and torch.equal(first, again)


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="can't write .*file"):
        TeacherCache(tmp_path / "file", CARD, CPU)


def test_float32_logits_of_a_bfloat16_teacher_come_back_exact(tmp_path):
    card = replace(CARD, precision="bf16", output="fp32")
    first, _ = ask(TeacherCache(tmp_path, card, CPU), Teacher(), [1, 4], [2, 9])
    again, _ = ask(TeacherCache(tmp_path, card, CPU), Teacher(), [1, 4], [2, 9])
    assert torch.equal(first, again)


@pytest.mark.parametrize(
    "change", [dict(teacher="other"), dict(data="other"), dict(augment="none"), dict(precision="bf16")]
)
def test_another_card_is_another_store(tmp_path, change):
    ask(TeacherCache(tmp_path, CARD, CPU), Teacher(), [1], [2])
    teacher = Teacher()
    ask(TeacherCache(tmp_path, replace(CARD, **change), CPU), teacher, [1], [2])
    assert teacher.seen == 1


def test_bf16_logits_are_kept_bit_for_bit(tmp_path):
    card = replace(CARD, precision="bf16")
    logits = torch.randn(3, 4).bfloat16()
    index, view = torch.tensor([0, 1, 2]), torch.tensor([5, 6, 7])
    for _ in range(2):
        found = TeacherCache(tmp_path, card, CPU).logits(index, view, torch.zeros(3, 1), lambda images: logits)
        assert found.dtype == torch.bfloat16 and torch.equal(found, logits)


def test_a_row_without_its_flag_is_asked_again(tmp_path):
    # What a kill between the two writes leaves.
    cache = TeacherCache(tmp_path, CARD, CPU)
    cache._store[1 * 18 + 2] = 99.0
    logits, images = ask(cache, Teacher(), [1], [2])
    assert torch.equal(logits, Teacher()(images))


def test_a_folder_with_another_card_is_refused(tmp_path):
    cache = TeacherCache(tmp_path, CARD, CPU)
    card = cache.folder / "card.json"
    card.write_text(json.dumps(json.loads(card.read_text()) | {"teacher": "another"}))
    with pytest.raises(UserError, match="holds logits of something else; delete that folder"):
        TeacherCache(tmp_path, CARD, CPU)


def test_a_disk_that_cannot_hold_it_is_told_beforehand(tmp_path):
    room = os.statvfs(tmp_path)
    images = room.f_bavail * room.f_frsize // (18 * 4 * 4) + 10**6
    with pytest.raises(UserError, match=r"needs .* GiB .* set runtime.teacher_cache=False"):
        TeacherCache(tmp_path, replace(CARD, images=images), CPU)
    assert not list(tmp_path.rglob("*.bin"))
