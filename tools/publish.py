"""Enter a finished run into the zoo: its weights, its metrics measured again, and a model card.

python tools/publish.py work_dirs/quickstart/teacher/seed0 --name digits/resnet20 --config configs/digits/resnet20.py
"""

import argparse
import sys
from collections.abc import Sequence

from kdzoo.tools.command import command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="publish.py", description=__doc__.splitlines()[0])
    parser.add_argument("run", metavar="RUN", help="the folder of a finished run")
    parser.add_argument("--name", required=True, metavar="DATA/MODEL", help="of the entry, as in zoo:DATA/MODEL")
    parser.add_argument("--config", help="tests the weights; default: the config the run was trained with")
    parser.add_argument("--parent", metavar="DATA/MODEL", help="the teacher's entry; default: the run's zoo:NAME")
    parser.add_argument("--licence", default="Apache-2.0", help="of the weights (default: Apache-2.0)")
    parser.add_argument("--note", default="", help="what a user should know")
    parser.add_argument("--replace", action="store_true", help="an entry of that name")
    parser.add_argument("--root", help="the checkout to write to (default: the one kdzoo runs from)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from pathlib import Path

    from kdzoo.engine.publish import CHECKOUT, publish
    from kdzoo.errors import UserError

    root = Path(arguments.root) if arguments.root else CHECKOUT
    try:
        if not (root / "kdzoo" / "zoo").is_dir():
            raise UserError(f"{root} is no checkout of kdzoo; give one by --root")
        made = publish(
            arguments.run, arguments.name, arguments.config, arguments.parent, arguments.licence, arguments.note,
            root, arguments.replace,
        )
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{made.weights}: {made.entry.size:,} bytes of {made.precision}, sha256 {made.entry.sha256}")
    print(f"top-1 {made.full.top1:.2f} % in float32, {made.stored.top1:.2f} % from the file")
    print(f"{made.card}; now run python tools/make_zoo.py and commit")
    return 0


if __name__ == "__main__":
    sys.exit(main())
