"""Accuracy under AutoAttack, in one norm.

python tools/eval_robust.py CONFIG CHECKPOINT --task autoattack --norm Linf --eps 8/255 --max-images 500 --out OUT
"""

import argparse
from pathlib import Path

from kdzoo.tools.tasks.certify import own_device, which_shard

NORMS = {"linf": "Linf", "l2": "L2", "l1": "L1"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--norm", type=norm, default="Linf", help="Linf, L2 or L1 (default Linf)")
    parser.add_argument(
        "--eps", type=budget, help="of pixels in [0, 1], such as 8/255 (default: Linf 8/255, L2 0.5, L1 12)"
    )
    parser.add_argument("--model-info", metavar="FILE", help="write RobustBench's model_info JSON there, too")
    add_shared_arguments(parser)


def add_shared_arguments(parser: argparse.ArgumentParser) -> None:
    """What union has, too."""
    parser.add_argument(
        "--version", choices=("standard", "plus", "rand", "custom"), default="standard", help="default standard"
    )
    parser.add_argument(
        "--attacks", nargs="+", metavar="NAME", help="of custom: apgd-ce apgd-dlr apgd-t fab fab-t square"
    )
    for name, about in (
        ("steps", "APGD's and FAB's (default 100)"),
        ("queries", "Square's (default 5000)"),
        ("restarts", "default: as published"),
        ("targets", "of apgd-t and fab-t (default 9)"),
    ):
        parser.add_argument(f"--{name}", type=int, help=f"of custom: {about}")
    parser.add_argument("--max-images", type=int, help="the first so many test images (default: all)")
    parser.add_argument(
        "--batch", type=int, default=250, help="images attacked at a time; random numbers are seeded by batch, "
        "so it is a part of the result (default 250)",
    )  # fmt: skip
    parser.add_argument(
        "--fast", action="store_true", help="search in bfloat16 first; hits are verified, the rest attacked in float32"
    )
    parser.add_argument(
        "--backend", choices=("kdzoo", "pyautoattack"), default="kdzoo", help="whose APGD (default kdzoo's, faster)"
    )
    parser.add_argument("--no-fold", action="store_true", help="search with the batch norms as they are")
    parser.add_argument("--shard", help="I/N: this process's share, from 0; torchrun and accelerate set it themselves")


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Attack, print the table, write images, record and JSON; return the figures."""
    from kdzoo.robust.attacks.autoattack import CIFAR_EPS
    from kdzoo.robust.attacks.autoattack.model_info import check_card, write_model_info

    eps = CIFAR_EPS[arguments.norm] if arguments.eps is None else arguments.eps
    if arguments.model_info:
        check_card(arguments.version, arguments.norm)
    attacked = Attacked(arguments, model, data)
    result = attacked.evaluate(arguments.norm, eps)
    if not result.complete:
        print(attacked.unfinished())
        return summary(result)
    print(result.table())
    if arguments.model_info:
        dataset = str(config["data"]["type"]).lower()
        write_model_info(arguments.model_info, result, dataset, model.name, data.test.size)
        print(f"RobustBench's card: {arguments.model_info}")
    return summary(result)


def summary(result) -> dict:
    """The figures, without the lists that have an entry an image (they are in ``autoattack_NORM.json``)."""
    return {k: v for k, v in result.record().items() if k not in ("outcome", "predicted", "target", "settings")}


class Attacked:
    """The images, the model and the folder of one command."""

    def __init__(self, arguments: argparse.Namespace, model, data):
        import torch

        from kdzoo.errors import UserError
        from kdzoo.robust.certify.run import read_images, wanted_images

        if not arguments.out:
            raise UserError(f"--task {arguments.task} needs --out, the folder of its state: a killed run goes on there")
        self.arguments, self.data, self.out = arguments, data, Path(arguments.out)
        self.shard, self.parts = which_shard(arguments.shard), custom_parts(arguments)
        self.model = model.to(own_device(model))
        found = list(read_images(data.test, wanted_images(data.test.size, most=arguments.max_images)))
        self.images = torch.stack([image.float() for _, image, _ in found])
        self.target = torch.tensor([label for _, _, label in found])

    def attack(self, norm: str, eps: float):
        """The attack in one norm; ValueError for a budget that does not fit."""
        from kdzoo.robust.attacks.autoattack import AutoAttack
        from kdzoo.robust.attacks.autoattack.inputs import check_eps

        options = self.arguments
        attack = AutoAttack(
            norm,
            eps,
            options.version,
            self.parts,
            options.seed,
            options.batch,
            options.fast,
            not options.no_fold,
            options.backend,
        )
        check_eps(norm, eps, self.images)
        return attack

    def evaluate(self, norm: str, eps: float):
        """The result in one norm, from where an earlier run stopped; its files where it is complete."""
        from kdzoo.engine.folder import write_json
        from kdzoo.robust.attacks.autoattack.record import write_record

        options, attack = self.arguments, self.attack(norm, eps)
        state = self.out / f"autoattack_{norm}"
        print(f"AutoAttack {options.version}, {norm} eps {eps:.6g}, {len(self.images)} images, state in {state}")
        with progress_bar(self.shard) as progress:
            result = attack.evaluate(self.model, self.images, self.target, state, self.shard, progress)
        if result.complete:
            result.save_images(state.with_suffix(".safetensors"), self.images)
            write_json(state.with_suffix(".json"), result.record())
            write_record(state.with_suffix(".npz"), [result], self.images, self.data.classes)
        return result

    def unfinished(self) -> str:
        return f"shard {self.shard.number} of {self.shard.count} is done; the last one to finish prints the result"


def custom_parts(arguments: argparse.Namespace) -> list | None:
    """The attacks of version custom with the options given; ``None`` for the other versions."""
    from dataclasses import replace

    from kdzoo.errors import UserError
    from kdzoo.robust.attacks.autoattack import parts_of

    given = {name: getattr(arguments, name) for name in ("steps", "queries", "restarts", "targets")}
    given = {name: value for name, value in given.items() if value is not None}
    if arguments.version != "custom":
        if given or arguments.attacks:
            name = next(iter(given), "attacks")
            raise UserError(f"--{name} changes the published attacks; use it with --version custom --attacks ...")
        return None
    return [replace(part, **given) for part in parts_of("custom", "Linf", arguments.attacks)]


def norm(text: str) -> str:
    """Linf, L2 or L1, however it is written."""
    try:
        return NORMS[text.lower()]
    except KeyError:
        raise argparse.ArgumentTypeError(f"{text!r} is no norm; use Linf, L2 or L1") from None


def budget(text: str) -> float:
    """``8/255`` or ``0.0314``."""
    above, _, below = text.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"{text!r} is no number; write 0.03 or 8/255") from None


class progress_bar:
    """A bar an attack, with what is still robust and the time left for everything."""

    def __init__(self, shard):
        self.shard, self.bar, self.stage = shard, None, None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()

    def __call__(self, seen) -> None:
        from tqdm import tqdm

        from kdzoo.report.words import duration

        if seen.stage != self.stage:
            self.__exit__()
            if self.stage is None:
                print(
                    f"at most about {duration(seen.seconds_left)}, if every image that is right withstands everything"
                )
            self.stage = seen.stage
            self.bar = tqdm(
                total=seen.total, desc=f"{seen.stage:8}", position=self.shard.number,
                bar_format="{desc} {n}/{total} |{bar:20}| {elapsed}{postfix}",
            )  # fmt: skip
        left = f", about {duration(seen.seconds_left)} left" if seen.seconds_left >= 1 else ""
        self.bar.set_postfix_str(f"robust {seen.robust / seen.total:.1%}{left}", refresh=False)
        self.bar.update(seen.done - self.bar.n)
