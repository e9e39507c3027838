"""The novel-class protocol: a network trained on some classes of a ClassSplit meets the others.

python tools/train.py configs/heads/mnist_7_3_normalized.py
python tools/novel.py configs/heads/mnist_7_3_normalized.py work_dirs/heads/mnist_7_3_normalized/last.safetensors
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from kdzoo.tools.command import command


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="novel.py", description=__doc__.splitlines()[0])
    parser.add_argument("config", help="a config whose data is a ClassSplit; a run's config.py will do")
    parser.add_argument("checkpoint", help="weights of its student")
    parser.add_argument("--shots", type=int, help="support images a class, drawn with --seed (default: all)")
    parser.add_argument("--support", type=int, default=10_000, help="most support images in all (default: 10,000)")
    parser.add_argument("--queries", type=int, help="most test images (default: all)")
    parser.add_argument("--neighbours", type=int, default=5, help="k of k-NN (default: 5)")
    parser.add_argument("--seed", type=int, default=0, help="of the shots (default: 0)")
    parser.add_argument("--device", choices=("cpu", "cuda", "mps"), help="default: the best there is")
    parser.add_argument("--out", type=Path, help="folder for novel.json and the cached embeddings")
    parser.add_argument("--cfg-options", nargs="+", default=[], metavar="KEY=VALUE", help="e.g. data.source.root=/data")
    return parser


@command
def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    from kdzoo.errors import UserError

    try:
        run(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


def run(arguments: argparse.Namespace) -> None:
    import tempfile

    import numpy as np

    from kdzoo.config import Config
    from kdzoo.data.class_split import as_all
    from kdzoo.engine.features import extract_set
    from kdzoo.engine.folder import write_json
    from kdzoo.engine.testing import load_tested
    from kdzoo.errors import UserError
    from kdzoo.heads.few_shot import k_shot
    from kdzoo.heads.novel import CONVENTIONS, novel_protocol
    from kdzoo.heap import keep_freed_memory
    from kdzoo.tools.config_path import find_config

    keep_freed_memory()
    config = Config.from_file(find_config(arguments.config), arguments.cfg_options)
    if dict(config.get("data") or {}).get("type") != "ClassSplit":
        raise UserError("the config's data is no ClassSplit; set data = dict(type='ClassSplit', source=..., seen=...)")
    model, data = load_tested(config, arguments.checkpoint, arguments.device)
    seen, whole = data.num_classes, as_all(config["data"])
    whole |= dict(train_limit=arguments.support, test_limit=arguments.queries)
    with tempfile.TemporaryDirectory() as scratch:
        folder = (arguments.out or Path(scratch)) / "embeddings"
        parts, classes = extract_set(model, whole, folder, batch_size=500)
        (x, y), (query, query_labels) = ((np.array(p.features), np.array(p.labels)) for p in parts.values())
    if hasattr(model.head, "embed"):
        x, query = (embed(model.head, part) for part in (x, query))
    try:
        if arguments.shots is not None:
            rows = k_shot(y, arguments.shots, arguments.seed)
            x, y = x[rows], y[rows]
        missing = sorted(set(range(len(classes))) - set(y.tolist()))
        if missing:  # added out of order, classes would get one another's columns
            raise UserError(f"--support {arguments.support} draws no image of {classes[missing[0]]}; use more")
        result = novel_protocol(x, y, query, query_labels, seen, arguments.neighbours)
    except ValueError as error:
        raise UserError(str(error)) from error
    record = asdict(result) | dict(
        seen=classes[:seen], novel=classes[seen:], support=len(y), queries=len(query_labels),
        neighbours=arguments.neighbours, grown_head=grow(model, x, y, query, query_labels, seen),
        imprinted_head=imprint(model, x, y, query, query_labels, seen),
    )  # fmt: skip
    print(CONVENTIONS.replace("the k nearest", f"the {arguments.neighbours} nearest", 1))
    print("\n".join(table(record)))
    if arguments.out is not None:
        write_json(arguments.out / "novel.json", record)


def embed(head, features):
    """What the head compares, [N, D]: unit rows, centred where the head does so."""
    import torch

    with torch.no_grad():
        device = next(head.parameters()).device
        return head.embed(torch.from_numpy(features).to(device)).cpu().numpy()


def grow(model, support, labels, query, query_labels, seen: int) -> dict[str, float] | None:
    """Accuracy of the trained head with the novel classes added by their means; ``None`` for a head that can't."""
    import torch

    if not hasattr(model.head, "add_class"):
        return None
    device = next(model.parameters()).device
    for label in sorted(set(labels[labels >= seen].tolist())):
        model.head.add_class(torch.from_numpy(support[labels == label]).to(device))
    return decide(model.head, query, query_labels, seen)


def imprint(model, support, labels, query, query_labels, seen: int) -> dict[str, float] | None:
    """Accuracy of the head with all classes' weights replaced by their means; ``None`` for a head that can't."""
    import torch

    if not hasattr(model.head, "imprint"):
        return None
    device = next(model.parameters()).device
    model.head.imprint(torch.from_numpy(support).to(device), torch.from_numpy(labels).to(device))
    return decide(model.head, query, query_labels, seen)


def decide(head, query, query_labels, seen: int) -> dict[str, float]:
    """Accuracy of a head on all queries, on those of seen and on those of novel classes."""
    import torch

    with torch.no_grad():
        device = next(head.parameters()).device
        right = head(torch.from_numpy(query).to(device)).argmax(1).cpu().numpy() == query_labels
    old = query_labels < seen
    on_seen, on_novel = 100 * float(right[old].mean()), 100 * float(right[~old].mean())
    return dict(all=100 * float(right.mean()), seen=on_seen, novel=on_novel)


def table(record: dict) -> list[str]:
    joint, disjoint, grown = record["joint"], record["disjoint"], record["grown_head"]
    recalls = list(disjoint["recall"])
    lines = [
        f"{len(record['seen'])} seen, {len(record['novel'])} novel classes; {record['support']:,} support images, "
        f"{record['queries']:,} queries",
        f"{'%':10}{'NCM':>8}{'k-NN':>8}" + "".join(f"{f'R@{k}':>8}" for k in recalls),
    ]
    for name, part in (("disjoint", disjoint), ("joint", joint)):
        values = [part["ncm"], part["knn"], *(part["recall"][k] for k in recalls)]
        lines.append(f"{name:10}" + "".join(f"{value:8.2f}" for value in values))
    for name in ("ncm", "knn"):
        parts = (joint[f"{name}_{which}"] for which in ("seen", "novel", "harmonic"))
        label = {"ncm": "NCM", "knn": "k-NN"}[name]
        lines.append("joint {}: seen {:.2f}, novel {:.2f}, H {:.2f}".format(label, *parts))
    told = (("trained head, novel classes added", grown), ("head of all classes' means", record["imprinted_head"]))
    for label, part in told:
        if part is not None:
            lines.append("{}: all {all:.2f}, seen {seen:.2f}, novel {novel:.2f}".format(label, **part))
    lines.append("rejection: AUROC {auroc:.2f}, AUPR {aupr:.2f}, FPR95 {fpr95:.2f}".format(**record))
    return lines


if __name__ == "__main__":
    sys.exit(main())
