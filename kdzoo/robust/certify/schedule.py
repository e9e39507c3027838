"""Sequential certification of many images: what stops early leaves its place in the batch to the next."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kdzoo.robust.certify.sequential import RadiusTest, check_radii, smallest_limit
from kdzoo.robust.certify.smoothed import ABSTAIN, Request, SmoothedClassifier


@dataclass(frozen=True)
class SequentialCertificate:
    """Which of the radii asked for are certified, from as many samples as that took.

    Not a radius to compare with the exact mode's: what lies between two radii of the list was not asked.

    Args:
        predicted: the class, or -1 where not even p > 1/2 was shown.
        radius: the largest certified radius of the list, 0 where there is none.
        selection: [C + 1] votes that chose the class; the last entry counts non-finite logits.
        votes: [C + 1] votes of the fresh samples used.
    """

    predicted: int
    radius: float
    selection: list[int]
    votes: list[int]

    @property
    def samples(self) -> int:
        """Forward passes spent, those that chose the class included."""
        return sum(self.selection) + sum(self.votes)


@dataclass
class _Active:
    """An image in the batch: first its class is chosen, then the test looks after each chunk."""

    index: int
    image: Tensor
    test: RadiusTest
    n0: int
    selection: np.ndarray
    votes: np.ndarray
    unseen: np.ndarray  # votes since the last look
    look: int
    asked: int = 0  # samples requested so far
    top: int = 0

    def requests(self, most: int, chunks: int) -> list[Request]:
        """The next chunks of ``most`` samples; none crosses from the choice into the test, a look, or the limit."""
        found = []
        while len(found) < chunks and self.asked < self.n0 + self.test.limit:
            if self.asked < self.n0:
                left = self.n0 - self.asked
            else:
                drawn = self.asked - self.n0
                left = min(self.look - drawn % self.look, self.test.limit - drawn)
            size = min(most, left)
            found.append(Request(self.image, self.index, self.asked, size))
            self.asked += size
        return found

    def take(self, request: Request, counts: np.ndarray) -> None:
        """A chunk's votes, in the order of the samples; what comes after the decision is not looked at."""
        if request.start < self.n0:
            self.selection += counts
            self.top = int(np.argmax(self.selection[:-1]))
        elif not self.test.decided:
            self.unseen += counts
            drawn = request.start + request.count - self.n0
            if drawn % self.look == 0 or drawn == self.test.limit:
                self.votes += self.unseen
                self.test.look(int(self.unseen[self.top]), int(self.unseen.sum()))
                self.unseen[:] = 0


def certify_sequential(
    smoothed: SmoothedClassifier,
    images: Iterable[tuple[int, Tensor]],
    radii: Sequence[float],
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    look: int = 50,
    give_up: float = 0.01,
) -> Iterator[tuple[int, SequentialCertificate]]:
    """Decide a list of radii for each image; several images share every batch.

    The outcome of an image depends on its own samples and ``look`` alone. Every pass has
    ``smoothed.batch_size`` rows; with no image waiting, those that remain take several chunks of it.

    Args:
        smoothed: the classifier.
        images: (index, [C, H, W] in [0, 1]), the index being the noise stream.
        radii: to decide, ascending.
        n0: samples that choose the class.
        n: fresh samples an image may use at most.
        alpha: probability that an image gets any certificate it should not get.
        look: samples between two looks (default 50).
        give_up: a radius that the samples left would certify with a lower predicted probability is left undecided.

    Yields:
        (index, SequentialCertificate) in the order of ``images``.

    Raises:
        ValueError: an n with which nothing of the list could be certified, a bad image or list.

    Example:
        >>> for index, found in certify_sequential(smoothed, enumerate(images), (0.25, 0.5, 0.75)): ...
    """
    check_radii(radii)
    least = smallest_limit(alpha, radii, smoothed.sigma)
    if n < least:
        raise ValueError(
            f"n={n} cannot certify radius {radii[0]} at sigma {smoothed.sigma:g} and alpha {alpha:g}; "
            f"use n={least} or more"
        )
    if n0 < 1 or look < 1:
        raise ValueError(f"n0 and look must be at least 1, got {n0} and {look}")
    most, bins = min(look, smoothed.batch_size), smoothed.num_classes + 1
    waiting, active, order = iter(images), [], deque()
    done: dict[int, SequentialCertificate] = {}
    places = smoothed.batch_size // most
    while True:
        while len(active) < places and (following := next(waiting, None)) is not None:
            index, x = following
            test = RadiusTest(tuple(radii), smoothed.sigma, alpha, n, give_up)
            active.append(_Active(index, smoothed.prepare(x), test, n0, *np.zeros((3, bins), dtype=np.int64), look))
            order.append(index)
        if not active:
            return
        share, extra = divmod(places, len(active))
        plan = [(a, r) for i, a in enumerate(active) for r in a.requests(most, share + (i < extra))]
        counts = smoothed.vote([request for _, request in plan], pad_to=smoothed.batch_size).cpu().numpy()
        for (owner, request), row in zip(plan, counts, strict=True):
            owner.take(request, row)
        for finished in [a for a in active if a.test.decided]:
            active.remove(finished)
            done[finished.index] = _outcome(finished)
        while order and order[0] in done:
            yield order[0], done.pop(order.popleft())


def _outcome(active: _Active) -> SequentialCertificate:
    predicted = active.top if active.test.certified[0] else ABSTAIN
    radius = active.test.radius if predicted != ABSTAIN else 0.0
    return SequentialCertificate(predicted, radius, active.selection.tolist(), active.votes.tolist())


def certify_at(
    smoothed: SmoothedClassifier,
    x: Tensor,
    radii: Sequence[float],
    n0: int = 100,
    n: int = 100_000,
    alpha: float = 0.001,
    index: int = 0,
) -> SequentialCertificate:
    """:func:`certify_sequential` of one image [C, H, W]."""
    ((_, found),) = certify_sequential(smoothed, [(index, torch.as_tensor(x))], radii, n0, n, alpha)
    return found
