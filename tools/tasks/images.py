"""The config's images in order and unaugmented, whole or a stratified subset: what several tasks read."""


def ordered(config, split: str, limit: int | None, device):
    """A loader of the training or test part, 256 images a batch."""
    from kdzoo.data.order import TestPlan
    from kdzoo.data.pipeline import Pipeline
    from kdzoo.registry import DATASETS

    source = DATASETS.build(dict(config["data"]) | ({f"{split}_limit": limit} if limit else {}), place="data")
    return source.loader(split, TestPlan(source.size(split), 256), Pipeline([]), device, 4)
