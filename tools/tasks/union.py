"""Accuracy under AutoAttack in several norms at once.

python tools/eval_robust.py CONFIG CHECKPOINT --task union --max-images 500 --out OUT
"""

import argparse

from kdzoo.tools.tasks.autoattack import Attacked, add_shared_arguments, budget, norm


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--norms", type=norm, nargs="+", default=["Linf", "L2", "L1"], help="default Linf L2 L1")
    parser.add_argument(
        "--eps", type=budget, nargs="+", help="one a norm, in their order (default: Linf 8/255, L2 0.5, L1 12)"
    )
    add_shared_arguments(parser)


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Attack in each norm, print each and the union, write the record; return the figures."""
    from kdzoo.errors import UserError
    from kdzoo.robust.attacks.autoattack import CIFAR_EPS, Union
    from kdzoo.robust.attacks.autoattack.record import write_record

    eps = [CIFAR_EPS[name] for name in arguments.norms] if arguments.eps is None else arguments.eps
    if len(eps) != len(arguments.norms) or len(set(arguments.norms)) != len(arguments.norms):
        raise UserError(f"--norms and --eps need one budget a norm, got {len(eps)} for {' '.join(arguments.norms)}")
    attacked = Attacked(arguments, model, data)
    budgets = list(zip(arguments.norms, eps, strict=True))
    for each in budgets:
        attacked.attack(*each)  # a budget that does not fit is told before hours of work in another norm
    results = [attacked.evaluate(*each) for each in budgets]
    if not all(result.complete for result in results):
        # Another process may have finished an earlier norm while this one was at a later.
        results = [
            result if result.complete else attacked.evaluate(*each)
            for result, each in zip(results, budgets, strict=True)
        ]
    if not all(result.complete for result in results):
        print(attacked.unfinished())
        return dict(complete=False, norms=arguments.norms)
    union = Union(results)
    for result in results:
        print(f"\n{result.norm}\n{result.table()}")
    print(f"\n{union.table()}")
    path = attacked.out / "union.npz"
    write_record(path, results, attacked.images, data.classes, union.robust_accuracy)
    return dict(complete=True, **union.record())
