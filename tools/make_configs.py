"""Write configs/cifar100/{teachers,students,kd,lskd}: one short file a network or pair, from kdzoo.models.pairs.

The files are committed, so that each can be read and run as it is; after a change of the table run
`python tools/make_configs.py` again. A test holds the files to what this writes.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from kdzoo.files import write_text
from kdzoo.models import PAIRS, Pair

BASES = """\
_base_ = ["../../_base_/data/cifar100.py", "../../_base_/schedules/sgd_240e.py", "../../_base_/runtime/default.py"]"""


def number(value: float) -> str:
    return f"{value:g}" if value != int(value) else f"{value:.1f}"


def kd(pair: Pair) -> list[str]:
    return [
        f'dict(type="CrossEntropy", weight={number(pair.ce_weight)}),',
        f'dict(type="KD", temperature={number(pair.kd_temperature)}, weight={number(pair.kd_weight)}),',
    ]


def lskd(pair: Pair) -> list[str]:
    temperature, weight = number(pair.lskd_temperature), number(pair.lskd_weight)
    return [
        f'dict(type="CrossEntropy", weight={number(pair.ce_weight)}),',
        f'dict(type="KD", temperature={temperature}, standardize=True, weight={weight}),',
    ]


METHODS: dict[str, Callable[[Pair], list[str]]] = {"kd": kd, "lskd": lskd}
COLUMNS = {"kd": "KD", "lskd": "KD+LS"}  # of the published table


def distilled(pair: Pair, method: str) -> str:
    """The config of one pair and method."""
    published = pair.published.get(COLUMNS[method])
    told = f"published {published:.2f}" if published is not None else "no published number"
    lines = [f"# {pair.name}, {method.upper()}: {told}; teacher {pair.published['teacher']:.2f}.", BASES, ""]
    lines += [f'pair = "{pair.name}"']
    lines += [f'teacher = dict(checkpoint="work_dirs/cifar100/teachers/{pair.teacher}/last.safetensors")']
    if pair.learning_rate != 0.05:
        lines += [f"optimizer = dict(lr={pair.learning_rate})"]
    lines += ["losses = [", *(f"    {line}" for line in METHODS[method](pair)), "]"]
    return "\n".join(lines) + "\n"


def plain(network: str, published: float, learning_rate: float) -> str:
    """The config of one network trained without a teacher."""
    lines = [f"# {network} without a teacher: published {published:.2f}.", BASES, "", f'student = "{network}"']
    if learning_rate != 0.05:
        lines += [f"optimizer = dict(lr={learning_rate})"]
    return "\n".join([*lines, 'losses = [dict(type="CrossEntropy")]']) + "\n"


def configs() -> dict[str, str]:
    """Path below configs/cifar100/ -> text, of every generated config."""
    files: dict[str, str] = {}
    for pair in PAIRS.values():
        files[f"teachers/{pair.teacher}.py"] = plain(pair.teacher, pair.published["teacher"], 0.05)
        files[f"students/{pair.student}.py"] = plain(pair.student, pair.published["student"], pair.learning_rate)
        for method in METHODS:
            files[f"{method}/{pair.name}.py"] = distilled(pair, method)
    return files


def main() -> int:
    folder = Path(__file__).parents[1] / "configs" / "cifar100"
    for path, text in configs().items():
        write_text(folder / path, text)
    print(f"wrote {len(configs())} configs to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
