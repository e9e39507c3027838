"""Detecting adversarial images (Lee et al., NeurIPS 2018): clean and noisy images against attacked ones."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from kdzoo.robust.ood.ensemble import MahalanobisEnsemble, tune
from kdzoo.robust.ood.metrics import ood_metrics


@dataclass
class Triples:
    """The same N images three times, [N, C, H, W] each.

    Args:
        clean: as they are; the model is right.
        noisy: with Gaussian noise as long (in L2) as the attack's change; the model is still right.
        adversarial: attacked; the model is wrong.
    """

    clean: Tensor
    noisy: Tensor
    adversarial: Tensor


@dataclass
class AdversarialResult:
    """How well one attack is detected.

    Args:
        attack: its name.
        images: N of the triples, validation included.
        epsilon: the step chosen.
        metrics: of :func:`~kdzoo.robust.ood.metrics.ood_metrics`, clean and noisy against adversarial.
    """

    attack: str
    images: int
    epsilon: float
    metrics: dict[str, float]


def make_triples(
    model: nn.Module,
    batches: Iterable[tuple[Tensor, Tensor]],
    attack: Callable[[nn.Module, Tensor, Tensor], Tensor],
    seed: int = 0,
) -> Triples:
    """Attack images, add noise of the same length, keep where clean and noisy are right and attacked is wrong.

    Args:
        model: images in [0, 1] -> logits.
        batches: (images [B, C, H, W], target [B]).
        attack: an attack of ``kdzoo.robust.attacks``.
        seed: of the noise.

    Raises:
        ValueError: no image is left.

    Example:
        >>> triples = make_triples(model, batches, FGSM(eps=8 / 255))
    """
    generator, kept = torch.Generator().manual_seed(seed), []
    for images, target in batches:
        adversarial = attack(model, images, target)
        noise = torch.randn(images.shape, generator=generator).to(images)
        length = (adversarial - images).flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
        noisy = (images + noise * length.view(-1, 1, 1, 1)).clamp(0, 1)
        with torch.no_grad():
            right = [model(x).argmax(dim=1) == target for x in (images, noisy, adversarial)]
        rows = right[0] & right[1] & ~right[2]
        kept.append([x[rows] for x in (images, noisy, adversarial)])
    triples = Triples(*(torch.cat(parts) for parts in zip(*kept, strict=True)))
    if not len(triples.clean):
        raise ValueError("no image is right clean and noisy and wrong attacked; take a larger eps or more images")
    return triples


def layer_scores(ensemble: MahalanobisEnsemble, triples: Triples, batch: int = 256) -> tuple[Tensor, Tensor]:
    """Layer scores [E, 2 N, L] of clean and noisy images (in turn), and [E, N, L] of adversarial ones."""

    def read(images: Tensor) -> Tensor:
        return torch.cat([ensemble.layer_scores(x).cpu() for x in images.split(batch)], dim=1)

    negative = torch.stack([read(triples.clean), read(triples.noisy)], dim=2).flatten(1, 2)
    return negative, read(triples.adversarial)


def adversarial_detection(
    attack: str,
    scores: tuple[Tensor, Tensor],
    epsilons: Sequence[float],
    tuned_on: tuple[Tensor, Tensor] | None = None,
    share: float = 0.1,
) -> AdversarialResult:
    """Tune on a tenth of the triples (AUROC chooses the step), test on the others.

    Args:
        attack: name, for the result.
        scores: of :func:`layer_scores` for this attack.
        epsilons: the ensemble's.
        tuned_on: scores of another attack (the paper: FGSM) to tune on in place of this one's; their first
            triples tune and this attack's others test, which may be of the same images where the two attacks keep
            different ones: :func:`detection` takes halves that were parted before.
        share: of the triples for tuning; 0.1 as in the paper.

    Raises:
        ValueError: too few triples to tune on (10 are needed).
    """
    count = scores[1].shape[1]
    negative, attacked = tuned_on or scores
    held = round(share * attacked.shape[1])  # triples: of each two negatives
    validation = negative[:, : 2 * held], attacked[:, :held]
    if held < 10:
        raise ValueError(
            f"{attack}: {validation[1].shape[1]} of {count} attacked images are too few to tune on; attack more images"
        )
    first = round(share * count)
    test = [part[:, start:] for part, start in zip(scores, (2 * first, first), strict=True)]
    found = detection(attack, validation, test, epsilons)
    return replace(found, images=count)


def detection(
    attack: str, validation: Sequence[Tensor], test: Sequence[Tensor], epsilons: Sequence[float]
) -> AdversarialResult:
    """Tune on the scores of some images, test on those of others.

    Args:
        attack: name, for the result.
        validation: of :func:`layer_scores`, of this attack or another; AUROC chooses the step.
        test: likewise, of this attack on other images.
        epsilons: the ensemble's.

    Raises:
        ValueError: fewer than 10 triples to tune on.
    """
    regression = tune(*validation, epsilons, criterion="auroc", views=2)
    place = list(epsilons).index(regression.epsilon)
    metrics = ood_metrics(*(regression.score(part[place]) for part in test))
    return AdversarialResult(attack, validation[1].shape[1] + test[1].shape[1], regression.epsilon, metrics)
