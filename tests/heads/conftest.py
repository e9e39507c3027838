import json
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def golden() -> dict:
    """Values of the official code and of the papers' formulas: see tests/data/README.md."""
    return json.loads((Path(__file__).parents[1] / "data" / "heads.json").read_text())
