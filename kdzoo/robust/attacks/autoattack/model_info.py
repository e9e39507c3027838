"""A result as RobustBench's ``model_info`` card, the JSON its leaderboard is made of."""

import json
import re
from fractions import Fraction
from pathlib import Path

from kdzoo.errors import UserError
from kdzoo.files import write_text
from kdzoo.robust.attacks.autoattack.result import AutoAttackResult

# The order of the cards of RobustBench 1.1 (Croce et al., NeurIPS 2021 Datasets and Benchmarks).
FIELDS = (
    "link", "name", "authors", "additional_data", "number_forward_passes", "dataset", "venue", "architecture", "eps",
    "clean_acc", "reported", "autoattack_acc", "footnote",
)  # fmt: skip


_OURS = re.compile(r"Measured on [\d,]+ of [\d,]+ test images\.")  # in a footnote


def check_card(version: str, norm: str) -> None:
    """Raise UserError for what RobustBench's cards do not hold."""
    if version != "standard":
        raise UserError(f"RobustBench's autoattack_acc is the standard version's, this is {version}; use standard")
    if norm not in ("Linf", "L2"):
        raise UserError(f"RobustBench has the threat models Linf and L2 but this is {norm}; leave --model-info out")


def write_model_info(
    path: str | Path, result: AutoAttackResult, dataset: str, architecture: str, test_images: int
) -> dict:
    """Write the card; of a card that is there, what was measured is replaced and what people wrote is kept.

    Args:
        path: the JSON file, in RobustBench ``model_info/DATASET/THREAT/NAME.json``.
        result: complete, of version standard in Linf or L2.
        dataset: RobustBench's word, ``"cifar10"``.
        architecture: the network.
        test_images: how many the test set has; fewer measured ones are told in the footnote.

    Raises:
        UserError: another version or norm, or a card that is no JSON object.
    """
    check_card(result.version, result.norm)
    path = Path(path)
    card = dict.fromkeys(FIELDS) | _read(path)
    images = len(result.target)
    measured = dict(
        dataset=dataset,
        eps=fraction_of_255(result.eps),
        clean_acc=_percent(result.clean_accuracy),
        autoattack_acc=_percent(result.robust_accuracy),
    )
    card |= measured
    for name, value in dict(name=path.stem, architecture=architecture, number_forward_passes=1).items():
        card[name] = value if card[name] is None else card[name]
    people = _OURS.sub("", str(card["footnote"] or "")).strip()
    few = f"Measured on {images:,} of {test_images:,} test images." if images < test_images else ""
    card["footnote"] = " ".join(part for part in (people, few) if part) or None
    write_text(path, json.dumps(card, indent=2) + "\n")
    return card


def _read(path: Path) -> dict:
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text(encoding="utf-8"))
        return dict(card)
    except (ValueError, TypeError) as error:
        raise UserError(f"{path} is no JSON object ({error}); mend it or name another file") from None


def _percent(share: float) -> str:
    return str(round(100 * share, 2))


def fraction_of_255(eps: float) -> str:
    """``"8/255"`` where that is the number, else the number."""
    steps = Fraction(eps * 255).limit_denominator(4)
    exact = steps.denominator == 1 and abs(float(steps) / 255 - eps) < 1e-9 and 0 < steps < 255
    return f"{steps.numerator}/255" if exact else f"{eps:g}"
