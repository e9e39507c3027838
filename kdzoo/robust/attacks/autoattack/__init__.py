"""AutoAttack that resumes, shares images among processes, and checks what it counts."""

from kdzoo.robust.attacks.autoattack.result import AutoAttackResult
from kdzoo.robust.attacks.autoattack.runner import AutoAttack, Progress
from kdzoo.robust.attacks.autoattack.union import Union
from kdzoo.robust.attacks.autoattack.versions import Part, parts_of
from kdzoo.robust.attacks.budget import CIFAR_EPS

__all__ = ["CIFAR_EPS", "AutoAttack", "AutoAttackResult", "Part", "Progress", "Union", "parts_of"]
