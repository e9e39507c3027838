"""Which attacks a version of AutoAttack runs, in which order and with which parameters."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from kdzoo.errors import did_you_mean

NORMS = ("Linf", "L2", "L1")
VERSIONS = ("standard", "plus", "rand", "custom")
ATTACK_NAMES = ("apgd-ce", "apgd-dlr", "apgd-t", "fab", "fab-t", "square")
DLR_CLASSES, TARGETED_DLR_CLASSES = 3, 4  # the losses divide by a difference of the 3rd and the 4th largest logit


@dataclass(frozen=True)
class Part:
    """One attack of the ensemble.

    Args:
        name: one of ``ATTACK_NAMES``.
        steps: of APGD and FAB; default 100.
        restarts: runs on the points that are left; targeted attacks make that many for each target.
        targets: of ``apgd-t`` and ``fab-t``: the classes with the largest logits beside the true one; default 9.
        queries: of Square; default 5000.
        eot: gradients averaged a step (APGD), for random networks; default 1.
        larger_eps: L1 APGD begins with 3 eps and 2 eps, for 30 % of the steps each.
        margin: attack the margin between two logits, where there are too few classes for DLR.
    """

    name: str
    steps: int = 100
    restarts: int = 1
    targets: int = 9
    queries: int = 5000
    eot: int = 1
    larger_eps: bool = False
    margin: bool = False

    def __post_init__(self):
        if self.name not in ATTACK_NAMES:
            raise ValueError(f"AutoAttack has no attack {self.name!r}{did_you_mean(self.name, ATTACK_NAMES)}")
        for field in ("steps", "restarts", "targets", "queries", "eot"):
            value = getattr(self, field)
            if not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"{self.name}: {field} is expected to be a whole number of 1 or more but got {value!r}"
                )


def parts_of(
    version: str, norm: str, attacks: Sequence[str | Mapping[str, Any] | Part] | None = None
) -> tuple[Part, ...]:
    """The attacks in their order, as Croce and Hein publish them (ICML 2020; ICML 2021 for L1).

    Args:
        version: ``"standard"``, ``"plus"``, ``"rand"`` (for random networks) or ``"custom"``.
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``.
        attacks: of ``"custom"`` only: names, dicts of :class:`Part`'s keywords, or parts. A name alone has the
            published parameters of a single attack: five restarts of APGD and FAB, one of the targeted ones.

    Raises:
        ValueError: an unknown version, norm or attack; attacks for another version than custom, or none for it.

    Example:
        >>> [part.name for part in parts_of("standard", "Linf")]
        ['apgd-ce', 'apgd-t', 'fab-t', 'square']
    """
    if norm not in NORMS:
        raise ValueError(f"norm is expected to be one of {', '.join(NORMS)} but got {norm!r}")
    if version not in VERSIONS:
        raise ValueError(f"version is expected to be one of {', '.join(VERSIONS)} but got {version!r}")
    if version != "custom":
        if attacks is not None:
            raise ValueError(f"version {version!r} has its own attacks; use version='custom' to choose them")
        return _PUBLISHED[version](norm)
    if not attacks:
        raise ValueError(f"version 'custom' needs attacks; choose from {', '.join(ATTACK_NAMES)}")
    return tuple(_part(attack) for attack in attacks)


def _standard(norm: str) -> tuple[Part, ...]:
    l1 = norm == "L1"
    return (
        Part("apgd-ce", restarts=5 if l1 else 1, larger_eps=l1),
        Part("apgd-t", targets=5 if l1 else 9, larger_eps=l1),
        Part("fab-t"),
        Part("square"),
    )


def _plus(norm: str) -> tuple[Part, ...]:
    names = ("apgd-ce", "apgd-dlr", "fab", "square", "apgd-t", "fab-t")
    return tuple(_part(name) for name in names)


def _rand(norm: str) -> tuple[Part, ...]:
    return Part("apgd-ce", eot=20), Part("apgd-dlr", eot=20)


_PUBLISHED = {"standard": _standard, "plus": _plus, "rand": _rand}


def _part(attack: str | Mapping[str, Any] | Part) -> Part:
    if isinstance(attack, str):
        return Part(attack, restarts=5 if attack in ("apgd-ce", "apgd-dlr", "fab") else 1)
    if isinstance(attack, Part):
        return attack
    try:
        return Part(**attack)
    except TypeError as error:
        raise ValueError(f"an attack of AutoAttack is a name or a dict of Part's keywords, got {attack!r}") from error


def fit_classes(parts: Sequence[Part], num_classes: int) -> tuple[tuple[Part, ...], list[str]]:
    """The parts for a network of that many classes, and one sentence for each that had to change.

    No more targets than other classes; the margin between two logits where a DLR loss needs more classes.

    Raises:
        ValueError: fewer than 2 classes.
    """
    if num_classes < 2:
        raise ValueError(f"AutoAttack needs a network of 2 classes or more but this one has {num_classes}")
    fitted, said = [], []
    for part in parts:
        least = {"apgd-dlr": DLR_CLASSES, "apgd-t": TARGETED_DLR_CLASSES}.get(part.name, 0)
        if part.name in ("apgd-t", "fab-t") and part.targets > num_classes - 1:
            said.append(f"{part.name}: {num_classes - 1} target classes instead of {part.targets}, there are no more")
            part = replace(part, targets=num_classes - 1)
        if num_classes < least:
            said.append(
                f"{part.name}: its DLR loss needs {least} classes, there are {num_classes}; "
                "it attacks the difference of two logits instead"
            )
            part = replace(part, margin=True)
        fitted.append(part)
    return tuple(fitted), said


def distinct(names: Sequence[str]) -> list[str]:
    """Names, with their number behind those that stood before."""
    found: list[str] = []
    for name in names:
        times = sum(other == name or other.startswith(f"{name} ") for other in found)
        found.append(f"{name} {times + 1}" if times else name)
    return found
