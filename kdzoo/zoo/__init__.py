"""The model zoo: an index of weights, and how they get here, verified.

    >>> model = kdzoo.zoo.load_model("digits/resnet20")
    >>> model = kdzoo.create_model("resnet20", 10, in_chans=1, checkpoint="zoo:digits/resnet20")
"""

from kdzoo.zoo.index import Entry, Metric, find_entry, read_index
from kdzoo.zoo.load import load_model
from kdzoo.zoo.origin import fetch

__all__ = ["Entry", "Metric", "fetch", "find_entry", "load_model", "read_index"]
