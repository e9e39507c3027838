"""From a run's folder to an entry of the zoo: weights, metrics measured on them, and a model card."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock

import kdzoo
from kdzoo.config import Config
from kdzoo.engine import folder
from kdzoo.engine.evaluate import Scores, predict, score
from kdzoo.engine.experiment import Network, read_experiment
from kdzoo.engine.testing import load_tested
from kdzoo.errors import UserError
from kdzoo.files import write_text
from kdzoo.models import Classifier, create_model, load_weights, save_weights
from kdzoo.zoo.cache import sha256_of
from kdzoo.zoo.index import Entry, Metric, parse_index, write_index

# Smaller files travel in the package, larger ones beside it.
SHIPPED = 1_000_000
CHECKOUT = Path(kdzoo.__file__).parents[1]


@dataclass(frozen=True)
class Published:
    """What was written: the entry, its weights, its card, and the scores in full and stored precision."""

    entry: Entry
    weights: Path
    card: Path
    precision: str
    full: Scores
    stored: Scores


def publish(
    run: str | Path, name: str, config: str | None = None, parent: str | None = None, licence: str = "Apache-2.0",
    note: str = "", root: Path = CHECKOUT, replace: bool = False,
) -> Published:
    """Enter a finished run into the zoo.

    The last weights are taken (the best ones were chosen on the test images), stored in float16 where
    the top-1 accuracy stays the same to the image, and measured again from the file, on a CPU.

    Args:
        run: the folder, with ``config.py``, ``metrics.json`` and ``last.safetensors``.
        name: of the entry, ``"DATA/MODEL"``.
        config: whose student and test images reproduce the metrics; default: the run's own.
        parent: the teacher's entry; default: the one the run's config names by ``zoo:NAME``.
        licence, note: of the entry.
        root: the checkout. The index is ``kdzoo/zoo/index.json``; weights under 1 MB go to
            ``kdzoo/zoo/weights/`` and into the package, others to ``zoo_files/``.
        replace: an entry of that name.

    Raises:
        UserError: no finished run, a name that is taken, a config of another network, a head that the
            zoo does not build, a folder that can't be written.

    Example:
        >>> publish("work_dirs/quickstart/teacher/seed0", "digits/resnet20", "configs/digits/resnet20.py")
    """
    run = Path(run)
    metrics = folder.read_metrics(run)
    if metrics is None or not (run / folder.LAST).is_file():
        raise UserError(f"{run} holds no finished run; give the folder with {folder.METRICS} and {folder.LAST}")
    index = root / "kdzoo" / "zoo" / "index.json"
    entries = _entries(index)
    if name in entries and not replace:
        raise UserError(f"the zoo has {name!r} already; choose another name, or replace it with --replace")
    trained = Config.from_file(run / folder.CONFIG)
    student, teachers = read_experiment(trained).networks()
    if parent is None and teachers and str(teachers[0].checkpoint).startswith("zoo:"):
        parent = str(teachers[0].checkpoint).removeprefix("zoo:")
    config = config or _as_shipped(metrics["config"])
    temporary = root / "zoo_files" / f".{name.replace('/', '-')}.safetensors"
    try:
        full, stored, precision, model, images = _store(trained, student, run / folder.LAST, temporary)
        _check_config(config, student, model)
        size = temporary.stat().st_size
        place = root / "kdzoo" / "zoo" / "weights" if size < SHIPPED else root / "zoo_files"
        entry = Entry(
            name=name, architecture=student.name, options=student.options, data=trained["data"]["type"],
            classes=model.num_classes, in_chans=model.in_chans, mean=model.mean.tolist(), std=model.std.tolist(),
            config=config, recipe=_recipe(metrics), parent=parent,
            metrics=_metrics(stored, metrics["seed"], images), file=f"{name}.safetensors", size=size,
            sha256=sha256_of(temporary), licence=licence, note=note,
            sources=["package"] if size < SHIPPED else ["zoo_files"],
        )
        parse_index([e.asdict() for e in {**entries, name: entry}.values()], index)  # before anything appears
        weights = place / entry.file
        weights.parent.mkdir(parents=True, exist_ok=True)
        temporary.replace(weights)
    except ValueError as error:
        raise UserError(str(error)) from error
    finally:
        temporary.unlink(missing_ok=True)
    card = weights.with_suffix(".md")
    write_text(card, model_card(entry, precision, metrics))
    with FileLock(index.with_name(f".{index.name}.lock")):  # another publish may have entered a network meanwhile
        write_index({**_entries(index), name: entry}, index)
    return Published(entry, weights, card, precision, full, stored)


def _entries(index: Path) -> dict[str, Entry]:
    return parse_index(json.loads(index.read_text(encoding="utf-8")), index) if index.is_file() else {}


def _store(trained: Config, student: Network, last: Path, path: Path) -> tuple[Scores, Scores, str, Any, int]:
    """Write float16 if that changes no top-1 accuracy, else float32; scores of both, from the file."""
    model, data = load_tested(trained, str(last), "cpu")
    _check_head(student, model, data.shape, last)
    full = score(*predict(model, data.test.epoch(0)))
    state = {name: tensor.clone() for name, tensor in model.network.state_dict().items()}
    for precision in (torch.float16, torch.float32):
        model.network.to(precision)
        save_weights(model, path, {"precision": str(precision)})
        model.network.to(torch.float32)
        load_weights(model, path)
        stored = score(*predict(model, data.test.epoch(0)))
        # A weight beyond float16's range is infinite there, and a network of NaN can be right as often by chance.
        finite = all(tensor.isfinite().all() for tensor in model.network.state_dict().values())
        if finite and stored.top1 == full.top1:
            return full, stored, str(precision).removeprefix("torch."), model, data.test.size
        model.network.load_state_dict(state)
    raise UserError(f"{last} gives {full.top1:.2f} % and after saving {stored.top1:.2f} %; its weights are not finite")


@torch.no_grad()
def _check_head(student: Network, model: Classifier, shape: tuple[int, int, int], last: Path) -> None:
    """UserError where the zoo, which builds the plain network, would not load the weights or not answer as the run."""
    if model.head is None:
        return
    plain = create_model(student.name, model.num_classes, in_chans=model.in_chans, **student.options).eval()
    told = f"the zoo builds {student.name} with its own linear classifier, the run's has {type(model.head).__name__}"
    try:
        load_weights(plain, last)
    except UserError as error:
        raise UserError(f"{told}, whose weights do not fit it; share the run's folder instead") from error
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    if not torch.allclose(plain(images), model(images), rtol=1e-4, atol=1e-5):
        raise UserError(f"{told}, which answers differently; share the run's folder instead")


def _check_config(config: str, student: Network, model: Any) -> None:
    # Imported here: the tools' folder of configs is found by the package that holds it.
    import kdzoo.configs

    path = Path(kdzoo.configs.__file__).parent / config.removeprefix("configs/")
    path = path if path.is_file() else Path(config)
    named, _ = read_experiment(Config.from_file(path)).networks()
    if (named.name, named.options) != (student.name, student.options):
        raise UserError(f"{config} trains {named.name}, the run {student.name}; give another --config")


def _as_shipped(file: str | None) -> str:
    parts = Path(file or "").parts
    if "configs" not in parts:
        raise UserError(f"the run's config {file!r} is not below configs/; give one that tests it by --config")
    return "/".join(parts[parts.index("configs") :])


def _metrics(scores: Scores, seed: int, images: int) -> list[Metric]:
    found = {"top1": scores.top1, "top5": scores.top5, "nll": scores.nll, "ece": scores.ece}
    protocol = f"last epoch, all {images:,} test images"
    return [Metric(name, round(v, 4), protocol, seed, measured=True) for name, v in found.items() if v is not None]


def _recipe(metrics: dict[str, Any]) -> str:
    losses = []
    for loss in metrics["losses"]:
        keywords = ", ".join(f"{k}={v!r}" for k, v in loss.items() if k not in ("type", "weight"))
        losses.append(f"{loss.get('weight', 1)} {loss['type']}" + (f"({keywords})" if keywords else ""))
    recipe = f"{metrics['epochs']} epochs on {metrics['train_images']:,} images, {' + '.join(losses)}"
    teacher = metrics.get("teacher")
    return recipe + (f", teacher {teacher['name']} ({teacher['top1']:.2f} %)" if teacher else "")


def model_card(entry: Entry, precision: str, metrics: dict[str, Any]) -> str:
    """The text beside the weights: what they are, how they were made, what they reach, how to use them."""
    options = "".join(f", {key}={value!r}" for key, value in entry.options.items())
    scores = "\n".join(f"| {m.name} | {m.value:.4f} | {m.protocol}, seed {m.seed} |" for m in entry.metrics)
    versions = ", ".join(f"{name} {version}" for name, version in metrics["versions"].items())
    return f"""# {entry.name}

{entry.architecture} for {entry.data}, {entry.classes} classes; {entry.size:,} bytes of {precision}, {entry.licence}.

| metric | value | protocol |
|---|---|---|
{scores}

Repeat them: `python tools/test.py {entry.config} zoo:{entry.name}`.

- Recipe: {entry.recipe}.
- Teacher: {f"zoo:{entry.parent}" if entry.parent else "none"}.
- Normalisation (images in [0, 1]): mean {_rounded(entry.mean)}, std {_rounded(entry.std)}; the file holds it too.
- Trained on {metrics["device"]} in {metrics["seconds"]:.0f} s, {metrics["precision"]}; {versions}.
- kdzoo's revision: {metrics["git"]}.
- sha256: {entry.sha256}
{f"- {entry.note}" if entry.note else ""}
```python
model = kdzoo.create_model("{entry.architecture}", {entry.classes}, in_chans={entry.in_chans}{options},
                           checkpoint="zoo:{entry.name}")
```
"""


def _rounded(values: list[float]) -> str:
    return ", ".join(f"{value:.4f}" for value in values)
