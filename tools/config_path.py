"""Where a config named on the command line lies."""

from pathlib import Path

import kdzoo.configs


def find_config(name: str) -> Path:
    """The file of that path, else the one of that name among the configs that came with kdzoo."""
    path = Path(name)
    if path.is_file():
        return path
    shipped = Path(kdzoo.configs.__file__).parent / Path(*path.parts[path.parts[:1] == ("configs",) :])
    return shipped if shipped.is_file() else path
