"""Measure kdzoo's speed on this machine: one sub-command a subject.

    python tools/benchmark.py train --teacher resnet20 --student resnet8 --batch-size 128
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from kdzoo.errors import UserError
from kdzoo.tools.command import command

# Each is kdzoo.tools.benchmarks.NAME: its docstring's first line is the help, add_arguments(parser)
# declares the options, run(arguments) measures and prints. Neither is to import torch before run.
COMMANDS = ("train", "losses", "probe", "ood", "certify", "attacks")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmark.py", description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(metavar="SUBJECT", required=True)
    for name in COMMANDS:
        module = importlib.import_module(f"kdzoo.tools.benchmarks.{name}")
        about = module.__doc__.splitlines()[0]
        command = commands.add_parser(name, help=about, description=about)
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; 2 and one line on stderr for a mistake of the user."""
    arguments = parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
