"""Order, resuming and sharing out; hypothesis checks the plans, small sets the batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kdzoo.data.order import TestPlan, TrainPlan, stratified
from kdzoo.errors import UserError

CROP_FLIP = [dict(type="PadCrop", padding=2), dict(type="Flip")]
EVERYTHING = [*CROP_FLIP, dict(type="RandAugment"), dict(type="Cutout", size=3), dict(type="Mixup", alpha=1.0),
              dict(type="CutMix", alpha=1.0)]
AUGMENTS = pytest.mark.parametrize("augment", [[], CROP_FLIP, EVERYTHING], ids=["none", "crop-flip", "everything"])


def same(one, two) -> bool:
    views = (one.view is None and two.view is None) or torch.equal(one.view, two.view)
    return (views and torch.equal(one.images, two.images) and torch.equal(one.target, two.target)
            and torch.equal(one.index, two.index))


def test_a_batch_is_what_the_contract_says(make_npy, load):
    folder = make_npy()
    images, labels = np.load(folder / "train_images.npy"), np.load(folder / "train_labels.npy")
    data = load(folder)
    batch = next(data.train.epoch(0))
    assert batch.images.shape == (16, 3, 6, 5) and batch.images.dtype == torch.float32
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.target.dtype == batch.index.dtype == batch.view.dtype == torch.int64
    assert batch.weight == 1.0
    assert np.array_equal(batch.target.numpy(), labels[batch.index])
    assert np.allclose(batch.images.numpy(), images[batch.index].transpose(0, 3, 1, 2) / 255)
    assert (data.shape, data.num_classes, data.classes[0]) == ((3, 6, 5), 4, "class 0")
    assert (data.train.size, data.test.size, data.train.views, data.train.broken) == (50, 11, 1, [])


def test_every_epoch_shows_every_image_once_in_a_new_order(make_npy, load):
    train = load(make_npy()).train
    orders = [torch.cat([b.index for b in train.epoch(e)]).tolist() for e in range(2)]
    assert len(train) == 4 and [len(b.index) for b in train.epoch(0)] == [16, 16, 16, 2]
    assert all(sorted(order) == list(range(50)) for order in orders) and orders[0] != orders[1]


@AUGMENTS
def test_batches_depend_on_seed_epoch_and_step_alone(make_npy, load, augment):
    folder = make_npy()
    whole = list(load(folder, augment, seed=3).train.epoch(5))
    torch.rand(7), np.random.rand(7)  # global random numbers play no part
    assert all(same(a, b) for a, b in zip(whole, load(folder, augment, seed=3).train.epoch(5), strict=True))
    resumed = list(load(folder, augment, seed=3).train.epoch(5, start=2))
    assert len(resumed) == len(whole) - 2 and all(same(a, b) for a, b in zip(whole[2:], resumed, strict=True))
    assert not same(whole[0], next(load(folder, augment, seed=4).train.epoch(5)))


def test_augmentation_is_drawn_anew_each_step_and_epoch(make_npy, load):
    train = load(make_npy(train=64), CROP_FLIP).train
    views = [b.view for epoch in range(2) for b in train.epoch(epoch)]
    assert not any(torch.equal(a, b) for i, a in enumerate(views) for b in views[:i])


@AUGMENTS
@pytest.mark.parametrize("world", [2, 3])
def test_processes_see_slices_of_what_one_process_sees(make_npy, load, augment, world):
    folder = make_npy(train=44)  # steps of 16, 16, 12: 16 does not divide by 3
    alone = list(load(folder, augment).train.epoch(1))
    shared = [list(load(folder, augment, rank=r, world=world).train.epoch(1)) for r in range(world)]
    for step, one in enumerate(alone):
        parts = [batches[step] for batches in shared]
        assert torch.equal(torch.cat([p.images for p in parts]), one.images)
        assert torch.equal(torch.cat([p.target for p in parts]), one.target)
        assert torch.equal(torch.cat([p.index for p in parts]), one.index)
        weighted = sum(p.weight * p.images.mean() for p in parts) / world
        assert torch.isclose(weighted, one.images.mean(), atol=1e-6)


@given(size=st.integers(1, 200), batch=st.integers(1, 70), world=st.integers(1, 4), epoch=st.integers(0, 3))
def test_train_plan_properties(size, batch, world, epoch):
    try:
        plans = [TrainPlan(size, batch, 0, rank, world) for rank in range(world)]
    except UserError:
        assert batch < world or size < batch and size < 2 * world
        return
    steps = [list(plan.shares(epoch)) for plan in plans]
    assert {len(s) for s in steps} == {len(plans[0])}
    seen = np.concatenate([share.whole[share.rows] for own in steps for share in own])
    assert len(np.unique(seen)) == len(seen)
    left_out = size - len(seen)
    assert left_out < max(2 * world, world + 1)
    for shares in zip(*steps, strict=True):
        rows = np.concatenate([share.rows for share in shares])
        assert np.array_equal(rows, np.arange(len(shares[0].whole)))
        assert sum(share.weight for share in shares) == pytest.approx(world)
        assert all(share.weight == pytest.approx(len(share.rows) * world / len(rows)) for share in shares)
        if len(rows) < batch:
            assert len({len(share.rows) for share in shares}) == 1 and len(shares[0].rows) >= 2


@given(size=st.integers(0, 100), batch=st.integers(1, 40), world=st.integers(1, 5))
def test_test_plan_gives_each_image_once_in_order(size, batch, world):
    plans = [TestPlan(size, batch, rank, world) for rank in range(world)]
    parts = [np.concatenate([s.whole[s.rows] for s in p.shares()] or [np.arange(0)]) for p in plans]
    assert np.array_equal(np.concatenate(parts), np.arange(size))
    assert all(len(list(plan.shares())) == len(plan) for plan in plans)


def test_the_test_part_is_plain_and_in_order(make_npy, load):
    folder = make_npy()
    images = np.load(folder / "test_images.npy")
    test = load(folder, EVERYTHING, test_batch_size=4).test
    batches = list(test.epoch(0))
    assert [len(b.index) for b in batches] == [4, 4, 3] and len(test) == 3
    assert np.allclose(torch.cat([b.images for b in batches]).numpy(), images.transpose(0, 3, 1, 2) / 255)
    assert batches[0].target.dtype == torch.int64


def test_a_last_batch_of_one_image_is_dropped_and_tiny_sets_are_told(make_npy, load):
    assert len(load(make_npy("a", train=17)).train) == 1
    assert len(load(make_npy("b", train=20), rank=1, world=4).train) == 1  # 4 images left: one each
    with pytest.raises(UserError, match="1 image.*too few for one batch"):
        load(make_npy("c", train=1))
    with pytest.raises(UserError, match="batch_size 2 gives some of 3 processes no image"):
        load(make_npy("d"), batch_size=2, world=3)
    with pytest.raises(UserError, match="seed is -1"):
        load(make_npy("e"), seed=-1)


@given(labels=st.lists(st.integers(0, 4), min_size=1, max_size=60), count=st.integers(1, 70))
def test_stratified_keeps_the_proportions(labels, count):
    labels = np.array(labels)
    kept = stratified(labels, count)
    assert len(kept) == min(count, len(labels)) and np.all(np.diff(kept) > 0)
    assert np.array_equal(kept, stratified(labels, count))
    for c in np.unique(labels):
        fair = (labels == c).sum() * len(kept) / len(labels)
        assert abs((labels[kept] == c).sum() - fair) < 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("augment", [CROP_FLIP, [*CROP_FLIP, dict(type="CutMix", alpha=1.0)]])
def test_the_gpu_makes_the_same_pixels_without_waiting(make_npy, load, augment):
    folder, device = make_npy(train=64), torch.device("cuda")
    loader = load(folder, augment, device=device).train
    list(loader.epoch(0))
    torch.cuda.set_sync_debug_mode("error")
    try:
        batches = list(loader.epoch(0))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, reference in zip(batches, load(folder, augment).train.epoch(0), strict=True):
        assert ours.images.is_cuda and torch.equal(ours.images.cpu(), reference.images)
        assert torch.allclose(ours.target.cpu(), reference.target)
