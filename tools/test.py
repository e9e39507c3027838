"""Test a checkpoint: top-1, top-5, NLL, calibration, confusion, throughput."""

import argparse
import sys
from collections.abc import Sequence

from kdzoo.tools.command import command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="test.py", description=__doc__)
    parser.add_argument("config", help="the config whose student and test images are used; a run's config.py will do")
    parser.add_argument("checkpoint", help="weights: a file, or zoo:NAME, hf:OWNER/REPO/FILE, pip:PACKAGE")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    parser.add_argument("--out", help="folder for test.json and evaluation.npz")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. data.root=/data")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    import torch

    from kdzoo.config import Config
    from kdzoo.engine.testing import test_checkpoint
    from kdzoo.errors import UserError
    from kdzoo.heap import keep_freed_memory
    from kdzoo.tools.config_path import find_config

    keep_freed_memory()
    try:
        config = Config.from_file(find_config(arguments.config), arguments.cfg_options)
        show(test_checkpoint(config, arguments.checkpoint, arguments.device, arguments.out))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print("error: the GPU's memory is full; lower test_batch_size with --cfg-options", file=sys.stderr)
        return 2
    return 0


def show(result) -> None:
    scores = result.scores
    print(f"{result.network}, {result.checkpoint}, {result.images:,} test images, {result.device}")
    print(f"top-1       {scores.top1:8.2f} %")
    if scores.top5 is not None:
        print(f"top-5       {scores.top5:8.2f} %")
    print(f"NLL         {scores.nll:8.4f} nats")
    print(f"ECE         {scores.ece:8.2f} %   (15 bins)")
    print(f"throughput  {result.images_per_second:8,.0f} images/s (forward alone)")
    if len(result.classes) <= 12:
        width = max(5, *(len(name) for name in result.classes)) + 1
        print("confusion (rows: true, columns: predicted)")
        print(" " * width + "".join(f"{name:>{width}}" for name in result.classes))
        for name, row in zip(result.classes, result.confusion.tolist(), strict=True):
            print(f"{name:<{width}}" + "".join(f"{count:>{width}}" for count in row))
    print("most confused (count, true, predicted)")
    for count, true, predicted in result.most_confused(8):
        print(f"{count:5d}  {true} -> {predicted}")


if __name__ == "__main__":
    sys.exit(main())
