"""Out-of-distribution detection: every detector on OpenOOD's near and far sets."""

import argparse
from pathlib import Path

# Names of kdzoo's detectors; ASH and SCALE stand for themselves, the ensemble is always measured.
DETECTORS = (
    "MSP", "MaxLogit", "Energy", "Entropy", "GEN", "ODIN", "KNN", "ViM", "ReAct", "ASH-B", "ASH-P", "ASH-S", "SCALE",
    "SHE", "GradNorm", "Mahalanobis", "RelativeMahalanobis",
)  # fmt: skip
# Options that only one protocol heeds.
OWN = {
    "adversarial": ("attacks", "attack_eps", "cw_steps"),
    "sets": (
        "sets", "detectors", "pytorch_ood", "no_ensemble", "validation", "fgsm_eps", "positive", "convention", "resume",
    ),
}  # fmt: skip
BENCHMARKS = {"CIFAR10": "cifar10", "CIFAR100": "cifar100", "MNIST": "mnist"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--protocol", choices=("sets", "adversarial"), default="sets",
        help="adversarial: tell attacked images of the test set from clean and noisy ones (Lee et al., 2018)",
    )  # fmt: skip
    default = ["fgsm", "bim", "deepfool", "cw"]
    parser.add_argument("--attacks", nargs="+", default=default, help="adversarial: default the paper's four")
    parser.add_argument("--attack-eps", type=float, default=8 / 255, help="adversarial: of fgsm, bim (default 8/255)")
    parser.add_argument("--cw-steps", type=int, default=100, help="adversarial: of cw, for each of 5 trade-offs")
    parser.add_argument("--sets", help="config with near and far sets (default: configs/ood/ by the data's type)")
    parser.add_argument("--detectors", nargs="+", help="default: all of kdzoo's that the network's classifier allows")
    parser.add_argument("--pytorch-ood", nargs="+", default=[], metavar="NAME", help="detectors of pytorch-ood, too")
    parser.add_argument("--layers", nargs="+", help="of the Mahalanobis ensemble (default: the stages)")
    parser.add_argument("--no-ensemble", action="store_true", help="leave the Mahalanobis ensemble out")
    parser.add_argument("--shrinkage", help="of covariances: a share in [0, 1] or oas (default: none, as published)")
    parser.add_argument("--limit", type=int, help="most images a set (default: all)")
    parser.add_argument("--train-limit", type=int, help="most training images to fit on (default: all)")
    parser.add_argument(
        "--validation", type=int, default=1000, help="images a side for tuning (default: 1000, at most a quarter)"
    )
    parser.add_argument("--fgsm-eps", type=float, default=8 / 255, help="of the tuning without OOD images")
    parser.add_argument("--positive", choices=("id", "ood"), default="id", help="side of the 95 %% (OpenOOD: ood)")
    parser.add_argument(
        "--convention", choices=("exact", "lee"), default="exact", help="lee: as the script of Lee et al. counts"
    )
    parser.add_argument("--resume", action="store_true", help="go on at the set an earlier run stopped at")


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Fit, score set by set, print the table; write scores, curves and pictures where --out says."""
    import tempfile

    from kdzoo.robust.ood.scoring import State
    from kdzoo.robust.ood.summary import measure, text_table

    check(arguments)
    if arguments.protocol == "adversarial":
        from kdzoo.tools.tasks import ood_adversarial

        return ood_adversarial.run(arguments, config, model, data)
    arguments.detectors = arguments.detectors or fitting(model)
    sets, absent = find_sets(arguments, config, data)
    with tempfile.TemporaryDirectory(prefix="kdzoo-ood-") as scratch:
        folder = Path(arguments.out) if arguments.out else Path(scratch)
        state = State(folder / "ood_scores", key(arguments, sets, model, data), arguments.resume)
        scorer = Scorer(arguments, config, model, data, Path(scratch), state)
        order = list(scorer.detectors)
        known = state.get("in-distribution", lambda: scorer.score("in-distribution", scorer.id_batches()), order)
        fgsm = None
        if not arguments.no_ensemble:
            fgsm = state.get("fgsm", lambda: scorer.score("FGSM", scorer.fgsm_batches(len(known.predicted))), [])
        measured = []
        for part in sets:
            unknown = state.get(part.name, lambda part=part: scorer.score(part.name, part.batches()), order)
            measured.append(
                measure(
                    part.name, part.kind, known, unknown, fgsm, scorer.epsilons, arguments.validation,
                    arguments.positive, arguments.convention,
                )
            )  # fmt: skip
        told = text_table(measured, arguments.positive)
        print(told + (f"\nnot on disk, left out: {', '.join(absent)}" if absent else ""))
        if arguments.convention == "lee":
            print("convention: the script of Lee et al. (2018); not comparable with the exact numbers")
        if arguments.out:
            from kdzoo.robust.ood.record import write_record

            batches = {part.name: part.batches for part in sets}
            write_record(
                folder / "ood.npz", measured, batches, scorer.id_batches, data.classes, arguments.positive
            )  # fmt: skip
    return dict(
        positive=arguments.positive, convention=arguments.convention, absent=absent,
        images={part.name: part.count for part in sets}, validation=arguments.validation,
        results=[vars(row) for part in measured for row in part.rows],
    )  # fmt: skip


def check(arguments: argparse.Namespace) -> None:
    from kdzoo.errors import UserError

    parser = argparse.ArgumentParser()
    add_arguments(parser)
    defaults = parser.parse_args([])
    for protocol, names in OWN.items():
        for name in names:
            if protocol != arguments.protocol and getattr(arguments, name) != getattr(defaults, name):
                raise UserError(f"--{name.replace('_', '-')} is for --protocol {protocol}; leave it out")
    for name in ("limit", "train_limit", "validation"):
        value = getattr(arguments, name)
        if value is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} is {value}; use 1 or more")
    if arguments.resume and not arguments.out:
        raise UserError("--resume goes on with what lies in --out; give --out the folder of the earlier run")
    for name in ("MahalanobisEnsemble", "PytorchOOD"):
        if name in (arguments.detectors or ()):
            cure = "it is always measured" if name == "MahalanobisEnsemble" else "use --pytorch-ood NAME"
            raise UserError(f"--detectors {name} can't be chosen here: {cure}; leave it out")
    if arguments.convention == "lee" and arguments.positive == "ood":
        raise UserError("--convention lee has ID as positive; leave --positive ood out")
    shrinkage = arguments.shrinkage
    if shrinkage is not None and shrinkage != "oas":
        try:
            arguments.shrinkage = float(shrinkage)
        except ValueError:
            raise UserError(f"--shrinkage is {shrinkage!r}; use a number in [0, 1] or oas") from None


def fitting(model) -> list[str]:
    """All detectors; without those that need a linear classifier where the network has another."""
    from kdzoo.registry import DETECTORS as REGISTERED
    from kdzoo.robust.ood.detector import ClassifierDetector
    from kdzoo.robust.ood.taps import linear_classifier

    try:
        linear_classifier(model)
    except ValueError as error:
        unfit = [name for name in DETECTORS if issubclass(REGISTERED.get(name), ClassifierDetector)]
        print(f"left out: {', '.join(unfit)}, since {str(error).partition(';')[0]}")
        return [name for name in DETECTORS if name not in unfit]
    return list(DETECTORS)


def find_sets(arguments: argparse.Namespace, config, data) -> tuple[list, list[str]]:
    """The OOD sets on disk, and the names of those that are not."""
    from kdzoo.config import Config
    from kdzoo.errors import UserError
    from kdzoo.robust.ood.scoring import file_stem
    from kdzoo.robust.ood.sets import read_sets
    from kdzoo.tools.config_path import find_config

    kind = config["data"]["type"]
    if arguments.sets is None and kind not in BENCHMARKS:
        raise UserError(f"there is no benchmark for {kind}; give --sets a config like configs/ood/cifar10.py")
    file = arguments.sets or f"configs/ood/{BENCHMARKS[kind]}.py"
    device = next(iter(data.test.epoch(0))).images.device
    sets, absent = read_sets(
        Config.from_file(find_config(file)), config["data"].get("root"), data.shape, arguments.limit, device=device
    )
    if not sets:
        raise UserError(f"none of the sets of {file} is on disk ({', '.join(absent)}); put one below data.root")
    taken = {"in-distribution", "fgsm"}  # files of scores that are not of a set
    for part in sets:
        stem = file_stem(part.name).lower()
        if stem in taken:
            raise UserError(f"{file}: the name {part.name!r} is taken; give the set another one with name=")
        taken.add(stem)
    return sets, absent


def key(arguments: argparse.Namespace, sets: list, model, data) -> dict:
    """What stored scores depend on."""
    from kdzoo.models import weights_hash

    names = ("detectors", "pytorch_ood", "layers", "no_ensemble", "shrinkage", "limit", "train_limit", "validation")
    options = {name: getattr(arguments, name) for name in (*names, "fgsm_eps", "seed")}
    return dict(
        weights=weights_hash(model), test=data.test.fingerprint(), train=data.train.fingerprint(),
        sets={s.name: s.count for s in sets}, contents={s.name: s.digest for s in sets}, **options,
    )  # fmt: skip


class Scorer:
    """The network with its detectors, which are fitted when the first set needs them."""

    def __init__(self, arguments: argparse.Namespace, config, model, data, scratch: Path, state):
        from kdzoo.robust.ood.ensemble import EPSILONS, MahalanobisEnsemble

        self.arguments, self.config, self.model, self.scratch, self.state = arguments, config, model, scratch, state
        self.classes, self.epsilons = data.classes, EPSILONS
        self.device = next(iter(data.test.epoch(0))).images.device
        self.detectors = self._make()
        shrinkage = arguments.shrinkage
        self.ensemble = None
        if not arguments.no_ensemble:
            self.ensemble = MahalanobisEnsemble(model, arguments.layers, shrinkage=shrinkage)
        self._fitted = False

    def score(self, name: str, batches):
        from kdzoo.robust.ood.scoring import score_set

        self._fit()
        print(f"scoring {name}", flush=True)
        # Of FGSM images only the layer scores are used.
        detectors = {} if name == "FGSM" else self.detectors
        return score_set(self.model, detectors, self.ensemble, batches)

    def id_batches(self):
        return (batch.images for batch in self.loader("test", self.arguments.limit).epoch(0))

    def fgsm_batches(self, count: int):
        """FGSM images of the in-distribution validation images."""
        from kdzoo.robust.attacks.fgsm import fgsm
        from kdzoo.robust.ood.summary import validation_rows

        held, start = validation_rows(count, self.arguments.validation), 0
        for batch in self.loader("test", self.arguments.limit).epoch(0):
            rows = held[start : start + len(batch.images)]
            start += len(batch.images)
            if rows.any():
                yield fgsm(self.model, batch.images[rows], batch.target[rows], self.arguments.fgsm_eps)

    def loader(self, split: str, limit: int | None):
        """Unaugmented images of the config's set, in order."""
        from kdzoo.tools.tasks.images import ordered

        return ordered(self.config, split, limit, self.device)

    def _make(self) -> dict:
        """The detectors by name, not fitted."""
        from kdzoo.registry import DETECTORS as REGISTERED

        built = {}
        for name in self.arguments.detectors:
            options = {}
            if self.arguments.shrinkage is not None and name.endswith("Mahalanobis"):
                options["shrinkage"] = self.arguments.shrinkage
            built[name] = REGISTERED.build(dict(type=name, **options), place="--detectors", model=self.model)
        for name in self.arguments.pytorch_ood:
            detector = REGISTERED.build(dict(type="PytorchOOD", detector=name), model=self.model)
            built[detector.name] = detector
        return built

    def _fit(self) -> None:
        """One pass over the training images, then every detector on the stored features."""
        if self._fitted:
            return
        from kdzoo.robust.ood.features import FeatureFiles

        self._fitted = True
        saved = {name: self.state.folder / "fitted" / f"{name}.safetensors" for name in self.detectors}
        if self.ensemble is not None:
            saved["ensemble"] = self.state.folder / "fitted" / "ensemble.safetensors"
        if self.arguments.resume and not self.arguments.pytorch_ood and all(file.is_file() for file in saved.values()):
            for name, detector in self.detectors.items():
                detector.load(saved[name])
            if self.ensemble is not None:
                self.ensemble.load(saved["ensemble"])
            return
        loader = self.loader("train", self.arguments.train_limit)
        print(f"extracting features of {loader.size:,} training images", flush=True)
        files = FeatureFiles.extract(self.model, loader, loader.size, self.scratch, self.arguments.layers)
        for detector in self.detectors.values():
            if detector.reads == "images":
                detector.fit(loader)
            else:
                detector.fit_batches(lambda reads=detector.reads: files.batches(reads))
        if self.ensemble is not None:
            self.ensemble.fit_moments(files.moments)
        for name, file in saved.items():
            detector = self.ensemble if name == "ensemble" else self.detectors[name]
            if not name.startswith("pytorch-ood"):
                detector.save(file)
