"""Write configs/cifar100: one short file a network, and one a method and pair, from kdzoo.models.pairs.

The files are committed, so that each can be read and run as it is; after a change of the table run
`python tools/make_configs.py` again. A test holds the files to what this writes.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kdzoo.files import write_text
from kdzoo.models import PAIRS, Pair
from kdzoo.tools.command import command

RUNTIME = "../../_base_/runtime/default.py"
DATA = "../../_base_/data/cifar100.py"
SGD = "../../_base_/schedules/sgd_240e.py"
# This student has a stage more than this teacher; the first two are of one size.
STAGES = {"wrn_40_2-mobilenetv2": ", stages=[[2, 1], [3, 2], [4, 3]]"}


@dataclass(frozen=True)
class Method:
    """What the configs of one method say.

    Args:
        losses: of a pair, as lines of the config.
        column: of the published table.
        schedule: its base file.
        extra: further lines.
        taught: whether there is a teacher.
    """

    losses: Callable[[Pair], list[str]]
    column: str | None = None
    schedule: str = SGD
    extra: tuple[str, ...] = ()
    taught: bool = True


def number(value: float) -> str:
    return f"{value:g}" if value != int(value) else f"{value:.1f}"


def beside(ce: float | None, loss: str, **keywords: object) -> list[str]:
    """A loss beside cross-entropy of weight ``ce`` (``None``: without)."""
    said = "".join(f", {k}={number(v) if isinstance(v, float) else v}" for k, v in keywords.items())
    weight = "" if ce == 1.0 else f", weight={number(ce or 0)}"
    return ([] if ce is None else [f'dict(type="CrossEntropy"{weight}),']) + [f'dict(type="{loss}"{said}),']


def feature(loss: str, weight: float, stages: bool = False, **keywords: object) -> Method:
    """A feature loss beside cross-entropy 1, with the literature's weight."""

    def losses(pair: Pair) -> list[str]:
        lines = beside(1.0, loss, weight=weight, **keywords)
        if stages and pair.name in STAGES:
            lines[-1] = lines[-1].replace("),", STAGES[pair.name] + "),")
        return lines

    return Method(losses, column="CRD" if loss == "CRD" else None)


def ls_weight(pair: Pair) -> float:
    """By which DKD's alpha and beta, and MLKD, are multiplied with standardized logits: 9 or more for every pair.

    The pairs' own weights are those of KD, whose log of ResNet50-MobileNetV2 says 1; no log says so of the others.
    """
    return max(pair.lskd_weight, 9.0)


def _mlkd(standardize: bool) -> Callable[[Pair], list[str]]:
    def losses(pair: Pair) -> list[str]:
        lines = ['dict(type="CrossEntropy"),', 'dict(type="CrossEntropy", view="second"),']
        if standardize:
            temperature, weight = number(pair.lskd_temperature), number(ls_weight(pair))
            return [*lines, f'dict(type="MLKD", temperature={temperature}, standardize=True, weight={weight}),']
        return [*lines, 'dict(type="MLKD", temperature=4.0),']

    return losses


SECOND = (
    'augment_second = [dict(type="PadCrop", padding=4), dict(type="Flip"), '
    'dict(type="RandAugment", n=2, magnitude=10)]',
)
TWICE = "../../_base_/schedules/sgd_480e.py"
METHODS: dict[str, Method] = {
    "kd": Method(lambda p: beside(p.ce_weight, "KD", temperature=p.kd_temperature, weight=p.kd_weight), "KD"),
    "lskd": Method(
        lambda p: beside(p.ce_weight, "KD", temperature=p.lskd_temperature, standardize=True, weight=p.lskd_weight),
        "KD+LS",
    ),
    "nkd": Method(lambda p: beside(1.0, "NKD", gamma=3.5, temperature=3.0)),
    "uskd": Method(lambda p: beside(1.0, "USKD", alpha=0.1, beta=0.1, mu=0.1), taught=False),
    "dhkd": Method(
        lambda p: beside(1.0, "BinaryKLNorm", temperature=2.0, head='"nonlinear"'), extra=("align_gradients = True",)
    ),
    "pld": Method(lambda p: beside(None, "PLD", temperature=4.0), schedule="../../_base_/schedules/adamw_250e.py"),
    "dkd": Method(lambda p: beside(1.0, "DKD", beta=p.dkd_beta, temperature=4.0, warmup_epochs=20), "DKD"),
    "dkd_ls": Method(
        lambda p: beside(
            1.0,
            "DKD",
            alpha=ls_weight(p),
            beta=p.dkd_beta * ls_weight(p),
            temperature=p.lskd_temperature,
            standardize=True,
            warmup_epochs=20,
        ),
        "DKD+LS",
    ),
    "dist": Method(lambda p: beside(1.0, "DIST", temperature=4.0, weight=2.0), "DIST"),
    "ctkd": Method(lambda p: beside(0.1, "CTKD", weight=0.9), "CTKD"),
    "ctkd_ls": Method(lambda p: beside(0.1, "CTKD", standardize=True, weight=9.0), "CTKD+LS"),
    "mlkd": Method(_mlkd(False), "MLKD", TWICE, SECOND),
    "mlkd_ls": Method(_mlkd(True), "MLKD+LS", TWICE, SECOND),
    "wsld": Method(lambda p: beside(1.0, "WSLD", alpha=2.25, temperature=4.0)),
    "fitnet": feature("FitNet", 100.0),
    "at": feature("AT", 1000.0, stages=True),
    "sp": feature("SP", 3000.0),
    "rkd": feature("RKD", 1.0),
    "pkt": feature("PKT", 30000.0),
    "vid": feature("VID", 1.0, stages=True),
    "nst": feature("NST", 50.0, stages=True),
    "crd": feature("CRD", 0.8),
    "ofd": feature("OFD", 0.001, stages=True),
    "reviewkd": feature("ReviewKD", 1.0, stages=True, warmup_epochs=20),
    "srrl": feature("SRRL", 1.0),
    "mgd": feature("MGD", 7e-5),
}


def bases(schedule: str) -> str:
    return f'_base_ = ["{DATA}", "{schedule}", "{RUNTIME}"]'


def distilled(pair: Pair, name: str) -> str:
    """The config of one pair and method."""
    method = METHODS[name]
    published = pair.published.get(method.column or "")
    told = f"published {published:.2f}" if published is not None else "no published number of this recipe"
    lines = [f"# {pair.name}, {name}: {told}; teacher {pair.published['teacher']:.2f}.", bases(method.schedule), ""]
    if method.taught:
        lines += [f'pair = "{pair.name}"']
        lines += [f'teacher = dict(checkpoint="work_dirs/cifar100/teachers/{pair.teacher}/last.safetensors")']
    else:
        lines += [f'student = "{pair.student}"']
    if pair.learning_rate != 0.05 and method.schedule == SGD:
        lines += [f"optimizer = dict(lr={pair.learning_rate})"]
    lines += [*method.extra, "losses = [", *(f"    {line}" for line in method.losses(pair)), "]"]
    return "\n".join(lines) + "\n"


def plain(network: str, published: float, learning_rate: float) -> str:
    """The config of one network trained without a teacher."""
    lines = [f"# {network} without a teacher: published {published:.2f}.", bases(SGD), "", f'student = "{network}"']
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


@command
def main() -> int:
    folder = Path(__file__).parents[1] / "configs" / "cifar100"
    for path, text in configs().items():
        write_text(folder / path, text)
    print(f"wrote {len(configs())} configs to {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
