"""Testing a checkpoint: what ``tools/test.py`` calls."""

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from kdzoo.config import Config
from kdzoo.data import Data, build_data
from kdzoo.engine import folder
from kdzoo.engine.evaluate import Scores, confusion_matrix, predict, score, throughput, write_evaluation
from kdzoo.engine.experiment import locate, read_experiment
from kdzoo.engine.network import build_network
from kdzoo.errors import ConfigError, UserError
from kdzoo.models import Classifier, load_weights


@dataclass
class TestResult:
    """What a checkpoint reaches on the config's test images.

    Args:
        scores: top-1, top-5, NLL, ECE.
        confusion: [C, C] counts, rows are true classes.
        classes: names.
        images: how many were tested.
        images_per_second: of the bare forward pass at the test batch size.
        network, checkpoint, device: what was tested, and where.
    """

    __test__ = False  # no test case, whatever pytest makes of the name

    scores: Scores
    confusion: Tensor
    classes: list[str]
    images: int
    images_per_second: float
    network: str
    checkpoint: str
    device: str

    def most_confused(self, most: int = 10) -> list[tuple[int, str, str]]:
        """(count, true class, predicted class) of the most frequent mistakes."""
        wrong = self.confusion.clone()
        wrong.fill_diagonal_(0)
        counts, places = wrong.flatten().sort(descending=True, stable=True)
        pairs = [
            (int(n), *divmod(int(p), len(self.classes))) for n, p in zip(counts[:most], places[:most], strict=True)
        ]
        return [(n, self.classes[true], self.classes[predicted]) for n, true, predicted in pairs if n]


def load_tested(config: Config, checkpoint: str, device: str | None = None) -> tuple[Classifier, Data]:
    """The config's student with a checkpoint's weights, in evaluation mode, and the config's data.

    Args:
        config: as for training; its ``student`` (or ``pair``) names the network.
        checkpoint: a weights file.
        device: ``"cpu"``, ``"cuda"`` or ``None`` for what there is.

    Raises:
        UserError: unreadable weights, a class-count mismatch, missing data, a config mistake.
    """
    available = dict(cuda=torch.cuda.is_available, mps=torch.backends.mps.is_available)
    if device in available and not available[device]():
        raise UserError(f"no {device} device here; leave --device out")
    if config.get("runs"):
        raise UserError(f"{config.file} is a study of several runs; give the config.py in the folder of one run")
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    try:
        experiment = read_experiment(config)
        student, _ = experiment.networks()
        data = build_data(
            experiment.data,
            experiment.batch_size,
            [],
            experiment.seed,
            place,
            test_batch_size=experiment.test_batch_size,
            workers=experiment.settings.workers,
        )
        model = build_network(replace(student, checkpoint=None, pretrained=False), data, "student")
    except ConfigError as error:
        raise locate(error, config) from error
    load_weights(model, checkpoint)
    return model.to(device=place, memory_format=torch.channels_last).eval(), data


def test_checkpoint(
    config: Config, checkpoint: str, device: str | None = None, out: str | Path | None = None
) -> TestResult:
    """Score a checkpoint of the config's student on the config's test images.

    Args:
        config, checkpoint, device: as for :func:`load_tested`.
        out: a folder to write ``test.json`` and ``evaluation.npz`` to.
    """
    model, data = load_tested(config, checkpoint, device)
    logits, target = predict(model, data.test.epoch(0))
    images = next(iter(data.test.epoch(0))).images
    result = TestResult(
        scores=score(logits, target),
        confusion=confusion_matrix(logits, target),
        classes=data.classes,
        images=len(target),
        images_per_second=throughput(model, images),
        network=model.name,
        checkpoint=str(checkpoint),
        device=images.device.type,
    )
    if out is not None:
        _write(Path(out), result, logits, target, data)
    return result


def _write(path: Path, result: TestResult, logits: Tensor, target: Tensor, data) -> None:
    record = dict(
        network=result.network,
        checkpoint=result.checkpoint,
        test_images=result.images,
        **result.scores.asdict(),
        images_per_second=round(result.images_per_second, 1),
        device=result.device,
        versions=folder.versions(),
        git=folder.git_revision(),
    )
    folder.write_json(path / "test.json", record)
    write_evaluation(path / folder.EVALUATION, result.confusion, logits, target, data.test, data.classes)
