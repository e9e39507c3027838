"""Accuracy under Gaussian noise."""

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--sigmas", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2, 0.4], help="of pixels in [0, 1]"
    )


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Print a table of top-1 by sigma; return it for the JSON file."""
    from kdzoo.robust.noise import accuracy_under_noise

    scores = accuracy_under_noise(model, data.test, arguments.sigmas, arguments.seed)
    print("sigma   top-1 %")
    for score in scores:
        print(f"{score.sigma:5.3f}  {score.top1:8.2f}")
    return dict(scores=[vars(score) for score in scores])
