"""Robust accuracy against epsilon, by APGD or PGD in each norm."""

import argparse
from pathlib import Path

EPSILONS = {
    "Linf": [0.0, 1 / 255, 2 / 255, 4 / 255, 8 / 255],
    "L2": [0.0, 0.125, 0.25, 0.5, 1.0],
    "L1": [0.0, 3.0, 6.0, 12.0, 24.0],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--norms", nargs="+", choices=tuple(EPSILONS), default=list(EPSILONS), help="default: all")
    parser.add_argument("--eps", nargs="+", help="budgets of one norm, e.g. 0 2/255 8/255 (default: five a norm)")
    parser.add_argument("--attack", choices=("apgd", "pgd"), default="apgd", help="default apgd")
    parser.add_argument("--loss", default="ce", help="of apgd: ce, dlr, dlr-targeted or ce-targeted (default ce)")
    parser.add_argument("--steps", type=int, default=20, help="default 20 (AutoAttack takes 100)")
    parser.add_argument("--restarts", type=int, default=1, help="random starts (default 1)")
    parser.add_argument("--max-images", type=int, default=500, help="the first so many test images (default: 500)")
    parser.add_argument("--no-fold", action="store_true", help="search with the batch norms as they are")


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Attack norm by norm, print the table, write attacks.npz for the report page."""
    from kdzoo.robust.attacks.autoattack.network import SearchNetwork
    from kdzoo.robust.attacks.budget import check_eps
    from kdzoo.robust.attacks.curve import record_arrays, robust_accuracy

    epsilons = budgets(arguments)
    batches = first_images(data, arguments.max_images)
    build = builder(arguments)
    first = next(iter(batches()))[0]
    for norm in arguments.norms:
        for eps in filter(None, epsilons[norm]):
            check_eps(eps, norm, first[0].numel())  # told before the smaller ones are attacked
    search = SearchNetwork(model, first, fold=not arguments.no_fold)
    points, pictures = [], []
    print("norm        eps   robust top-1 %", flush=True)
    for norm in arguments.norms:
        found, shown = robust_accuracy(model, batches, norm, epsilons[norm], build, tell, search)
        points += found
        pictures += [shown]
    label = f"{arguments.attack.upper()}-{arguments.steps}"
    label += f" ({arguments.loss})" if arguments.attack == "apgd" else ""
    if arguments.out:
        import numpy as np

        from kdzoo.files import atomic_path

        file = Path(arguments.out) / "attacks.npz"
        with atomic_path(file) as temporary, open(temporary, "wb") as stream:
            np.savez_compressed(stream, **record_arrays(points, pictures, label, data.classes))
    return dict(
        attack=arguments.attack, loss=arguments.loss, steps=arguments.steps, restarts=arguments.restarts,
        images=min(arguments.max_images, data.test.size), folded=search.folded,
        results=[vars(point) for point in points],
    )  # fmt: skip


def tell(point) -> None:
    print(f"{point.norm:5s}  {point.eps:8.5g}  {point.top1:14.2f}", flush=True)


def budgets(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """The budgets of each norm; ``--eps`` says them for one."""
    from kdzoo.errors import UserError
    from kdzoo.robust.attacks.attack_loss import check_loss
    from kdzoo.robust.attacks.budget import check_eps

    for name in ("steps", "restarts", "max_images"):
        if getattr(arguments, name) < 1:
            raise UserError(f"--{name.replace('_', '-')} is {getattr(arguments, name)}; use 1 or more")
    check_loss(arguments.loss)
    if arguments.eps is None:
        return EPSILONS
    if len(arguments.norms) > 1:
        raise UserError("--eps gives the budgets of one norm; name it with --norms Linf (or L2, or L1)")
    values = [fraction(word) for word in arguments.eps]
    for value in values:
        if value != 0:
            check_eps(value, arguments.norms[0])
    return {arguments.norms[0]: values}


def fraction(word: str) -> float:
    """``0.5`` or ``8/255``."""
    from kdzoo.errors import UserError

    above, _, below = word.partition("/")
    try:
        return float(above) / float(below or 1)
    except (ValueError, ZeroDivisionError):
        raise UserError(f"--eps {word!r} is no number; use for example 0.5 or 8/255") from None


def builder(arguments: argparse.Namespace):
    from kdzoo.robust.attacks import APGD, PGD

    if arguments.attack == "pgd":
        return lambda norm, eps: PGD(norm, eps, arguments.steps, restarts=arguments.restarts, seed=arguments.seed)
    return lambda norm, eps: APGD(
        norm, eps, arguments.steps, arguments.loss, restarts=arguments.restarts, seed=arguments.seed
    )


def first_images(data, count: int):
    """Starts a pass over the first test images."""

    def batches():
        left = count
        for batch in data.test.epoch(0):
            if left <= 0:
                return
            yield batch.images[:left], batch.target[:left]
            left -= len(batch.images)

    return batches
