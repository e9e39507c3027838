"""Seeds and studies: several runs from one config, and what they say together.

A config with ``seeds = [0, 1, 2]`` is run once per seed. A config with ``runs`` is a study: each
entry is merged over the rest of the config and may take its teacher from an earlier entry:

    runs = [
        dict(name="teacher", student="resnet20", losses=[dict(type="CrossEntropy")]),
        dict(name="distilled", teacher=dict(name="resnet20", checkpoint="run:teacher")),
    ]

An entry's own ``seeds`` count for it alone; ``run:NAME`` means that run's last weights (the best are
chosen on the test images) of the same seed, or of its first seed where it has not that one.
"""

from pathlib import Path
from statistics import mean, stdev
from typing import Any

from accelerate import PartialState

from kdzoo.config import Config, merge
from kdzoo.engine import folder
from kdzoo.engine.experiment import locate, read_experiment
from kdzoo.engine.interrupt import Interrupted
from kdzoo.engine.run import train_run
from kdzoo.engine.setup import preflight
from kdzoo.errors import ConfigError, did_you_mean

RUN = "run:"


def train(
    cfg: Config | dict,
    work_dir: str | Path | None = None,
    resume: bool = False,
    seeds: list[int] | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Train what a config says: one run, several seeds, or a study.

    Args:
        cfg: a Config, or a dict with the same keys.
        work_dir: the folder to write to; ``work_dirs/`` and the config's name by default. An
            earlier run there is renamed, never overwritten.
        resume: go on with what stands in ``work_dir``.
        seeds: take these instead of the config's.
        device: ``"cpu"``, ``"cuda"``, or ``None`` for what there is.

    Returns:
        ``metrics.json`` of a single run; of several, ``{"runs": {name: {"last": ..., "best": ...}}}``
        with mean and sample standard deviation of the top-1 in percent, as in ``summary.json``.

    Raises:
        UserError: anything the user can mend, in one sentence.
        Interrupted: Ctrl-C or SIGTERM; the state is saved, the message says how to go on.

    Example:
        >>> cfg = Config.from_file("configs/quickstart.py")
        >>> metrics = train(cfg)
    """
    config = cfg if isinstance(cfg, Config) else Config(cfg)
    if seeds is not None:
        config = config.override({"seeds": list(seeds)}, "--seeds")
    path = Path(work_dir) if work_dir is not None else folder.default_folder(config)
    try:
        if config.get("runs"):
            return _train_study(config, path, resume, device)
        _check(config)  # a mistake is told before an earlier run is set aside
        return _train_seeds(config, path, path.name, resume, device, {})
    except (Interrupted, KeyboardInterrupt) as stop:
        said = stop if isinstance(stop, Interrupted) else "stopped at once; what the last checkpoint holds is kept"
        raise Interrupted(f"{said}; go on with the same command and --resume --work-dir {path}") from None


def _fresh(path: Path, resume: bool, device: str | None) -> None:
    """Set an earlier run aside (on the main process alone; the others wait for it)."""
    state = PartialState(cpu=device == "cpu")
    with state.main_process_first():
        if state.is_main_process and not resume and (moved := folder.set_aside(path)) is not None:
            print(f"{path} held an earlier run; it is now {moved}")


def _train_seeds(
    config: Config, path: Path, label: str, resume: bool, device: str | None, earlier: dict[str, dict[int, Path]]
) -> dict[str, Any]:
    """One run, or one a seed; ``earlier`` are the weights of the study's runs so far."""
    seeds = config.get("seeds")
    if resume:
        folder.check_same_seeds(path, seeds)
    if not seeds:
        _fresh(path, resume, device)
        seed = config.get("seed", 0)
        return train_run(_resolve(_without(config), seed, earlier), path, label, resume, device)
    if path.name not in earlier:  # a study has set its folder aside as a whole
        _fresh(path, resume, device)
    results = []
    for seed in seeds:
        one = _resolve(_without(config).override({"seed": seed}, "seeds"), seed, earlier)
        results.append(train_run(one, path / f"seed{seed}", f"{label} seed {seed}", resume, device))
    return {"runs": {label: summarise(results)}}


def _train_study(config: Config, path: Path, resume: bool, device: str | None) -> dict[str, Any]:
    runs = _expand(config)
    _fresh(path, resume, device)
    earlier: dict[str, dict[int, Path]] = {}
    summary: dict[str, Any] = {"runs": {}}
    for name, run in runs.items():
        seeds = list(run.get("seeds") or [run.get("seed", 0)])
        run = run.override({"seeds": seeds}, "seeds")
        earlier[name] = {}
        summary["runs"] |= _train_seeds(run, path / name, name, resume, device, earlier)["runs"]
        earlier[name] = {seed: path / name / f"seed{seed}" / folder.LAST for seed in seeds}
        if PartialState().is_main_process:
            folder.write_json(path / "summary.json", summary)
    return summary


def _expand(config: Config) -> dict[str, Config]:
    """The study's runs by name, each checked before the first one starts."""
    shared = {k: v for k, v in config.to_dict().items() if k != "runs"}
    runs: dict[str, Config] = {}
    for number, entry in enumerate(config["runs"]):
        place = f"runs[{number}]"
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise locate(ConfigError(f"expected dict(name=..., ...), got {entry!r}", place), config)
        if entry["name"] in runs or not entry["name"].replace("-", "").replace("_", "").replace(".", "").isalnum():
            message = f"{entry['name']!r} is taken or no plain word; give each run a name of its own"
            raise locate(ConfigError(message, f"{place}.name"), config)
        inherited = {p: file for p, file in config.origins.items() if p.split(".")[0] not in entry}
        run = Config(merge(shared, entry), config.file, inherited | {k: config.origin(place) or "" for k in entry})
        _check_reference(run, runs, place)
        try:
            _check(run)
        except ConfigError as error:
            error.place = ".".join(part for part in (place, error.place) if part)
            raise error from None
        runs[entry["name"]] = run
    return runs


def _check(config: Config) -> None:
    """Tell what is wrong with one run's config, as far as that needs no data and no network."""
    try:
        preflight(read_experiment(config))
    except ConfigError as error:
        raise locate(error, config) from error


def _references(config: Config) -> dict[str, str]:
    """Place of a checkpoint in the config -> NAME, of all checkpoints that say ``run:NAME``."""
    teachers = config.get("teacher")
    networks = {"student": config.get("student")}
    if isinstance(teachers, (list, tuple)):
        networks |= {f"teacher.{number}": teacher for number, teacher in enumerate(teachers)}
    else:
        networks["teacher"] = teachers
    found = {}
    for place, network in networks.items():
        checkpoint = network.get("checkpoint") if isinstance(network, dict) else None
        if isinstance(checkpoint, str) and checkpoint.startswith(RUN):
            found[f"{place}.checkpoint"] = checkpoint[len(RUN) :]
    return found


def _check_reference(run: Config, earlier: dict[str, Config], place: str) -> None:
    for where, name in _references(run).items():
        if name not in earlier:
            message = f"no earlier run is named {name!r}{did_you_mean(name, earlier)}"
            raise ConfigError(message, f"{place}.{where}", run.file)


def _resolve(config: Config, seed: int, earlier: dict[str, dict[int, Path]]) -> Config:
    """Replace ``run:NAME`` by the path of that run's weights."""
    for place, name in _references(config).items():
        weights = earlier.get(name)
        if not weights:
            message = f"{RUN + name!r} names a run of a study, and this config has no earlier run of that name"
            raise locate(ConfigError(message, place), config)
        last = weights.get(seed, next(iter(weights.values())))
        config = config.override({place: str(last)}, config.origin(place) or "")
    return config


def _without(config: Config) -> Config:
    """The config of one run: no ``runs``, no ``seeds``."""
    values = {k: v for k, v in config.to_dict().items() if k not in ("runs", "seeds")}
    return Config(values, config.file, config.origins)


def summarise(results: list[dict[str, Any]]) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds of last and best top-1, in percent."""
    summary: dict[str, Any] = dict(seeds=[r["seed"] for r in results], network=results[0]["student"]["name"])
    for which in ("last", "best"):
        values = [r[which]["top1"] for r in results]
        summary[which] = dict(mean=mean(values), deviation=stdev(values) if len(values) > 1 else None, values=values)
    return summary
