"""Train what a config says: one run, several seeds, or a study with its report."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kdzoo.tools.command import command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="train.py", description=__doc__)
    parser.add_argument("config", help="a config file, e.g. configs/quickstart.py")
    parser.add_argument("--work-dir", help="where to write (default: work_dirs/ and the config's name)")
    parser.add_argument("--resume", action="store_true", help="go on with what stands in the work dir")
    parser.add_argument("--seeds", type=int, nargs="+", help="run once per seed and aggregate")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. losses.1.weight=3")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from kdzoo.errors import UserError
    from kdzoo.heap import keep_freed_memory
    from kdzoo.tools.config_path import find_config

    keep_freed_memory()
    try:
        return run(arguments, find_config(arguments.config))
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def run(arguments: argparse.Namespace, config_path: Path) -> int:
    import torch

    import kdzoo
    from kdzoo.engine import Interrupted
    from kdzoo.engine.folder import default_folder
    from kdzoo.errors import UserError

    config = kdzoo.Config.from_file(config_path, arguments.cfg_options)
    work_dir = Path(arguments.work_dir) if arguments.work_dir else default_folder(config)
    try:
        kdzoo.train(config, work_dir, arguments.resume, arguments.seeds, arguments.device)
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return 130
    except torch.OutOfMemoryError:
        cure = "take each batch in two parts (--resume --cfg-options runtime.accumulate=2), or lower batch_size"
        raise UserError(f"the GPU's memory is full; {cure}") from None
    from accelerate import PartialState

    if PartialState().is_main_process:
        from kdzoo.report import read_groups, text_table, write_report

        print(text_table(read_groups([work_dir])))
        print(f"report: {write_report([work_dir], work_dir / 'report.html')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
