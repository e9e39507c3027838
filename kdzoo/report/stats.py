"""Mean and deviation over seeds, and what distillation gained."""

import math
import statistics
from collections.abc import Iterable
from dataclasses import dataclass

from kdzoo.report.groups import Group


@dataclass(frozen=True)
class Spread:
    """Mean and sample standard deviation (n - 1 below) of ``n`` values; one value has no deviation."""

    mean: float
    sd: float | None
    n: int

    def text(self, digits: int = 2) -> str:
        """``"93.50 ± 0.40"``, or ``"93.50"`` for one value."""
        mean = f"{self.mean:.{digits}f}"
        return mean if self.sd is None else f"{mean} ± {self.sd:.{digits}f}"


def spread(values: Iterable[float | None]) -> Spread | None:
    """Mean and sample deviation of the values that are there; ``None`` where there are none.

    Example:
        >>> spread([1.0, 2.0, 3.0])
        Spread(mean=2.0, sd=1.0, n=3)
    """
    known = [value for value in values if value is not None]
    if not known:
        return None
    if not all(map(math.isfinite, known)):
        return Spread(math.nan, math.nan if len(known) > 1 else None, len(known))
    return Spread(statistics.fmean(known), statistics.stdev(known) if len(known) > 1 else None, len(known))


@dataclass(frozen=True)
class Gain:
    """Last top-1 of a distilled student minus that of the same network trained alone, seed by seed.

    Args:
        distilled: the group with a teacher.
        alone: the group it is compared with.
        differences: points of top-1, one for each seed both have.
    """

    distilled: Group
    alone: Group
    differences: list[float]

    @property
    def spread(self) -> Spread:
        """Mean and deviation of the differences."""
        return spread(self.differences)

    @property
    def wins(self) -> int:
        """The number of seeds in which the distilled student was better."""
        return sum(difference > 0 for difference in self.differences)

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % confidence interval of the mean difference (Student's t on paired seeds); None for one seed."""
        from scipy.special import stdtrit

        over_seeds = self.spread
        if over_seeds.sd is None:
            return None
        half = float(stdtrit(over_seeds.n - 1, 0.975)) * over_seeds.sd / math.sqrt(over_seeds.n)
        return over_seeds.mean - half, over_seeds.mean + half


def gains(groups: Iterable[Group]) -> list[Gain]:
    """Every distilled group against the strongest group that trained the same network alone.

    Alike means: the same network, data, number of training images and epochs. Only seeds that
    both have finished count; without one there is no comparison.
    """
    groups = [group for group in groups if group.finished]
    alone = [group for group in groups if not group.first.teacher]
    found = []
    for group in groups:
        if not group.first.teacher:
            continue
        rivals = [gain for rival in alone if _task(rival) == _task(group) if (gain := _compare(group, rival))]
        if rivals:
            found.append(min(rivals, key=lambda gain: gain.spread.mean))
    return found


def _task(group: Group) -> tuple:
    run = group.first
    return run.network, run.parameters, run.data, run.train_images, run.test_images, run.epochs


def _compare(distilled: Group, alone: Group) -> Gain | None:
    ours, theirs = _top1(distilled), _top1(alone)
    shared = [seed for seed in ours if seed in theirs]
    return Gain(distilled, alone, [ours[seed] - theirs[seed] for seed in shared]) if shared else None


def _top1(group: Group) -> dict[int | None, float]:
    """Last top-1 by seed."""
    tops = {run.seed: run.last.top1 for run in group.finished}
    return {seed: top1 for seed, top1 in tops.items() if top1 is not None and math.isfinite(top1)}
