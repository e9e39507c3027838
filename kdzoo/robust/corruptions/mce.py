"""Corruption errors: the plain mean, and relative to a named baseline (mCE)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kdzoo.errors import UserError

# Errors of AlexNet on ImageNet-C, each the mean over five severities, as Hendrycks and Dietterich published them.
ALEXNET = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640, "defocus_blur": 0.819880,
    "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572,
    "fog": 0.819324, "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056,
    "pixelate": 0.717840, "jpeg_compression": 0.606500,
}  # fmt: skip


@dataclass(frozen=True)
class Baseline:
    """Whose errors the mCE divides by.

    Args:
        name: for tables.
        errors: corruption -> mean error in [0, 1] over ``severities``.
        severities: of the mean.
    """

    name: str
    errors: Mapping[str, float]
    severities: tuple[int, ...]


def mean_error(errors: Mapping[str, Sequence[float]], names: Sequence[str]) -> float:
    """The mean over corruptions of the mean over severities: unnormalised.

    Args:
        errors: corruption -> error in [0, 1] at each severity.
        names: the corruptions to average.

    Example:
        >>> mean_error({"fog": [0.1, 0.3], "snow": [0.4, 0.4]}, ["fog", "snow"])
        0.3
    """
    return sum(sum(errors[name]) / len(errors[name]) for name in names) / len(names)


def corruption_errors(
    errors: Mapping[str, Sequence[float]], severities: Sequence[int], baseline: Baseline, names: Sequence[str]
) -> dict[str, float]:
    """CE of each corruption: its summed error over the baseline's. Their mean is the mCE (in 1, not percent).

    Raises:
        UserError: the baseline is of other severities, lacks a corruption, or makes no error on one.

    Example:
        >>> base = Baseline("half", {"fog": 0.5}, (1, 2))
        >>> corruption_errors({"fog": [0.1, 0.3]}, [1, 2], base, ["fog"])
        {'fog': 0.4}
    """
    if tuple(severities) != tuple(baseline.severities):
        raise UserError(
            f"the baseline {baseline.name} is of the severities {list(baseline.severities)}, "
            f"these errors of {list(severities)}; measure both alike"
        )
    lacking = [name for name in names if not baseline.errors.get(name)]
    if lacking:
        raise UserError(f"the baseline {baseline.name} has no error for {lacking[0]}; measure it, or leave that out")
    return {name: sum(errors[name]) / len(severities) / baseline.errors[name] for name in names}


def text_table(
    errors: Mapping[str, Sequence[float]], severities: Sequence[int], clean: float, ratios: Mapping[str, float]
) -> str:
    """Errors in percent, a line a corruption; with CE where there is a baseline."""
    head = f"{'error %':18}" + "".join(f"{f'sev. {s}':>8}" for s in severities) + f"{'mean':>8}"
    lines = [
        head + (f"{'CE %':>8}" if ratios else ""),
        f"{'clean':18}" + " " * 8 * len(severities) + f"{100 * clean:8.2f}",
    ]
    for name, row in errors.items():
        cells = "".join(f"{100 * error:8.2f}" for error in [*row, sum(row) / len(row)])
        lines.append(f"{name:18}{cells}" + (f"{100 * ratios[name]:8.1f}" if name in ratios else ""))
    return "\n".join(lines)
