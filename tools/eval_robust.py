"""Measure how a checkpoint behaves when its images are not what it was trained on."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="eval_robust.py", description=__doc__)
    parser.add_argument("config", help="the config whose student and test images are used; a run's config.py will do")
    parser.add_argument("checkpoint", help="weights: .safetensors, or a torch file of tensors")
    parser.add_argument("--task", choices=sorted(TASKS), default="noise", help="noise: accuracy under Gaussian noise")
    parser.add_argument(
        "--sigmas", type=float, nargs="+", default=[0.0, 0.05, 0.1, 0.2, 0.4], help="of pixels in [0, 1]"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the noise")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    parser.add_argument("--out", help="folder for robust_TASK.json")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. data.test_limit=1000")
    return parser


def noise(arguments: argparse.Namespace, model, data) -> dict:
    """Accuracy under Gaussian noise; printed as a table, returned for the JSON file."""
    from kdzoo.robust.noise import accuracy_under_noise

    scores = accuracy_under_noise(model, data.test, arguments.sigmas, arguments.seed)
    print("sigma   top-1 %")
    for score in scores:
        print(f"{score.sigma:5.3f}  {score.top1:8.2f}")
    return dict(seed=arguments.seed, scores=[vars(score) for score in scores])


TASKS = {"noise": noise}


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from kdzoo.config import Config
    from kdzoo.engine.folder import git_revision, versions, write_json
    from kdzoo.engine.testing import load_tested
    from kdzoo.errors import UserError
    from kdzoo.tools.config_path import find_config

    try:
        config = Config.from_file(find_config(arguments.config), arguments.cfg_options)
        model, data = load_tested(config, arguments.checkpoint, arguments.device)
        print(f"{model.name}, {arguments.checkpoint}, {data.test.size:,} test images, task {arguments.task}")
        result = TASKS[arguments.task](arguments, model, data)
        if arguments.out:
            record = dict(task=arguments.task, network=model.name, checkpoint=arguments.checkpoint, **result)
            record |= dict(test_images=data.test.size, versions=versions(), git=git_revision())
            write_json(Path(arguments.out) / f"robust_{arguments.task}.json", record)
    except (UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
