"""Certified robustness by randomized smoothing.

python tools/eval_robust.py CONFIG CHECKPOINT --task certify --sigma 0.25 --skip 20 --out work_dirs/certified
python tools/eval_robust.py --task certify --from-log work_dirs/certified/*.tsv
torchrun --nproc_per_node 2 -- tools/eval_robust.py CONFIG CHECKPOINT --task certify --sigma 0.25 --n 100000 --out OUT

(The -- keeps torchrun from taking --n for an abbreviation of its own options.)
"""

import argparse
import os
from pathlib import Path

METHODS = ("cohen", "cpm", "lvm", "sequential", "published")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sigma", type=float, help="of the noise, in pixels in [0, 1]; as the model was trained")
    parser.add_argument(
        "--method",
        choices=METHODS,
        default="cohen",
        help="default cohen: exact, fixed n; sequential "
        "decides --radii with fewer samples; published is LVM as its authors compute it (optimistic)",
    )
    parser.add_argument("--n", type=int, default=100_000, help="samples an image (sequential: at most; default 100000)")
    parser.add_argument("--n0", type=int, default=100, help="samples that choose the class (default 100)")
    parser.add_argument("--alpha", type=float, default=0.001, help="error probability an image (default 0.001)")
    parser.add_argument("--radii", type=float, nargs="+", default=[0.25, 0.5, 0.75], help="what sequential decides")
    parser.add_argument(
        "--give-up",
        type=float,
        default=0.01,
        help="sequential: leave a radius that the samples left would certify with a lower predicted probability "
        "(default 0.01; costs power, never soundness)",
    )
    parser.add_argument("--skip", type=int, default=1, help="certify every so-many-th test image (default 1: all)")
    parser.add_argument("--max-images", type=int, help="at most so many")
    parser.add_argument(
        "--batch", type=int, default=400, help="samples a forward pass (default 400); changes no result"
    )
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of the forward pass")
    parser.add_argument(
        "--validation",
        type=int,
        default=20,
        help="lvm: images between the certified ones (it takes --skip 2 or more) that choose the map (default 20)",
    )
    parser.add_argument("--shard", help="I/N: this process's share, from 0; torchrun and accelerate set it themselves")
    parser.add_argument(
        "--fold", action="store_true", help="fold batch norm into the convolutions: faster, equal up to rounding"
    )
    parser.add_argument("--from-log", nargs="+", metavar="TSV", help="analyse logs, of any program; needs no model")


def stands_alone(arguments: argparse.Namespace) -> bool:
    """Whether the command needs no config and no checkpoint."""
    return arguments.from_log is not None


def run_alone(arguments: argparse.Namespace) -> int:
    """Print the table of the logs and write the report page."""
    from kdzoo.report.certified import read_logs, text_table, write_certified_report

    logs = read_logs(arguments.from_log)
    print(text_table(logs))
    page = write_certified_report(logs, Path(arguments.out or ".") / "certified.html")
    print(f"report: {page}")
    return 0


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Certify, log, print; return the figures for the JSON file."""
    from kdzoo.errors import UserError
    from kdzoo.models.checkpoint import weights_hash
    from kdzoo.models.fold import Folded
    from kdzoo.report.certified import read_logs, text_table, write_certified_report
    from kdzoo.robust.certify import SmoothedClassifier
    from kdzoo.robust.certify.log import read_log
    from kdzoo.robust.certify.run import certify_set, wanted_images

    if arguments.sigma is None:
        raise UserError("--task certify needs --sigma, the noise's standard deviation; e.g. --sigma 0.25")
    if not arguments.out:
        raise UserError("--task certify needs --out, the folder of its log: a killed run goes on from there")
    shard = which_shard(arguments.shard)
    network = model = model.to(own_device(model))
    if arguments.fold:
        network = Folded(model)
    smoothed = SmoothedClassifier(
        network, data.num_classes, arguments.sigma, arguments.seed, arguments.batch, arguments.precision
    )
    wanted = wanted_images(data.test.size, arguments.skip, 0, arguments.max_images)
    certifier = build_certifier(arguments, smoothed, data, wanted)
    settings = dict(network=model.name, weights=weights_hash(model), data=data.test.fingerprint())
    settings |= dict(device=smoothed.device.type)
    settings |= dict(folded=True) if arguments.fold else {}
    path = Path(arguments.out) / f"certify_{arguments.method}_sigma{arguments.sigma:g}.tsv"
    print(f"{certifier.label}; sigma {arguments.sigma:g}, {len(wanted)} images, log {path}")
    with progress_bar(shard, certifier) as progress:
        log = certify_set(smoothed, certifier, data.test, path, wanted, settings, shard, progress)
    if shard.count > 1 and not (path.exists() and len(read_log(path, allow_cut=True)) == len(wanted)):
        print(f"shard {shard.number} of {shard.count} is done; the last one to finish writes {path}")
        name = f"{path.stem}.shard{shard.number}of{shard.count}"
        return dict(record_name=name, label=certifier.label, **figures(certifier, log.rows))
    (merged,) = logs = read_logs([path])
    print(text_table(logs))
    print(f"report: {write_certified_report(logs, path.with_suffix('.html'))}")
    samples = [record["samples"] for record in merged.records if "samples" in record]
    told = dict(mean_samples=sum(samples) / len(samples)) if samples else {}
    if told:
        print(f"{told['mean_samples']:,.0f} samples an image on average, at most {arguments.n + arguments.n0:,}")
    found = dict(label=certifier.label, settings=merged.settings, **told, **figures(certifier, merged.rows))
    return dict(record_name=path.stem, **found)  # one a method and sigma, as the logs


def figures(certifier, rows) -> dict:
    """For the JSON file; decided radii are not to be averaged, nor read between."""
    from dataclasses import asdict

    from kdzoo.robust.certify.analysis import RADII, summarise

    if not rows:  # more processes than images
        return dict(images=0)
    decided = getattr(certifier, "radii", None)
    found = asdict(summarise(rows, RADII if decided is None else decided))
    return {name: found[name] for name in found if decided is None or "acr" not in name and name != "mean_radius"}


def build_certifier(arguments: argparse.Namespace, smoothed, data, wanted: list[int]):
    """The method with its options; lvm's map is chosen here, on images that are not certified."""
    from kdzoo.registry import CERTIFIERS

    options = dict(n=arguments.n, n0=arguments.n0, alpha=arguments.alpha)
    if arguments.method == "sequential":
        options.update(radii=tuple(sorted(arguments.radii)), give_up=arguments.give_up)
    if arguments.method == "lvm":
        options["chosen"] = chosen_map(arguments, smoothed, data, wanted)
    return CERTIFIERS.get(arguments.method)(**options)


def chosen_map(arguments: argparse.Namespace, smoothed, data, wanted: list[int]):
    from kdzoo.errors import UserError
    from kdzoo.robust.certify.lvm import choose_map
    from kdzoo.robust.certify.run import read_images

    if arguments.skip < 2 or arguments.validation < 1:
        raise UserError(
            "lvm chooses its map on images between the certified ones; use --skip 2 and --validation 1 or more"
        )
    between = sorted({index + arguments.skip // 2 for index in wanted} & set(range(data.test.size)))
    step = max(1, len(between) // arguments.validation)
    places = between[::step][: arguments.validation]
    images = read_images(data.test, places)
    samples = max(100, min(arguments.n, 1000))
    chosen, _ = choose_map(smoothed, images, arguments.n0, samples, arguments.alpha, planned_n=arguments.n)
    print(f"map chosen on {len(places)} validation images: {chosen.kind}, scale {chosen.scale:g}")
    return chosen


def which_shard(text: str | None):
    """--shard, else the rank that torchrun or accelerate launch gave."""
    from kdzoo.errors import UserError
    from kdzoo.robust.certify.run import Shard

    try:
        number, count = text.split("/") if text else (os.environ.get("RANK", 0), os.environ.get("WORLD_SIZE", 1))
        return Shard(int(number), int(count))
    except ValueError:
        raise UserError(f"--shard is {text!r}; write I/N with I from 0 to N - 1, such as 0/4") from None


def own_device(model):
    """Where this process computes: with several GPUs the one of its local rank."""
    import torch

    device = next(model.parameters()).device
    if device.type == "cuda" and torch.cuda.device_count() > 1:
        return torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0)) % torch.cuda.device_count())
    return device


class progress_bar:
    """A bar with the time left and the certified accuracy so far at a few radii."""

    def __init__(self, shard, certifier):
        self.shard, self.radii = shard, tuple(getattr(certifier, "radii", (0.25, 0.5, 0.75)))[:3]
        self.bar = None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.bar is not None:
            self.bar.close()

    def __call__(self, log, total: int) -> None:
        from tqdm import tqdm

        from kdzoo.robust.certify.analysis import certified_accuracy

        if self.bar is None:
            name = "certify" if self.shard.count == 1 else f"shard {self.shard.number}"
            self.bar = tqdm(total=total, initial=len(log.rows), desc=name, unit="img", position=self.shard.number)
            return
        shares = certified_accuracy(log.rows, self.radii)
        shown = "  ".join(f"{share:.3f} at {radius:g}" for radius, share in zip(self.radii, shares, strict=True))
        self.bar.set_postfix_str(shown, refresh=False)
        self.bar.update()
