"""A model of the zoo, built and loaded."""

from typing import TYPE_CHECKING

from kdzoo.zoo.index import find_entry
from kdzoo.zoo.origin import fetch

if TYPE_CHECKING:
    from kdzoo.models import Classifier


def load_model(name: str) -> "Classifier":
    """The network of an entry with its weights and normalisation, in evaluation mode.

    Args:
        name: as in the index, without ``zoo:``.

    Raises:
        UserError: an unknown name (the nearest are told), or weights that can't be had.

    Example:
        >>> model = load_model("digits/resnet20")
        >>> logits = model(images)  # [B, 1, 8, 8] in [0, 1] to [B, 10]
    """
    from kdzoo.models import create_model

    entry = find_entry(name)
    return create_model(
        entry.architecture, entry.classes, entry.in_chans, entry.mean, entry.std, checkpoint=fetch(entry),
        **entry.options,
    ).eval()
