"""The adversarial protocol of the ood task: clean and noisy test images against attacked ones."""

import argparse
import itertools
import tempfile
from pathlib import Path

PICTURES = 12  # of each attack
EVERY = 10  # every tenth image tunes, as in the paper


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Fit the Mahalanobis ensemble, attack, detect; print the table; write the page's file where --out says.

    Images tune or test under every attack alike: what is tuned on FGSM has seen no image of any test.
    """
    from kdzoo.robust.ood.adversarial import detection
    from kdzoo.robust.ood.ensemble import EPSILONS

    attacks = build_attacks(arguments)
    images, target = right_images(arguments, model, data)
    tuning = [row for row in range(len(images)) if row % EVERY == 0]
    testing = [row for row in range(len(images)) if row % EVERY]
    ensemble = fit(arguments, config, model, images.device)
    rows, pictures, fgsm = [], [], None
    for name, attack in attacks.items():
        print(f"attacking {len(images):,} images with {name}", flush=True)
        halves = [
            attacked(arguments, model, ensemble, name, attack, images[part], target[part]) for part in (tuning, testing)
        ]
        scores, shown = zip(*halves, strict=True)
        pictures.append(shown[1])
        rows.append((name, detection(name, *scores, EPSILONS)))
        if name == "FGSM":
            fgsm = scores[0]
        elif fgsm is not None:
            rows.append(("FGSM", detection(name, fgsm, scores[1], EPSILONS)))
    print(text_table(rows))
    if arguments.out:
        write_record(Path(arguments.out) / "ood_adversarial.npz", rows, list(attacks), pictures)
    results = [
        dict(attack=found.attack, tuned_on=tuned, images=found.images, epsilon=found.epsilon, metrics=found.metrics)
        for tuned, found in rows
    ]
    options = dict(attack_eps=arguments.attack_eps, cw_steps=arguments.cw_steps, layers=list(ensemble.gaussians))
    return dict(
        record_name="ood_adversarial", protocol="adversarial", positive="id", attacked=len(images), results=results,
        **options,
    )  # fmt: skip


def build_attacks(arguments: argparse.Namespace) -> dict:
    """The attacks by their registered names; FGSM first, since the others are tuned on it, too."""
    from kdzoo.errors import UserError, did_you_mean
    from kdzoo.registry import ATTACKS

    known = {name.lower(): name for name in ATTACKS.names()}
    unknown = [name for name in arguments.attacks if name.lower() not in known]
    if unknown:
        raise UserError(f"--attacks has unknown {unknown[0]!r}{did_you_mean(unknown[0], known)}")
    names = dict.fromkeys(known[name.lower()] for name in arguments.attacks)
    options = {"FGSM": dict(eps=arguments.attack_eps), "BIM": dict(eps=arguments.attack_eps)}
    options["CW"] = dict(steps=arguments.cw_steps)
    return {
        name: ATTACKS.build(dict(type=name, **options.get(name, {})), place="--attacks")
        for name in sorted(names, key=lambda name: name != "FGSM")
    }


def right_images(arguments: argparse.Namespace, model, data):
    """The first test images the network gets right, at most --limit; others can't become triples."""
    import torch

    from kdzoo.errors import UserError

    kept, labels, count = [], [], 0
    for batch in data.test.epoch(0):
        with torch.no_grad():
            right = model(batch.images).argmax(dim=1) == batch.target
        kept.append(batch.images[right])
        labels.append(batch.target[right])
        count += len(kept[-1])
        if arguments.limit is not None and count >= arguments.limit:
            break
    images, target = torch.cat(kept)[: arguments.limit], torch.cat(labels)[: arguments.limit]
    if len(images) < 10 * EVERY:
        raise UserError(f"the network is right on {len(images)} images; {10 * EVERY} are needed: raise --limit")
    return images, target


def fit(arguments: argparse.Namespace, config, model, device):
    """The ensemble, fitted on the training images."""
    from kdzoo.robust.ood.ensemble import MahalanobisEnsemble
    from kdzoo.robust.ood.features import FeatureFiles
    from kdzoo.tools.tasks.images import ordered

    loader = ordered(config, "train", arguments.train_limit, device)
    ensemble = MahalanobisEnsemble(model, arguments.layers, shrinkage=arguments.shrinkage)
    print(f"fitting on {loader.size:,} training images", flush=True)
    with tempfile.TemporaryDirectory(prefix="kdzoo-ood-") as scratch:
        files = FeatureFiles.extract(model, loader, loader.size, Path(scratch), arguments.layers)
        return ensemble.fit_moments(files.moments)


def attacked(arguments: argparse.Namespace, model, ensemble, name: str, attack, images, target):
    """Layer scores of the triples, and pictures uint8 [M, 2, H, W, C] of clean and attacked images."""
    import torch

    from kdzoo.errors import UserError
    from kdzoo.robust.ood.adversarial import layer_scores, make_triples

    try:
        triples = make_triples(model, zip(images.split(256), target.split(256), strict=True), attack, arguments.seed)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    if len(triples.clean) < 10:
        raise UserError(f"{name}: {len(triples.clean)} triples are too few to tune on; attack more images (--limit)")
    pairs = torch.stack([triples.clean[:PICTURES], triples.adversarial[:PICTURES]], dim=1)
    return layer_scores(ensemble, triples), pairs.mul(255).round().byte().permute(0, 1, 3, 4, 2).cpu().numpy()


def text_table(rows) -> str:
    """A line an attack and tuning: triples, step, AUROC, TNR at 95 % TPR, detection accuracy, in percent."""
    lines = ["attack      tuned on    triples  epsilon   AUROC  TNR95   accuracy   (clean and noisy are positive)"]
    for tuned, found in rows:
        shares = [100 * found.metrics[name] for name in ("auroc", "tnr95", "detection_accuracy")]
        numbers = "{:6.2f} {:6.2f} {:10.2f}".format(*shares)
        lines.append(f"{found.attack:12}{tuned:12}{found.images:7d}  {found.epsilon:7g}  {numbers}")
    return "\n".join(lines)


def write_record(path: Path, rows, attacks: list[str], pictures: list) -> None:
    """``ood_adversarial.npz`` for the report page."""
    import numpy as np

    from kdzoo.files import atomic_path

    arrays = dict(
        attack=np.array([found.attack for _, found in rows]), tuned_on=np.array([tuned for tuned, _ in rows]),
        images=np.array([found.images for _, found in rows]), pictures=np.concatenate(pictures),
        picture_attack=np.array(
            list(itertools.chain(*([name] * len(part) for name, part in zip(attacks, pictures, strict=True))))
        ),
    )  # fmt: skip
    for name in ("auroc", "tnr95", "detection_accuracy"):
        arrays[name] = np.array([found.metrics[name] for _, found in rows])
    with atomic_path(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)
