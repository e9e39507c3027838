"""Kyoto records from a small synthetic folder."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from kdzoo.config import Config
from kdzoo.data.kyoto import COLUMNS, CONTINUOUS, FEATURES
from kdzoo.engine import train
from kdzoo.errors import UserError
from kdzoo.registry import DATASETS


def record(rng, attack):
    values = dict.fromkeys(COLUMNS, "0")
    values |= {name: f"{rng.exponential():.4f}" for name in CONTINUOUS}
    values |= dict(
        service=rng.choice(["http", "dns", "other"]), flag=rng.choice(["SF", "S0"]), protocol="tcp",
        ids_detection="3-1" if attack else "0", label=str(rng.choice([-1, -2])) if attack else "1",
        source_ip="fd95:ec1e::1", start_time="06:30:00", duration=f"{rng.exponential() + 3 * attack:.4f}",
    )  # fmt: skip
    return "\t".join(str(values[name]) for name in COLUMNS)


def write(part, count, seed):
    rng = np.random.default_rng(seed)
    Path("kyoto", part).mkdir(parents=True, exist_ok=True)
    lines = [record(rng, attack=i % 2) for i in range(count)]
    Path("kyoto", part, "20130101.txt").write_text("\n".join(lines) + "\n")
    return [line.split("\t") for line in lines]


def build(**keywords):
    return DATASETS.build(dict(type="Kyoto", path="kyoto", **keywords))


def test_records_are_one_hot_sequences_of_21_steps():
    rows = write("train", 200, 0)
    write("test", 40, 1)
    part = build().part("train")
    assert len(FEATURES) == 21 and len(CONTINUOUS) == 15 and part.images.shape == (200, 21, 10, 1)
    assert set(np.unique(part.images)) == {0, 255} and part.labels.tolist() == [0, 1] * 100
    codes = part.images[..., 0].argmax(2)
    counts = np.bincount(codes[:, FEATURES.index("duration")], minlength=10)
    assert counts.tolist() == [20] * 10  # deciles
    order = np.argsort([float(row[0]) for row in rows])
    assert (np.diff(codes[order, 0]) >= 0).all()
    assert codes[:, FEATURES.index("ids_detection")].tolist() == [0, 1] * 100
    assert (part.images.sum(2) == 255).all()  # every feature has its one


def test_bins_are_fitted_on_training_records_unless_asked():
    write("train", 100, 0)
    lines = [line.split("\t") for line in Path("kyoto/train/20130101.txt").read_text().splitlines()]
    for line in lines:
        line[0], line[1] = str(float(line[0]) + 100), "ssh"
    Path("kyoto/test").mkdir()
    Path("kyoto/test/a.csv").write_text("\n".join(",".join(line) for line in lines))
    duration, service = FEATURES.index("duration"), FEATURES.index("service")
    common, own = (build(fit=fit).part("test").images[..., 0] for fit in ("train", "each"))
    assert (common[:, duration].argmax(1) == 9).all() and (common[:, service] == 0).all()  # beyond, and unknown
    assert np.bincount(own[:, duration].argmax(1)).tolist() == [10] * 10 and own[:, service].any(1).all()


def test_equal_widths():
    write("train", 100, 0)
    write("test", 10, 1)
    codes = build(bins="width").part("train").images[..., 0].argmax(2)
    x = np.array([float(line.split("\t")[0]) for line in Path("kyoto/train/20130101.txt").read_text().splitlines()])
    assert np.array_equal(codes[:, 0], np.digitize(x, np.linspace(x.min(), x.max(), 11)[1:-1], right=True))


def test_a_gru_svm_trains_on_it(tiny):
    write("train", 120, 0)
    write("test", 40, 1)
    student = dict(name="gru_rows", options=dict(img_size=(21, 10), hidden=8, drop_rate=0.0))
    tiny |= dict(data=dict(type="Kyoto", path="kyoto"), augment=[], student=student, epochs=3)
    tiny |= dict(head=dict(type="SVMHead", C=0.5), losses=[dict(type="HeadLoss")], optimizer=dict(type="Adam", lr=0.03))
    metrics = train(Config(tiny, "tiny.py"), "out", device="cpu")
    losses = [json.loads(line)["loss"] for line in open("out/log.jsonl")]
    assert math.isfinite(metrics["last"]["nll"]) and losses[-1] < losses[0]


def test_mistakes_name_file_and_line():
    with pytest.raises(UserError, match="no .txt or .csv files"):
        build().part("train")
    write("train", 3, 0)
    path = Path("kyoto/train/20130101.txt")
    good = path.read_text()
    for change, told in (
        (("\t", " ", 1), "values"),
        (("06:30:00", "noon", 1), "noon|unpack"),
        (("\t1\t", "\t7\t", 1), "7"),
    ):
        path.write_text(good.replace(*change))
        with pytest.raises(UserError, match=rf"20130101.txt:1 is no Kyoto record \(.*({told})"):
            build().part("train")
