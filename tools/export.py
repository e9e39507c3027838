"""Write a checkpoint as ONNX and torch.export files, each checked against PyTorch's answers.

python tools/export.py configs/digits/resnet20.py zoo:digits/resnet20 --out exported
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from kdzoo.tools.command import command

FORMATS = ("onnx", "pt2")


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="export.py", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="the config whose student it is and on whose test images it is checked")
    parser.add_argument("checkpoint", help="weights: a file, or zoo:NAME, hf:OWNER/REPO/FILE, pip:PACKAGE")
    parser.add_argument("--out", default="exported", help="folder (default: exported)")
    parser.add_argument("--format", nargs="+", choices=FORMATS, default=list(FORMATS), help="default: both")
    parser.add_argument("--images", type=int, default=64, help="test images to check on, 3 or more (default: 64)")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. data.root=/data")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    command = parser()
    arguments = command.parse_args(argv)
    if arguments.images < 3:
        command.error("--images must be 3 or more, so that another batch size than the traced one is checked")
    from kdzoo.config import Config
    from kdzoo.engine.export import export_model
    from kdzoo.engine.testing import load_tested
    from kdzoo.errors import UserError
    from kdzoo.tools.config_path import find_config

    try:
        config = Config.from_file(find_config(arguments.config), arguments.cfg_options)
        model, data = load_tested(config, arguments.checkpoint, "cpu")
        images = next(iter(data.test.epoch(0))).images[: arguments.images]
        for kind in arguments.format:
            made = export_model(model, images, Path(arguments.out) / f"{model.name}.{kind}", kind)
            told = f"logits as PyTorch's to {made.difference:.1e} on {made.images} test images"
            print(f"{made.path}: {made.path.stat().st_size:,} bytes, {told}")
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
