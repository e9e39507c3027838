"""``hf:OWNER/REPO/FILE``: a file of the Hugging Face hub."""

import os
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.registry import CHECKPOINTS
from kdzoo.zoo.cache import cache_folder, check_relative, is_offline
from kdzoo.zoo.convert import to_safetensors


@CHECKPOINTS.register("hf")
def hub(name: str) -> Path:
    """The weights of ``hf:OWNER/REPO/FILE`` (or ``FILE@REVISION``); torch files come back as safetensors.

    huggingface_hub downloads, resumes and locks, into ``hf`` of the cache; ``HF_ENDPOINT`` names a mirror.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    file, _, revision = name.partition("@")
    owner, repository, path = [*file.split("/", 2), "", ""][:3]
    if not (owner and repository and path):
        raise UserError(f"'hf:{name}' is no file of the hub; write hf:OWNER/REPO/FILE")
    folder = cache_folder() / "hf"
    try:
        check_relative(path)
        got = hf_hub_download(
            f"{owner}/{repository}", path, revision=revision or None, cache_dir=folder,
            local_files_only=is_offline(), endpoint=os.environ.get("HF_ENDPOINT"),
        )
    except LocalEntryNotFoundError as error:
        state = "offline" if is_offline() else "the hub can't be reached"
        raise UserError(f"{state}, and hf:{name} is not here; looked in {folder}") from error
    except Exception as error:  # the hub's, its HTTP client's, the disk's: some thirty kinds
        line = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise UserError(f"hf:{name} could not be had ({line}); check owner, repository and file") from error
    if got.endswith(".safetensors"):
        return Path(got)
    return to_safetensors(Path(got), {"origin": f"hf:{name}"}, folder / "converted" / f"{file}.safetensors")
