"""``robustbench:DATA/THREAT/NAME``: weights of RobustBench, by its own loader."""

import os
from pathlib import Path

from kdzoo.errors import UserError, did_you_mean
from kdzoo.files import atomic_path
from kdzoo.registry import CHECKPOINTS
from kdzoo.zoo.cache import cache_folder, inside, is_offline

# torch's own switch: whatever a caller asks for, torch.load runs no pickled code.
WEIGHTS_ONLY = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"


@CHECKPOINTS.register("robustbench")
def robustbench(name: str) -> Path:
    """The weights, downloaded and opened by RobustBench, as safetensors in the cache.

    RobustBench publishes no hashes; what is loaded is as trustworthy as its download.
    """
    from kdzoo.models.robustbench_source import model_table

    path = inside(cache_folder() / "robustbench", f"{name}.safetensors")
    if path.is_file():
        return path
    if is_offline():
        raise UserError(f"offline, and robustbench:{name} is not here; looked for {path}")
    table = model_table()
    if name not in table:
        raise UserError(f"robustbench has no model {name!r}{did_you_mean(name, table)}")
    state = _load(name)
    from safetensors.torch import save

    tensors = {key: tensor.detach().cpu().clone().contiguous() for key, tensor in state.items()}
    with atomic_path(path) as temporary:
        temporary.write_bytes(save(tensors, {"origin": f"robustbench:{name}", "format": "pt"}))
    return path


def _load(name: str) -> dict:
    from robustbench.utils import load_model

    data, threat, model = name.split("/", 2)
    before = os.environ.get(WEIGHTS_ONLY)
    os.environ[WEIGHTS_ONLY] = "1"
    try:
        folder = str(cache_folder() / "robustbench" / "downloads")
        return load_model(model, model_dir=folder, dataset=data, threat_model=threat).state_dict()
    except Exception as error:  # the network's, the disk's, torch's: its loader raises what it likes
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"robustbench:{name} could not be had ({line}); check the network") from error
    finally:
        if before is None:
            del os.environ[WEIGHTS_ONLY]
        else:
            os.environ[WEIGHTS_ONLY] = before
