"""``zoo:NAME``: a model of the index."""

from pathlib import Path

from kdzoo.registry import CHECKPOINTS
from kdzoo.zoo.index import find_entry
from kdzoo.zoo.origin import fetch


@CHECKPOINTS.register("zoo")
def zoo(name: str) -> Path:
    """The verified weights of ``zoo:NAME``, downloaded where they are not here yet."""
    return fetch(find_entry(name))
