"""Few-shot heads on cached features: zero-shot, linear probe, Tip-Adapter and AMU-Tuning at 1 to 16 shots.

    python tools/few_shot.py --clip work_dirs/probe/lite0/features --aux work_dirs/probe/lite1/features

The folders are those that tools/probe.py fills, for the same images. Without --text, class means of a few images
apart from the shots stand in for text embeddings.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from kdzoo.tools.command import command

if TYPE_CHECKING:  # --help is not to wait for NumPy
    import numpy as np


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="few_shot.py", description=__doc__.splitlines()[0])
    parser.add_argument("--clip", type=Path, required=True, help="folder of features of the zero-shot branch")
    parser.add_argument("--aux", type=Path, required=True, help="folder of auxiliary features of the same images")
    parser.add_argument("--text", type=Path, help="a .npy file [D, K] of text weights (zero_shot_weights)")
    parser.add_argument("--text-shots", type=int, default=2, help="images a class that stand in for text (default: 2)")
    parser.add_argument("--scale", type=float, default=100.0, help="of the zero-shot logits (default: CLIP's 100)")
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 2, 4, 8, 16], help="(default: 1 2 4 8 16)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="of the draws (default: 1 2 3)")
    parser.add_argument("--epochs", type=int, default=50, help="of AMU-Tuning (default: 50)")
    parser.add_argument("--out", type=Path, help="folder for few_shot.json")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from kdzoo.errors import UserError

    try:
        run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


@dataclass
class Cached:
    """Both branches' features and the labels of one part."""

    clip: "np.ndarray"
    aux: "np.ndarray"
    labels: "np.ndarray"

    def rows(self, rows: "np.ndarray") -> "Cached":
        return Cached(self.clip[rows], self.aux[rows], self.labels[rows])


def run(arguments: argparse.Namespace) -> None:
    import numpy as np

    from kdzoo.engine.folder import write_json
    from kdzoo.errors import UserError

    train, test = (read(arguments, part) for part in ("train", "test"))
    results: dict[str, dict[int, list[float]]] = {}
    try:
        for shots in arguments.shots:
            for seed in arguments.seeds:
                for name, accuracy in compare(arguments, train, test, shots, seed).items():
                    results.setdefault(name, {}).setdefault(shots, []).append(accuracy)
    except ValueError as error:
        raise UserError(str(error)) from error
    text = arguments.text or f"class means of {arguments.text_shots} images a class, apart from the shots, for text"
    print(f"{len(test.labels):,} test images; text weights: {text}; {len(arguments.seeds)} seeds; every choice is made")
    print("on validation samples (as many as shots, at most 4 a class); accuracy in %, mean and sample deviation")
    print(f"{'shots':16}" + "".join(f"{shots:>16}" for shots in arguments.shots))
    for name, by_shots in results.items():
        cells = [f"{np.mean(v):.2f} ± {np.std(v, ddof=1) if len(v) > 1 else 0:.2f}" for v in by_shots.values()]
        print(f"{name:16}" + "".join(f"{cell:>16}" for cell in cells))
    if arguments.out is not None:
        write_json(arguments.out / "few_shot.json", dict(text=str(text), seeds=arguments.seeds, results=results))


def read(arguments: argparse.Namespace, part: str) -> Cached:
    """A part of both caches; UserError where they are missing or hold other images."""
    import numpy as np

    from kdzoo.errors import UserError

    arrays = []
    for folder in (arguments.clip, arguments.aux):
        for name in ("features", "labels"):
            path = folder / f"{part}_{name}.npy"
            if not path.is_file():
                raise UserError(f"there is no {path}; extract features with tools/probe.py first")
            arrays.append(load(path))
        check_whole(folder / f"{part}.json")
    clip, labels, aux, others = arrays
    if not np.array_equal(labels, others):
        raise UserError(f"{arguments.clip} and {arguments.aux} hold other images; extract both with the same limits")
    return Cached(clip, aux, labels)


def load(path: Path) -> "np.ndarray":
    """The array of a .npy file; UserError where it is none."""
    import numpy as np

    from kdzoo.errors import UserError

    try:
        return np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is no .npy file of numbers that can be read ({error})") from error


def check_whole(record: Path) -> None:
    """UserError where tools/probe.py was stopped midway: what it had not come to yet stands as zeros in the arrays."""
    import json

    from kdzoo.errors import UserError

    if not record.is_file():
        return
    try:
        held = json.loads(record.read_text(encoding="utf-8"))
        done, size = int(held["done"]), int(held["size"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{record} can't be read ({error}); remove it and run tools/probe.py again") from error
    if done < size:
        told = f"{done:,} of {size:,} images"
        raise UserError(f"{record.parent} holds features of {told}; run tools/probe.py again, it goes on there")


def compare(arguments: argparse.Namespace, train: Cached, test: Cached, shots: int, seed: int) -> dict[str, float]:
    """Test accuracy of each method at one number of shots and one seed."""
    import numpy as np
    import torch

    from kdzoo.heads import TipAdapter, choose_amu, class_mean_weights, few_shot_split, k_shot, logistic_probe

    if arguments.text is not None:
        weights, pool = torch.from_numpy(load(arguments.text)), np.arange(len(train.labels))
    else:
        stand_in = k_shot(train.labels, arguments.text_shots, seed=0)  # the same for all shots and seeds
        weights = class_mean_weights(train.clip[stand_in], train.labels[stand_in])
        pool = np.setdiff1d(np.arange(len(train.labels)), stand_in)
    rows, chosen_by = (pool[part] for part in few_shot_split(train.labels[pool], shots, seed))
    few, held = train.rows(rows), train.rows(chosen_by)
    zero_shot = TipAdapter(weights, alpha=0.0, scale=arguments.scale).fit(few.clip, few.labels)
    tip = TipAdapter(weights, scale=arguments.scale).fit(few.clip, few.labels).choose(held.clip, held.labels)
    probes = [logistic_probe(C).fit(unit(few.clip), few.labels) for C in (0.1, 1.0, 10.0, 100.0)]
    probe = max(probes, key=lambda one: one.score(unit(held.clip), held.labels))
    validation = ((held.clip, held.aux), torch.from_numpy(held.labels))
    amu = choose_amu(
        weights, (few.clip, few.aux), few.labels, validation, epochs=arguments.epochs, scale=arguments.scale
    )
    return {
        "zero-shot": zero_shot.score(test.clip, test.labels),
        "linear probe": 100.0 * float(probe.score(unit(test.clip), test.labels)),
        "Tip-Adapter": tip.score(test.clip, test.labels),
        "AMU-Tuning": amu.score((test.clip, test.aux), test.labels),
    }


def unit(x: "np.ndarray") -> "np.ndarray":
    from kdzoo.heads.novel import unit_rows

    return unit_rows(x)


if __name__ == "__main__":
    sys.exit(main())
