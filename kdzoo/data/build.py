"""From a config to data: the source, its augmentation and its two loaders."""

import torch

from kdzoo.data.batch import Data
from kdzoo.data.order import TestPlan, TrainPlan
from kdzoo.data.pipeline import Pipeline
from kdzoo.errors import ConfigError
from kdzoo.registry import AUGMENTS, DATASETS


def build_data(
    cfg: dict, batch_size: int, augment: list[dict], seed: int, device: torch.device,
    rank: int = 0, world: int = 1, test_batch_size: int | None = None, workers: int = 4,
    augment_second: list[dict] | None = None,
) -> Data:
    """The data set a config names.

    Order and augmentation depend on (seed, epoch, step) alone, drawn for the global batch and
    shared out by rank: any number of processes sees the same images, and a run may go on at any step.

    Args:
        cfg: ``dict(type="CIFAR100", root=None, train_limit=None, ...)``, a registered data set.
        batch_size: images of a training step, over all processes together.
        augment: augmentations of the training part, applied in the order listed.
        seed: of the order and the augmentation; 0 or more.
        device: where batches are put; an in-memory set lives there where it fits.
        rank: number of this process.
        world: number of processes.
        test_batch_size: images of a test step over all processes; default: ``batch_size``.
        workers: worker processes of streamed sets, at most one a core; in-memory sets need none.
        augment_second: augmentations of a second view of every training image, for losses that take
            one; in-memory sets only, and neither list may mix images then.

    Returns:
        The set with its loaders.

    Raises:
        ConfigError: a wrong name, keyword or value in ``cfg`` or ``augment``.
        UserError: a missing or damaged file.

    Example:
        >>> augment = [dict(type="PadCrop", padding=4), dict(type="Flip")]
        >>> data = build_data(dict(type="CIFAR100"), 64, augment, seed=0, device=torch.device("cuda"))
    """
    device = torch.device(device)
    source = DATASETS.build(cfg, place="data")
    context = {"num_classes": len(source.classes), "mean": source.mean}
    steps = _steps(augment, "augment", context)
    second = None if augment_second is None else _steps(augment_second, "augment_second", context)
    if second is not None and any(getattr(step, "mixes", False) for step in steps + second):
        raise ConfigError("images can't be mixed where there are two views of each", "augment_second")
    train_plan = TrainPlan(source.size("train"), batch_size, seed, rank, world)
    test_plan = TestPlan(source.size("test"), test_batch_size or batch_size, rank, world)
    return Data(
        train=source.loader(
            "train", train_plan, Pipeline(steps), device, workers, None if second is None else Pipeline(second)
        ),
        test=source.loader("test", test_plan, Pipeline([]), device, workers),
        classes=source.classes, mean=source.mean, std=source.std, shape=source.shape,
    )


def _steps(augment: list[dict], place: str, context: dict) -> list:
    steps = [AUGMENTS.build(step, place=f"{place}[{i}]", **context) for i, step in enumerate(augment)]
    for i, step in enumerate(steps):
        if getattr(step, "num_classes", classes := context["num_classes"]) != classes:
            raise ConfigError(f"num_classes is {step.num_classes}, the data has {classes}; remove it", f"{place}[{i}]")
        if len(getattr(step, "mean", (0,))) not in (1, channels := len(context["mean"])):
            raise ConfigError(f"mean has {len(step.mean)} numbers, the images {channels} channels", f"{place}[{i}]")
    return steps
