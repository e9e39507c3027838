"""The state of a run, in one file that is either whole or the one before.

Only tensors, numbers, strings, lists and dicts are stored, so it loads with ``weights_only=True``:
no pickle of unknown origin is executed.
"""

import zipfile
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedType
from torch import nn

from kdzoo.errors import UserError
from kdzoo.files import atomic_path

FILE = "state.pt"


def model_and_optimizer_state(accelerator: Accelerator, model: nn.Module, optimizer) -> dict[str, Any]:
    """Full state dicts; under FSDP, whose shards all processes gather for it, the first one has them alone."""
    if accelerator.distributed_type != DistributedType.FSDP:
        return dict(model=accelerator.unwrap_model(model).state_dict(), optimizer=optimizer.optimizer.state_dict())
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_state_dict

    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    weights, moments = get_state_dict(model, optimizer.optimizer, options=options)
    return dict(model=weights, optimizer=moments)


def load_model_and_optimizer(accelerator: Accelerator, model: nn.Module, optimizer, state: dict[str, Any]) -> None:
    """The reverse of :func:`model_and_optimizer_state`."""
    if accelerator.distributed_type != DistributedType.FSDP:
        accelerator.unwrap_model(model).load_state_dict(state["model"])
        optimizer.optimizer.load_state_dict(state["optimizer"])
        return
    from torch.distributed.checkpoint.state_dict import StateDictOptions, set_state_dict

    options = StateDictOptions(full_state_dict=True)
    set_state_dict(
        model,
        optimizer.optimizer,
        model_state_dict=state["model"],
        optim_state_dict=state["optimizer"],
        options=options,
    )


def save_state(folder: Path, state: dict[str, Any]) -> None:
    """Write ``folder/state.pt`` atomically.

    Raises:
        UserError: the disk is full or the folder can't be written; the state before is intact.
    """
    with atomic_path(folder / FILE) as temporary:
        try:
            torch.save(state, temporary)
        except RuntimeError as error:  # torch's zip writer tells a failed write so
            cause = f"{folder / FILE} was not written ({error}); the disk may be full, the state before is intact"
            raise UserError(cause) from error


def load_state(folder: Path) -> dict[str, Any] | None:
    """The state, or ``None`` where there is none.

    Raises:
        UserError: the file is truncated or no state of kdzoo.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, OSError, zipfile.BadZipFile, ValueError) as error:
        raise _unreadable(path) from error
    except Exception as error:
        if type(error).__name__ == "UnpicklingError":
            raise _unreadable(path) from error
        raise
    if not isinstance(state, dict) or "epoch" not in state:
        raise _unreadable(path)
    return state


def _unreadable(path: Path) -> UserError:
    return UserError(f"{path} is truncated or no kdzoo checkpoint; delete it and start again without --resume")
