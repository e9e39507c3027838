"""Torch files of others as safetensors: opened once without running code, then never again."""

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

from kdzoo.zoo.archive import check_zip
from kdzoo.zoo.cache import sha256_of


def to_safetensors(
    path: Path, metadata: Mapping[str, str], target: Path | None = None, on_read: Callable[[], None] = lambda: None
) -> Path:
    """The tensors of a torch file as safetensors beside it (or at ``target``); made again where the file changed.

    Args:
        path: the torch file, read with ``weights_only=True``.
        metadata: written into the new file, text to text.
        target: the new file.
        on_read: called once the file has turned out to hold weights, before anything is written.

    Raises:
        UserError: the file holds more than tensors, is damaged or a bomb; or it can't be written.
    """
    from safetensors.torch import save

    from kdzoo.files import atomic_path
    from kdzoo.models.checkpoint import read_metadata, read_state

    target = target or path.with_suffix(".safetensors")
    source = sha256_of(path)
    if target.is_file() and read_metadata(target).get("source_sha256") == source:
        return target
    if zipfile.is_zipfile(path):
        check_zip(path)
    state = read_state(path)
    on_read()
    # Cloned, because safetensors refuses tensors that share memory.
    tensors = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    with atomic_path(target) as temporary:
        temporary.write_bytes(save(tensors, {**metadata, "source_sha256": source, "format": "pt"}))
    return target
