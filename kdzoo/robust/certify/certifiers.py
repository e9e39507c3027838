"""The ways to certify a test set, by name: what ``--method`` of the tool chooses from.

A certifier has ``label`` (how its numbers are to be named wherever they are printed), ``settings()`` for the log, and
``run(smoothed, images)``, which yields (index, Outcome) in the order of the images.
"""

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from kdzoo.registry import CERTIFIERS
from kdzoo.robust.certify.binomial import check_samples
from kdzoo.robust.certify.cpm import cpm_radius
from kdzoo.robust.certify.lvm import certify_soft
from kdzoo.robust.certify.published_lvm import OPTIMISTIC, published_radius
from kdzoo.robust.certify.schedule import certify_sequential
from kdzoo.robust.certify.simplex import SimplexMap
from kdzoo.robust.certify.smoothed import ABSTAIN, SmoothedClassifier

Images = Iterable[tuple[int, Tensor]]


@dataclass(frozen=True)
class Outcome:
    """Class (-1: abstained), radius, and what the side file keeps of an image."""

    predicted: int
    radius: float
    record: dict[str, Any]


@CERTIFIERS.register("cohen")
@dataclass(frozen=True)
class Cohen:
    """CERTIFY of Cohen et al. (ICML 2019): n votes, exact Clopper-Pearson.

    Args:
        n0, n, alpha: as of ``SmoothedClassifier.certify``; the paper's defaults.
    """

    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    label = "exact (Cohen et al.), fixed n"

    def settings(self) -> dict[str, Any]:
        return dict(n0=self.n0, n=self.n, alpha=self.alpha)

    def run(self, smoothed: SmoothedClassifier, images: Images) -> Iterator[tuple[int, Outcome]]:
        for index, x in images:
            found = smoothed.certificate(x, self.n0, self.n, self.alpha, index)
            yield index, self.outcome(found.selection, found.votes, found.predicted, found.radius, smoothed.sigma)

    def outcome(self, selection: list[int], votes: list[int], predicted: int, radius: float, sigma: float) -> Outcome:
        return Outcome(predicted, radius, dict(selection=selection, votes=votes))


@CERTIFIERS.register("cpm")
@dataclass(frozen=True)
class Cpm(Cohen):
    """The same votes with class-partitioned two-sided bounds ("Bridging the gap", AISTATS 2025)."""

    label = "exact, class-partition bounds (CPM), fixed n"

    def run(self, smoothed: SmoothedClassifier, images: Images) -> Iterator[tuple[int, Outcome]]:
        check_samples(self.n, self.alpha, shares=min(3, smoothed.num_classes))  # three buckets are the fewest
        yield from super().run(smoothed, images)

    def outcome(self, selection: list[int], votes: list[int], predicted: int, radius: float, sigma: float) -> Outcome:
        top, radius = cpm_radius(selection[:-1], votes[:-1], self.n, sigma, self.alpha)
        return Outcome(top if radius > 0 else ABSTAIN, radius, dict(selection=selection, votes=votes))


@CERTIFIERS.register("sequential")
@dataclass(frozen=True)
class Sequential:
    """Anytime-valid decisions about a list of radii (:mod:`kdzoo.robust.certify.sequential`).

    Args:
        n0, alpha: as of the exact mode.
        n: the most samples an image may take.
        radii: to decide.
        look: samples between two looks.
        give_up: the predicted probability of success below which a radius is left.
    """

    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    radii: tuple = (0.25, 0.5, 0.75)
    look: int = 50
    give_up: float = 0.01
    label = "sequential, decided radii only"

    def settings(self) -> dict[str, Any]:
        return asdict(self) | dict(radii=list(self.radii))

    def run(self, smoothed: SmoothedClassifier, images: Images) -> Iterator[tuple[int, Outcome]]:
        options = dict(n0=self.n0, n=self.n, alpha=self.alpha, look=self.look, give_up=self.give_up)
        for index, found in certify_sequential(smoothed, images, self.radii, **options):
            record = dict(selection=found.selection, votes=found.votes, samples=found.samples)
            yield index, Outcome(found.predicted, found.radius, record)


@CERTIFIERS.register("lvm")
@dataclass(frozen=True)
class Lvm:
    """Lipschitz-Variance-Margin smoothing with one fixed map (:mod:`kdzoo.robust.certify.lvm`).

    Args:
        n0, n, alpha: as of the exact mode.
        chosen: the map, chosen beforehand on validation images.
    """

    n0: int = 100
    n: int = 100_000
    alpha: float = 0.001
    chosen: SimplexMap = field(default_factory=lambda: SimplexMap("softmax", 4.0))
    label = "LVM, one map chosen on validation images, fixed n"

    def settings(self) -> dict[str, Any]:
        return dict(n0=self.n0, n=self.n, alpha=self.alpha, map=self.chosen.kind, scale=self.chosen.scale)

    def run(self, smoothed: SmoothedClassifier, images: Images) -> Iterator[tuple[int, Outcome]]:
        for index, x in images:
            found = certify_soft(smoothed, self.chosen, x, self.n0, self.n, self.alpha, index)
            names = ("selection", "buckets", "mean", "variance", "non_finite")
            yield index, Outcome(found.predicted, found.radius, {name: getattr(found, name) for name in names})


@CERTIFIERS.register("published")
@dataclass(frozen=True)
class PublishedLvm:
    """LVM as its authors' code computes it: optimistic (:mod:`kdzoo.robust.certify.published_lvm`).

    Args:
        n, alpha: as given to the authors' code; n0 is not used by it.
        batch: the samples whose variances are averaged (default 400): it changes the result, hence is not the batch
            of the forward pass.
    """

    n0: int = 0
    n: int = 100_000
    alpha: float = 0.001
    batch: int = 400
    label = OPTIMISTIC

    def settings(self) -> dict[str, Any]:
        return dict(n=self.n, alpha=self.alpha, batch=self.batch, warning=OPTIMISTIC)

    def run(self, smoothed: SmoothedClassifier, images: Images) -> Iterator[tuple[int, Outcome]]:
        check_samples(self.n, self.alpha, shares=smoothed.num_classes)
        for index, x in images:
            logits = torch.cat([part.cpu() for part in smoothed.blocks(smoothed.prepare(x), index, 0, self.n)])
            predicted, radius = published_radius(logits.split(self.batch), smoothed.sigma, self.alpha)
            yield index, Outcome(predicted, radius, dict(warning=OPTIMISTIC))
