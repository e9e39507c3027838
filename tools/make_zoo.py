"""Write model_zoo.md from the zoo's index and the sections in kdzoo/zoo/sections/."""

import sys
from pathlib import Path

from kdzoo.files import write_text
from kdzoo.tools.command import command
from kdzoo.zoo.page import zoo_page


@command
def main() -> int:
    path = Path(__file__).parents[1] / "model_zoo.md"
    write_text(path, zoo_page())
    print(f"wrote {path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
