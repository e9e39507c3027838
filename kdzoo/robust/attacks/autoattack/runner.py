"""AutoAttack on a set of images: attacks in order, each on the points that are still robust."""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from kdzoo.registry import ATTACKS
from kdzoo.robust.attacks.autoattack.estimate import Outlook, Speed
from kdzoo.robust.attacks.autoattack.inputs import check_eps, check_images, check_labels, check_shares
from kdzoo.robust.attacks.autoattack.network import SearchNetwork
from kdzoo.robust.attacks.autoattack.parts import (
    BACKENDS,
    needs_pyautoattack,
    own_randomness,
    perturb,
    require_pyautoattack,
)  # fmt: skip
from kdzoo.robust.attacks.autoattack.result import AutoAttackResult, gathered
from kdzoo.robust.attacks.autoattack.state import (
    CLEAN_WRONG,
    ROBUST,
    ChunkState,
    StateFolder,
    images_fingerprint,
    model_fingerprint,
)
from kdzoo.robust.attacks.autoattack.versions import Part, distinct, fit_classes, parts_of
from kdzoo.robust.attacks.autoattack.warnings import Caution, look_at, square_gain
from kdzoo.robust.attacks.budget import keeps_budget, within_budget
from kdzoo.robust.certify.run import Shard


@dataclass(frozen=True)
class Progress:
    """How far this process is.

    Args:
        stage: the attack that is running, ``"clean"`` at first.
        done: images of this stage that are done, of ``total``.
        total: images of this process's share.
        robust: of the share, images nothing has broken yet.
        seconds_left: estimated; an upper bound before the first attack is done.
    """

    stage: str
    done: int
    total: int
    robust: int
    seconds_left: float


@ATTACKS.register()
@dataclass(frozen=True)
class AutoAttack:
    """AutoAttack (Croce and Hein, ICML 2020; for L1: "Mind the box", ICML 2021).

    FAB and Square are pyautoattack's, APGD is kdzoo's, which works on broken images no longer, or pyautoattack's.

    Images are attacked in chunks of ``chunk`` by their index, and every random number (a random network's too) comes
    from a generator seeded by (seed, attack, chunk number). So a result is a function of the settings, chunk among
    them, and not of where a run was stopped or how many processes shared it, on one kind of machine.

    Args:
        norm: ``"Linf"``, ``"L2"`` or ``"L1"``; default Linf.
        eps: the budget, of pixels in [0, 1]; default 8/255, usual for CIFAR (L2: 0.5, L1: 12).
        version: ``"standard"``, ``"plus"``, ``"rand"`` or ``"custom"``; default standard.
        attacks: of ``"custom"``: names, or dicts with ``name``, ``steps``, ``restarts``, ``targets``, ``queries``.
        seed: of all randomness; default 0.
        chunk: images attacked at a time; default 250, AutoAttack's batch size.
        fast: search in bfloat16 first; its hits count where they hold in float32, and what it leaves is attacked
            once more in float32. Worth it on GPUs; default off.
        fold: fold batch norm for the search where that is exact up to rounding; default on.
        backend: whose APGD: ``"kdzoo"`` (default) or ``"pyautoattack"``.

    Raises:
        ValueError: a setting out of range.

    Example:
        >>> result = AutoAttack("Linf", 8 / 255).evaluate(model, images, target, state="out/state")
        >>> result.after
        {'clean': 0.84, 'apgd-ce': 0.47, 'apgd-t': 0.44, 'fab-t': 0.44, 'square': 0.44}
    """

    norm: str = "Linf"
    eps: float = 8 / 255
    version: str = "standard"
    attacks: Sequence[str | Mapping[str, Any] | Part] | None = None
    seed: int = 0
    chunk: int = 250
    fast: bool = False
    fold: bool = True
    backend: str = "kdzoo"

    def __post_init__(self):
        parts_of(self.version, self.norm, self.attacks)
        if not self.eps > 0:
            raise ValueError(f"eps is expected to be above 0 but got {self.eps}; the budget is in pixels of [0, 1]")
        if self.norm == "Linf" and self.eps >= 1:
            raise ValueError(
                f"eps {self.eps:g} reaches every image in Linf; pixels are in [0, 1], so write 8/255, not 8"
            )
        if self.backend not in BACKENDS:
            raise ValueError(f"backend is expected to be one of {', '.join(BACKENDS)} but got {self.backend!r}")
        if self.chunk < 1:
            raise ValueError(f"chunk is expected to be 1 or more but got {self.chunk}")

    def __call__(self, model: nn.Module, images: Tensor, target: Tensor) -> Tensor:
        """The adversarial batch [B, C, H, W]; images that nothing broke come back as they are."""
        return self.evaluate(model, images, target).images(images).to(images.device)

    def evaluate(
        self,
        model: nn.Module,
        images: Tensor,
        target: Tensor,
        state: str | Path | None = None,
        shard: Shard | None = None,
        progress: Callable[[Progress], None] = lambda progress: None,
        settings: Mapping[str, Any] | None = None,
    ) -> AutoAttackResult:
        """Attack a set of images.

        Args:
            model: images in [0, 1] -> logits [B, K], a module in evaluation mode.
            images: [N, C, H, W] in [0, 1], on any device; attacked as float32.
            target: [N] int64.
            state: a folder; a run that was stopped goes on there, and processes share it. ``None``: nothing is kept.
            shard: this process's share (default: all of it): chunk k where k modulo its count is its number.
            progress: called after every chunk of every attack.
            settings: what else the result is to be kept apart by.

        Raises:
            ValueError: images outside [0, 1], labels out of range, an eps beyond the box, a model in training mode.
            UserError: the folder holds another run; pyautoattack is missing.
        """
        return _Evaluation(self, model, images, target, state, shard or Shard(), dict(settings or {})).run(progress)


class _Evaluation:
    """One call of :meth:`AutoAttack.evaluate`."""

    def __init__(self, attack: AutoAttack, model, images, target, state, shard: Shard, settings: dict[str, Any]):
        check_images(model, images, target)
        check_eps(attack.norm, attack.eps, images)
        self.chunks = range(-(-len(images) // attack.chunk))
        check_shares(len(images), attack.chunk, shard.count)
        target = target.long()
        self.attack, self.model, self.images, self.target, self.shard = attack, model, images, target, shard
        self.device = next((tensor.device for tensor in model.state_dict().values()), images.device)
        first = images[: attack.chunk].to(self.device).float().contiguous()
        with own_randomness(attack.seed, self.device):
            self.look(model, first, target)
        self.state = StateFolder(state, self.key() | settings)
        self.mine = list(self.chunks)[shard.number :: shard.count]

    def look(self, model: nn.Module, first: Tensor, target: Tensor) -> None:
        """What has to be known of the model first: classes, signs, a network to search with, speed."""
        attack = self.attack
        with torch.no_grad():
            self.num_classes = check_labels(model(first[:8]), target)
        self.parts, said = fit_classes(parts_of(attack.version, attack.norm, attack.attacks), self.num_classes)
        if any(needs_pyautoattack(part, attack.backend) for part in self.parts):
            require_pyautoattack()
        self.names = distinct([part.name for part in self.parts])
        self.cautions = [Caution("classes", sentence) for sentence in said]
        self.cautions += look_at(model, first, target[: attack.chunk].to(self.device), attack.version)
        self.search = [SearchNetwork(model, first[:8], attack.fold)]
        if attack.fast:
            self.search.insert(0, SearchNetwork(model, first[:8], attack.fold, bf16=True))
        self.outlook = Outlook(self.parts, Speed.of(self.search[-1], first), self.num_classes)

    def key(self) -> dict[str, Any]:
        """Everything the result depends on, apart from the machine."""
        attack = self.attack
        key = dict(
            norm=attack.norm, eps=attack.eps, version=attack.version, attacks=[asdict(part) for part in self.parts],
            seed=attack.seed, chunk=attack.chunk, fast=attack.fast, folded=self.search[-1].folded,
            model=model_fingerprint(self.model), images=images_fingerprint(self.images, self.target),
        )  # fmt: skip
        # A folder without this entry was written with pyautoattack's APGD.
        return key if attack.backend == "pyautoattack" else key | dict(backend=attack.backend)

    def run(self, progress: Callable[[Progress], None]) -> AutoAttackResult:
        for number in self.mine:
            if self.state.get(number) is None:
                self.state.save(number, self.clean(number))
        progress(self.seen("clean", 0, len(self.mine)))
        for place, name in enumerate(self.names):
            for count, number in enumerate(self.mine, start=1):
                chunk = self.state.get(number)
                if chunk.done == place:
                    self.state.save(number, self.attacked(number, place, chunk))
                progress(self.seen(name, place, count))
        return self.result()

    def batch(self, number: int) -> tuple[Tensor, Tensor]:
        """Images and labels of a chunk on the device."""
        rows = slice(number * self.attack.chunk, (number + 1) * self.attack.chunk)
        return self.images[rows].to(self.device).float().contiguous(), self.target[rows].to(self.device)

    @torch.no_grad()
    def clean(self, number: int) -> ChunkState:
        before = time.perf_counter()
        images, target = self.batch(number)
        with own_randomness(seed_of(self.attack.seed, -1, "clean", number), self.device):
            predicted = self.model(images).argmax(dim=1)
        broken_by = torch.where(predicted == target, ROBUST, CLEAN_WRONG)
        return ChunkState(broken_by.cpu(), predicted.cpu(), [time.perf_counter() - before])

    def attacked(self, number: int, place: int, chunk: ChunkState) -> ChunkState:
        """The chunk after one more attack on what is left of it; the old one is not changed."""
        before = time.perf_counter()
        new = ChunkState(chunk.broken_by.clone(), chunk.predicted.clone(), chunk.seconds, dict(chunk.adversarial))
        images, target = (tensor.cpu() for tensor in self.batch(number))
        there, unseen = len(new.left), new.left
        seed = seed_of(self.attack.seed, place, self.parts[place].name, number)
        with own_randomness(seed, self.device):
            for network in self.search:
                if len(new.left):
                    unseen = self.searched(network, new, new.left, images, target, number, place)
            # Where rounding makes the folded network wrong on the image itself, it has nothing to attack.
            unseen = unseen[new.broken_by[unseen] == ROBUST]
            if len(unseen):
                self.searched(SearchNetwork(self.model, images, fold=False), new, unseen, images, target, number, place)
        took = time.perf_counter() - before
        new.seconds = [*chunk.seconds, took]
        if there:
            self.outlook.learn(place, there, took)
        return new

    def searched(self, network, chunk: ChunkState, rows: Tensor, images, target, number: int, place: int) -> Tensor:
        """Attack rows of a chunk with one network and count the hits; the rows that it is wrong on already."""
        x, y = images[rows].to(self.device), target[rows].to(self.device)
        with torch.no_grad():
            right = network(x).argmax(dim=1) == y
        if right.any():
            attack, part = self.attack, self.parts[place]
            seed = seed_of(attack.seed, place, part.name, number)
            x, y = x[right], y[right]
            numbers = (number * attack.chunk + rows[right.cpu()]).tolist()
            found = perturb(part, network, x, y, attack.norm, attack.eps, seed, attack.backend, numbers)
            self.take(chunk, rows[right.cpu()], found, x, y, place)
        return rows[~right.cpu()]

    @torch.no_grad()
    def take(self, chunk: ChunkState, rows: Tensor, found: Tensor, x: Tensor, y: Tensor, place: int) -> None:
        """Count the hits: inside the budget in float64, and wrong in a plain forward pass of the model."""
        origin = x.cpu()
        changed = (found.cpu() != origin).flatten(1).any(dim=1).nonzero().flatten()
        if len(changed) == 0:
            return
        origin = origin[changed]
        candidates = within_budget(found.cpu()[changed].nan_to_num(), origin, self.attack.norm, self.attack.eps)
        predicted = self.model(candidates.to(self.device)).argmax(dim=1).cpu()
        hit = (predicted != y.cpu()[changed]) & keeps_budget(candidates, origin, self.attack.norm, self.attack.eps)
        for place_in_batch in hit.nonzero().flatten().tolist():
            row = int(rows[changed[place_in_batch]])
            chunk.broken_by[row] = place + 1
            chunk.predicted[row] = predicted[place_in_batch]
            chunk.adversarial[row] = candidates[place_in_batch].clone()

    def seen(self, stage: str, place: int, count: int) -> Progress:
        """The progress after chunk ``count`` of an attack."""
        states = [self.state.get(number) for number in self.mine]
        left = [len(state.left) for state in states]
        seconds_left = sum(
            self.outlook.left(at, robust)
            for at in range(len(self.parts))
            for state, robust in zip(states, left, strict=True)
            if state.done <= at
        )
        done = sum(len(state.broken_by) for state in states[:count])
        return Progress(stage, done, sum(len(state.broken_by) for state in states), sum(left), seconds_left)

    def result(self) -> AutoAttackResult:
        """Of all chunks where all are done, else of this process's."""
        states = {number: self.state.get(number) if number in self.mine else self.state.fresh(number)
                  for number in self.chunks}  # fmt: skip
        complete = all(state is not None and state.done == len(self.parts) for state in states.values())
        if not complete:
            states = {number: states[number] for number in self.mine}
        times = {name: sum(state.seconds[place + 1] for state in states.values())
                 for place, name in enumerate(self.names)}  # fmt: skip
        result = AutoAttackResult(
            norm=self.attack.norm, eps=self.attack.eps, version=self.attack.version, attacks=self.names,
            seconds=times, warnings=list(self.cautions), settings=self.state.key, complete=complete,
            **gathered(len(self.images), self.attack.chunk, states, self.target),
        )  # fmt: skip
        masked = square_gain(result.after)
        result.warnings += [masked] if masked else []
        return result


def seed_of(seed: int, place: int, name: str, chunk: int) -> int:
    """A 63-bit seed of its own for every attack on every chunk."""
    digest = hashlib.sha256(f"{seed} {place} {name} {chunk}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
