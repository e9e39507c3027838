"""Images: where they come from, how they become batches, how they are augmented.

    >>> from kdzoo.data import build_data
    >>> data = build_data(dict(type="Digits"), 64, [dict(type="PadCrop", padding=1)], 0, torch.device("cpu"))
    >>> for batch in data.train.epoch(0): print(batch.images.shape)     # [64, 1, 8, 8], float32 in [0, 1]

A new data set or augmentation is one file here with one registered class.
"""

from kdzoo.data.batch import Batch, Data, Loader
from kdzoo.data.build import build_data

__all__ = ["Batch", "Data", "Loader", "build_data"]
