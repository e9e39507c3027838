"""Measure how a checkpoint behaves when its images are not what it was trained on."""

import argparse
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from kdzoo.tools.command import command

# Each is kdzoo.tools.tasks.NAME: its docstring's first line is the help, add_arguments(parser) declares its
# options, run(arguments, config, model, data) measures, prints and returns a dict for robust_NAME.json.
# A task that can do without a model has stands_alone(arguments) -> bool and run_alone(arguments) -> exit status.
TASKS = ("noise", "ood", "certify", "corruptions", "pgd", "autoattack", "union")


def _task(name: str):
    return importlib.import_module(f"kdzoo.tools.tasks.{name}")


def parser(task: str) -> argparse.ArgumentParser:
    """The command line of one task."""
    about = "; ".join(f"{name}: {_task(name).__doc__.splitlines()[0]}" for name in TASKS)
    parser = argparse.ArgumentParser(prog="eval_robust.py", description=__doc__)
    alone = "?" if hasattr(_task(task), "stands_alone") else None
    about_config = "the config whose student and test images are used; a run's config.py will do"
    parser.add_argument("config", nargs=alone, help=about_config)
    parser.add_argument("checkpoint", nargs=alone, help="weights: a file, or zoo:NAME, hf:OWNER/REPO/FILE, pip:PACKAGE")
    parser.add_argument("--task", choices=TASKS, default="noise", help=about)
    parser.add_argument("--seed", type=int, default=0, help="of all randomness")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    parser.add_argument("--out", help="folder for robust_TASK.json, with certify one a method, and the rest")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. data.test_limit=1000")
    _task(task).add_arguments(parser.add_argument_group(f"--task {task}"))
    return parser


def _asked(argv: Sequence[str]) -> str:
    """The task on a command line whose other options are not known yet."""
    first = argparse.ArgumentParser(add_help=False)
    first.add_argument("--task", choices=TASKS, default="noise")
    return first.parse_known_args(argv)[0].task


@command
def main(argv: Sequence[str] | None = None) -> int:
    argv = sys.argv[1:] if argv is None else argv
    arguments = parser(_asked(argv)).parse_args(argv)
    import torch

    from kdzoo.config import Config
    from kdzoo.engine.folder import git_revision, versions, write_json
    from kdzoo.engine.testing import load_tested
    from kdzoo.errors import UserError
    from kdzoo.heap import keep_freed_memory
    from kdzoo.tools.config_path import find_config

    keep_freed_memory()
    task = _task(arguments.task)
    try:
        if hasattr(task, "stands_alone") and task.stands_alone(arguments):
            return task.run_alone(arguments)
        if arguments.checkpoint is None:
            raise UserError("a config and a checkpoint are needed: eval_robust.py CONFIG CHECKPOINT --task ...")
        config = Config.from_file(find_config(arguments.config), arguments.cfg_options)
        model, data = load_tested(config, arguments.checkpoint, arguments.device)
        print(f"{model.name}, {arguments.checkpoint}, {data.test.size:,} test images, task {arguments.task}")
        result = task.run(arguments, config, model, data)
        name = result.pop("record_name", arguments.task)
        if arguments.out:
            record = dict(task=arguments.task, network=model.name, checkpoint=arguments.checkpoint, **result)
            record |= dict(seed=arguments.seed, test_images=data.test.size, versions=versions(), git=git_revision())
            write_json(Path(arguments.out) / f"robust_{name}.json", record)
    except (UserError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except torch.OutOfMemoryError:
        print("error: the GPU's memory is full; lower the task's --batch, or test_batch_size", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
