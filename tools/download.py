"""Download a data set into the folder that configs read it from.

python tools/download.py --dataset cifar100 [--root DIR]
"""

import argparse
import sys
from collections.abc import Sequence

from kdzoo.data.download import DOWNLOADS, download_dataset
from kdzoo.data.npy import data_root
from kdzoo.errors import UserError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", choices=sorted(DOWNLOADS), required=True, help="the data set to make")
    parser.add_argument("--root", help="folder of data sets (default: the environment's KDZOO_DATA, else data)")
    args = parser.parse_args(argv)
    try:
        return _dataset(args.dataset, args.root)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _dataset(name: str, root: str | None) -> int:
    folder = download_dataset(name, data_root(root))
    if folder is None:
        print(f"{data_root(root) / name} is there already; remove it to make it anew")
    else:
        print(f"{name} is in {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
