"""The key trade-off pair of RAMP: the two norms that are hardest to hold, each trained for alone."""

from collections.abc import Mapping

from torch import Tensor, nn

from kdzoo.robust.attacks.apgd_train import apgd_train
from kdzoo.robust.attacks.budget import CIFAR_EPS
from kdzoo.robust.attacks.evaluation_mode import evaluation_mode
from kdzoo.robust.attacks.projections import check_norm


def key_pair(accuracies: Mapping[str, float]) -> tuple[str, str]:
    """The norms of lowest and second lowest robust accuracy, ``RAMP(pair=...)``.

    Args:
        accuracies: norm -> robust accuracy in that norm of a model adversarially trained in that norm; two or more.

    Source: Jiang and Singh, NeurIPS 2024.

    Example:
        >>> key_pair(dict(Linf=48.1, L2=68.0, L1=59.9))
        ('Linf', 'L1')
    """
    if len(accuracies) < 2:
        raise ValueError(f"a pair takes the accuracies of two norms or more, got {dict(accuracies)}")
    first, second, *_ = sorted(accuracies, key=lambda norm: accuracies[norm])
    return first, second


def measure_key_pair(
    models: Mapping[str, nn.Module],
    images: Tensor,
    target: Tensor,
    eps: Mapping[str, float] | None = None,
    steps: int = 100,
) -> tuple[tuple[str, str], dict[str, float]]:
    """Measure the accuracies by APGD on cross entropy: (the pair, norm -> robust accuracy from 0 to 1).

    Args:
        models: norm -> the model adversarially trained in that norm (``dict(type="AdversarialTraining", norm=...)``).
        images: [B, C, H, W] in [0, 1], attacked in one batch; labels ``target`` [B].
        eps: norm -> budget; the CIFAR ones for norms it leaves out.
        steps: of the attack.

    Raises:
        ValueError: an unknown norm, or fewer than two.

    Example:
        >>> pair, accuracies = measure_key_pair(dict(Linf=a, L2=b, L1=c), images, target)
    """
    budgets, accuracies = CIFAR_EPS | dict(eps or {}), {}
    for norm in models:
        check_norm(norm)
    for norm, model in models.items():
        with evaluation_mode(model):
            found = apgd_train(model, images, target, norm, budgets[norm], steps, share=0.2)
        accuracies[norm] = (~found.broken).float().mean().item()
    return key_pair(accuracies), accuracies
