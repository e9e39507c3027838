"""Download weights of the zoo, list and verify them, or make the folder of a data set.

python tools/download.py digits/resnet20 cifar100/repdistiller/resnet32x4
python tools/download.py --list [--filter 'cifar100/*']
python tools/download.py --verify
python tools/download.py --dataset cifar100 [--root DIR]
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from fnmatch import fnmatchcase

from kdzoo.data.download import DOWNLOADS, download_dataset
from kdzoo.data.npy import data_root
from kdzoo.errors import UserError
from kdzoo.tools.command import command
from kdzoo.zoo.cache import offline


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="download.py", description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="models of the zoo, or zoo:, hf: and pip: references")
    parser.add_argument("--list", action="store_true", help="show what the zoo holds")
    parser.add_argument("--verify", action="store_true", help="check what is here against its sha256 (NAMEs, or all)")
    parser.add_argument("--filter", metavar="GLOB", help="with --list or --verify: names that match, e.g. 'cifar100/*'")
    parser.add_argument("--offline", action="store_true", help="ask no server; say what is missing and where it looked")
    parser.add_argument("--dataset", choices=sorted(DOWNLOADS), help="the data set to make")
    parser.add_argument("--root", help="folder of data sets (default: the environment's KDZOO_DATA, else data)")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 1 for a mistake or a file that is not what it should be."""
    command = parser()
    args = command.parse_args(argv)
    if not (args.names or args.list or args.verify or args.dataset):
        command.error("nothing to do; give a NAME, --list, --verify or --dataset")
    try:
        with offline() if args.offline else nullcontext():
            return _run(args)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(args: argparse.Namespace) -> int:
    if args.dataset:
        _dataset(args.dataset, args.root)
    if args.list:
        _list(args.filter)
    if args.verify:
        return _verify(args.names, args.filter)
    for name in args.names:
        _download(name)
    return 0


def _download(name: str) -> None:
    from kdzoo.models.checkpoint import local_path

    print(f"{name}: {local_path(name if ':' in name else f'zoo:{name}')}")


def _chosen(names: Sequence[str], pattern: str | None) -> list:
    from kdzoo.zoo import find_entry, read_index

    entries = [find_entry(name.removeprefix("zoo:")) for name in names] or list(read_index().values())
    chosen = [entry for entry in entries if pattern is None or fnmatchcase(entry.name, pattern)]
    if not chosen:
        raise UserError(f"no model's name matches {pattern!r}; --list without --filter shows all")
    return chosen


def _list(pattern: str | None) -> None:
    entries = _chosen([], pattern)
    width = max(len(entry.name) for entry in entries)
    for entry in entries:
        metric = entry.metrics[0]
        size = f"{entry.size / 1e6:.2f} MB" if entry.size else "size unknown"
        told = f"{metric.name} {metric.value:.2f} ({'measured' if metric.measured else 'published'})"
        print(f"{entry.name:<{width}}  {entry.architecture:<14} {entry.data:<9} {told:<24} {size:<12} {entry.verified}")


def _verify(names: Sequence[str], pattern: str | None) -> int:
    """One line a model; files whose hash is wrong are left where they are, and never load."""
    from kdzoo.zoo.verify import verify

    entries = _chosen(names, pattern)
    states = [verify(entry) for entry in entries]
    for entry, state in zip(entries, states, strict=True):
        print(f"{entry.name}: {state.told}")
    return int(any(state.wrong for state in states))


def _dataset(name: str, root: str | None) -> None:
    folder = download_dataset(name, data_root(root))
    if folder is None:
        print(f"{data_root(root) / name} is there already; remove it to make it anew")
    else:
        print(f"{name} is in {folder}")


if __name__ == "__main__":
    sys.exit(main())
