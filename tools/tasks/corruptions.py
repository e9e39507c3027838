"""Accuracy under the 15 + 4 common corruptions, from CIFAR-10-C and its kin where on disk, else generated.

python tools/eval_robust.py CONFIG CHECKPOINT --task corruptions --severities 1 3 5 --out OUT
python tools/eval_robust.py CONFIG CHECKPOINT --task corruptions --baseline OTHER/robust_corruptions.json
"""

import argparse
import json
from pathlib import Path

PUBLISHED = {"CIFAR10": "CIFAR-10-C", "CIFAR100": "CIFAR-100-C", "ImageNet": "ImageNet-C"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--severities", type=int, nargs="+", default=[1, 2, 3, 4, 5], help="default: 1 to 5")
    parser.add_argument("--corruptions", nargs="+", metavar="NAME", help="default: all there are")
    parser.add_argument("--max-images", type=int, help="a stratified subset of so many test images (default: all)")
    parser.add_argument(
        "--source", choices=("auto", "published", "generated"), default="auto",
        help="published: the folder CIFAR-10-C, CIFAR-100-C or ImageNet-C below data.root; auto: it, where it is",
    )  # fmt: skip
    parser.add_argument(
        "--baseline", help="what mCE divides by: a robust_corruptions.json, or alexnet (default for ImageNet-C)"
    )
    parser.add_argument("--resume", action="store_true", help="go on after the last finished corruption and severity")


def run(arguments: argparse.Namespace, config, model, data) -> dict:
    """Measure cell by cell, print the table; write the page's file where --out says."""
    import numpy as np

    from kdzoo.robust.attacks.autoattack.state import model_fingerprint
    from kdzoo.robust.corruptions import COMMON
    from kdzoo.robust.corruptions.folders import check_severities
    from kdzoo.robust.corruptions.mce import corruption_errors, mean_error, text_table
    from kdzoo.robust.corruptions.record import Cells, write_record

    severities = check_severities(arguments.severities)
    source = choose_source(arguments, config, data)
    names = choose_names(arguments.corruptions, source)
    baseline = read_baseline(arguments.baseline, source.label)
    common = [name for name in names if name in COMMON]
    if baseline is not None:
        # A baseline that does not fit is told before hours of work.
        corruption_errors({name: [0.0] for name in common}, severities, baseline, common)
    folder = Path(arguments.out) if arguments.out else None
    key = dict(model=model_fingerprint(model), source=source.label, data=data.test.fingerprint(), seed=arguments.seed)
    key |= dict(max_images=arguments.max_images)
    cells = Cells(folder and folder / "corruptions_cells.json", key, arguments.resume)
    print(f"{source.label}: {len(names)} corruptions at the severities {', '.join(map(str, severities))}")
    clean = measure_clean(model, source, cells)
    measure(model, source, names, severities, cells)
    errors = {name: [_share(cells.get(name, severity)) for severity in severities] for name in names}
    ratios = {} if baseline is None else corruption_errors(errors, severities, baseline, common)
    print(text_table(errors, severities, clean, ratios))
    result = dict(source=source.label, severities=severities, clean_error=clean, errors=errors)
    result |= dict(images_a_cell=cells.get(names[0], severities[0])[1], common=len(common))
    if common:
        result["mean_corruption_error"] = mean_error(errors, common)
        which = "the 15 common corruptions" if len(common) == len(COMMON) else f"{len(common)} of 15 corruptions"
        print(f"mean error over {which}, not normalised: {100 * result['mean_corruption_error']:.2f} %")
    if ratios:
        result |= dict(baseline=baseline.name, ce=ratios, mce=sum(ratios.values()) / len(ratios))
        what = "mCE" if len(common) == len(COMMON) else f"mean CE over {which}"
        print(f"{what} relative to {baseline.name}: {100 * result['mce']:.2f} %")
    if folder:
        table = np.array([errors[name] for name in names])
        pictures = np.stack([[source.picture(name, severity) for severity in severities] for name in names])
        told = baseline.name if baseline else ""
        write_record(folder / "corruptions.npz", source.label, names, severities, table, clean, told, ratios, pictures)
    return result


def _share(cell: list[int]) -> float:
    return cell[0] / cell[1]


def choose_source(arguments: argparse.Namespace, config, data):
    """The published set where it is on disk (and wanted), else corruptions made here."""
    from kdzoo.data.npy import data_root
    from kdzoo.errors import UserError
    from kdzoo.robust.corruptions.folders import CifarC, ImageNetC

    limit = arguments.max_images
    if limit is not None and limit < 1:
        raise UserError(f"--max-images is {limit}; use 1 or more")
    clean = test_loader(config, data, limit)
    name = PUBLISHED.get(config["data"]["type"])
    folder = data_root(config["data"].get("root")) / name if name else None
    found = folder is not None and folder.is_dir()
    if arguments.source == "published" and not found:
        told = f"{folder} is missing" if name else f"there is no published set for {config['data']['type']}"
        raise UserError(f"{told}; unpack CIFAR-10-C, CIFAR-100-C or ImageNet-C below data.root, or leave --source out")
    if arguments.source == "generated" or not found:
        return Generated(clean, arguments.seed, name)
    if name == "ImageNet-C":
        return Published(clean, name, ImageNetC(folder, data.shape, data.classes, limit))
    return Published(clean, name, CifarC(folder, data.shape, data.num_classes, limit))


def test_loader(config, data, limit: int | None):
    """The test images, or a stratified subset of them."""
    if limit is None or limit >= data.test.size:
        return data.test
    from kdzoo.tools.tasks.images import ordered

    return ordered(config, "test", limit, next(iter(data.test.epoch(0))).images.device)


class Generated:
    """Corruptions made here from the test images; an image's number is its place among them."""

    def __init__(self, clean, seed: int, published: str | None):
        self.clean, self.seed = clean, seed
        self.first = next(iter(clean.epoch(0))).images[:1]
        self.label = "corruptions generated here" + (f" (not {published})" if published else "")

    def names(self) -> list[str]:
        from kdzoo.robust.corruptions import COMMON, EXTRA

        return [*COMMON, *EXTRA]

    def batches(self, name: str, severity: int):
        from kdzoo.robust.corruptions import corrupt

        start = 0
        for batch in self.clean.epoch(0):
            index = range(start, start + len(batch.images))
            start += len(batch.images)
            yield corrupt(batch.images, name, severity, index, self.seed), batch.target

    def picture(self, name: str, severity: int):
        from kdzoo.robust.corruptions import corrupt

        return _pixels(corrupt(self.first, name, severity, [0], self.seed)[0])


class Published:
    """A published corrupted set."""

    def __init__(self, clean, label: str, stored):
        self.clean, self.label, self.stored = clean, label, stored
        self.device = next(iter(clean.epoch(0))).images.device

    def names(self) -> list[str]:
        return self.stored.names()

    def batches(self, name: str, severity: int):
        return self.stored.batches(name, severity, self.device)

    def picture(self, name: str, severity: int):
        return _pixels(next(iter(self.stored.batches(name, severity, "cpu", 1)))[0][0])


def _pixels(image):
    """[C, H, W] in [0, 1] -> uint8 [H, W, C]."""
    return image.mul(255).round().byte().permute(1, 2, 0).cpu().numpy()


def choose_names(wanted: list[str] | None, source) -> list[str]:
    """What is there in the published order, or what was asked for."""
    from kdzoo.errors import UserError, did_you_mean
    from kdzoo.robust.corruptions import COMMON, EXTRA

    there = source.names()
    unknown = [name for name in wanted or [] if name not in (*COMMON, *EXTRA)]
    if unknown:
        raise UserError(f"unknown corruption {unknown[0]!r}{did_you_mean(unknown[0], (*COMMON, *EXTRA))}")
    names = list(dict.fromkeys(wanted)) if wanted else [name for name in (*COMMON, *EXTRA) if name in there]
    if not names:
        raise UserError(f"{source.label} on disk holds no corruption; unpack it again, or use --source generated")
    return names


def read_baseline(text: str | None, source: str):
    """AlexNet's published errors, or another network's JSON of this task."""
    from kdzoo.errors import UserError
    from kdzoo.robust.corruptions.mce import ALEXNET, Baseline

    if text == "alexnet" or (text is None and source == "ImageNet-C"):
        if source != "ImageNet-C":
            raise UserError(f"AlexNet's published errors are of ImageNet-C, not of {source}; give --baseline a JSON")
        return Baseline("AlexNet (published)", ALEXNET, (1, 2, 3, 4, 5))
    if text is None:
        return None
    try:
        record = json.loads(Path(text).read_text(encoding="utf-8"))
        errors = {name: sum(row) / len(row) for name, row in record["errors"].items()}
        found = Baseline(f"{record['network']} ({text})", errors, tuple(record["severities"]))
        measured_on = record["source"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError):
        raise UserError(f"--baseline {text} is no robust_corruptions.json of this task; give one, or alexnet") from None
    if measured_on != source:
        raise UserError(f"--baseline {text} was measured on {measured_on}, this is {source}; measure both alike")
    return found


def measure_clean(model, source, cells) -> float:
    """The error on the clean images."""
    if cells.get("clean", 0) is None:
        cells.put("clean", 0, *count_wrong(model, ((batch.images, batch.target) for batch in source.clean.epoch(0))))
    return _share(cells.get("clean", 0))


def measure(model, source, names: list[str], severities: list[int], cells) -> None:
    """Every cell that is not there yet, with a bar that tells the time left."""
    from tqdm import tqdm

    wanted = [(name, severity) for name in names for severity in severities if cells.get(name, severity) is None]
    with tqdm(wanted, total=len(names) * len(severities), initial=len(names) * len(severities) - len(wanted)) as bar:
        for name, severity in bar:
            bar.set_postfix_str(f"{name} {severity}")
            cells.put(name, severity, *count_wrong(model, source.batches(name, severity)))


def count_wrong(model, batches) -> tuple[int, int]:
    """Wrong and all images; one host sync at the end."""
    import torch

    wrong, count = torch.zeros((), dtype=torch.int64), 0
    with torch.inference_mode():
        for images, target in batches:
            wrong = wrong.to(target.device) + (model(images).argmax(dim=1) != target).sum()
            count += len(target)
    return int(wrong), count
