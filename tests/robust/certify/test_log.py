"""Logs of any program, the literature's figures, and runs that go on, share and merge to the same bytes."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from kdzoo.errors import UserError
from kdzoo.report.certified import read_logs, text_table
from kdzoo.robust.certify import SmoothedClassifier
from kdzoo.robust.certify.analysis import accuracy_band, certified_accuracy, high_probability_lower, summarise
from kdzoo.robust.certify.certifiers import Cohen, Cpm, Lvm, PublishedLvm, Sequential
from kdzoo.robust.certify.log import HEADER, CertificationLog, Row, read_log, read_side_file, side_file
from kdzoo.robust.certify.run import Shard, certify_set, read_images, wanted_images

GOLDEN = Path(__file__).parents[2] / "data" / "certify.json"
# The 13 logs published with locuslab/smoothing (Cohen et al., 2019); not part of this repository.
LOGS = Path(os.environ.get("KDZOO_CERTIFY_LOGS", "certify_logs")).resolve()
published_logs = pytest.mark.skipif(not LOGS.is_dir(), reason="KDZOO_CERTIFY_LOGS names no folder of published logs")


@published_logs
@pytest.mark.parametrize("name", json.loads(GOLDEN.read_text())["certify_logs"]["files"])
def test_real_logs_give_the_known_figures(name, golden):
    path, known = LOGS / name, golden["certify_logs"]["files"][name]
    rows = read_log(path)
    summary = summarise(rows)
    assert summary.images == known["n"]
    for radius, share in known["certified_accuracy"].items():
        assert summary.accuracy[summary.radii.index(float(radius))] == pytest.approx(share, abs=1e-12)
        if radius in known["high_prob_lower"]:
            bound = high_probability_lower(share, len(rows), published=True)
            assert bound == pytest.approx(known["high_prob_lower"][radius], abs=1e-12)
    for name, value in (
        ("abstained", "abstain_rate"),
        ("acr", "acr"),
        ("mean_radius", "mean_radius_all"),
        ("mean_seconds", "mean_seconds"),
    ):
        assert getattr(summary, name) == pytest.approx(known[value], abs=1e-9)


def write(path, *lines):
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def test_both_time_formats_and_the_running_count(tmp_path):
    rows = read_log(
        write(
            tmp_path / "a.tsv",
            "0\t3\t3\t0.4\t1\t15.4",
            "20\t7\t-1\t0.0\t1\t0:02:31.5",
            "40\t8\t8\t0.1\t2\t1:00:00",
            "60\t8\t1\t0.1\t2\t1 day, 0:00:01",
        )
    )
    assert [row.seconds for row in rows] == [15.4, 151.5, 3600.0, 86401.0]
    assert [row.correct for row in rows] == [True, False, True, False]  # not the running count 1, 1, 2, 2
    assert certified_accuracy(rows, [0.0, 0.1, 0.2, 0.5]) == [0.5, 0.5, 0.25, 0.0]


@pytest.mark.parametrize(
    "line",
    [
        "0\t3\t3\t0.4\t1",
        "0\t3\tx\t0.4\t1\t2",
        "0\t3\t3\tnan\t1\t2",
        "0\t3\t3\t-1\t1\t2",
        "0\t3\t-2\t1\t1\t2",
        "0 3 3 1 1 2",
    ],
)
def test_damaged_lines_are_named(tmp_path, line):
    with pytest.raises(UserError, match="a.tsv, line 3: expected idx"):
        read_log(write(tmp_path / "a.tsv", "0\t3\t3\t0.4\t1\t15.4", line))
    (tmp_path / "b.tsv").write_text("nothing\n")
    for name in ("b.tsv", "missing.tsv"):
        with pytest.raises(UserError, match="no certification log|can't be read"):
            read_log(tmp_path / name)


def test_the_high_probability_bound_holds_in_simulation():
    rng = np.random.default_rng(0)
    alpha, rho, images = 0.05, 0.1, 200
    failed = rng.binomial(images, alpha, size=20_000)  # certificates that should not have been given
    bounds = np.array([high_probability_lower(1.0, images, alpha, rho)] * len(failed))
    assert (bounds > (images - failed) / images).mean() <= rho
    low, high = accuracy_band(0.6, 500)
    assert 0.55 < low < 0.6 < high < 0.65


class Loader:
    """Ten images and labels in batches of four; an image's class is decided by its mean."""

    size = 10

    def __init__(self, broken=None):
        self.broken = broken
        self.images = torch.linspace(0.3, 0.7, 10)[:, None, None, None].expand(10, 3, 4, 4)
        self.target = (torch.arange(10) >= 5).long()

    def epoch(self, epoch, start=0):
        for first in range(0, 10, 4):
            index = torch.tensor([i for i in range(first, min(first + 4, 10)) if i != self.broken])
            yield type("Batch", (), dict(images=self.images[index], target=self.target[index], index=index))


class Mean(nn.Module):
    def forward(self, images):
        score = images.flatten(1).mean(dim=1) - 0.5
        return torch.stack([-score, score], dim=1)


CERTIFIERS = [
    Cohen(20, 200, 0.001),
    Cpm(20, 200, 0.001),
    Lvm(20, 200, 0.001),
    PublishedLvm(0, 60, 0.001),
    Sequential(20, 300, 0.01, (0.1, 0.2), 20),
]
SETTINGS = dict(weights="a", data="b")


def without_time(path) -> str:
    return "".join(line.rsplit("\t", 1)[0] + "\n" for line in path.read_text().splitlines())


def certify(certifier, path, shard=None, batch=64, **changed):
    wanted = wanted_images(10, 1)
    smoothed = SmoothedClassifier(Mean().eval(), 2, 0.25, batch_size=batch)
    return certify_set(smoothed, certifier, Loader(), path, wanted, SETTINGS | changed, shard or Shard())


@pytest.mark.parametrize("certifier", CERTIFIERS, ids=lambda c: type(c).__name__)
def test_shards_merge_to_the_log_of_one_process(certifier, tmp_path):
    certify(certifier, tmp_path / "one.tsv")
    for number in (1, 0, 2):
        assert not (tmp_path / "all.tsv").exists()
        certify(certifier, tmp_path / "all.tsv", Shard(number, 3))
    assert without_time(tmp_path / "all.tsv") == without_time(tmp_path / "one.tsv")
    assert side_file(tmp_path / "all.tsv").read_bytes() == side_file(tmp_path / "one.tsv").read_bytes()
    rows = read_log(tmp_path / "one.tsv")
    assert [row.index for row in rows] == list(range(10)) and any(row.correct and row.radius > 0 for row in rows)


@pytest.mark.parametrize("certifier", [CERTIFIERS[0], CERTIFIERS[-1]], ids=["cohen", "sequential"])
@pytest.mark.parametrize("cut", ["tsv", "counts", "both", "between"])
def test_a_cut_off_run_goes_on_to_the_same_bytes(certifier, cut, tmp_path):
    whole, path = tmp_path / "whole.tsv", tmp_path / "cut.tsv"
    certify(certifier, whole)
    certify(certifier, path)
    lines, counts = path.read_text().splitlines(True), side_file(path).read_text().splitlines(True)
    keep = {"tsv": (4, 5), "counts": (4, 4), "both": (1, 1), "between": (5, 6)}[cut]
    path.write_text("".join(lines[: keep[0]]) + (lines[keep[0]][:3] if cut in ("tsv", "both") else ""))
    side_file(path).write_text("".join(counts[: keep[1]]) + (counts[keep[1]][:9] if cut in ("counts", "both") else ""))
    log = certify(certifier, path, batch=48)
    assert len(log.rows) == 10 and without_time(path) == without_time(whole)
    assert side_file(path).read_bytes() == side_file(whole).read_bytes()
    before = path.read_bytes()
    certify(certifier, path)  # nothing left to do
    assert path.read_bytes() == before


def test_logs_of_other_settings_are_refused(tmp_path):
    path = tmp_path / "log.tsv"
    certify(CERTIFIERS[0], path)
    with pytest.raises(UserError, match="written with weights = 'a', now it is 'c'"):
        certify(CERTIFIERS[0], path, weights="c")
    with pytest.raises(UserError, match="written with n = 200, now it is 300"):
        certify(Cohen(20, 300, 0.001), path)
    with pytest.raises(UserError, match="written with alpha = 0.001, now it is 0.01"):
        certify(CERTIFIERS[-1], path)
    side_file(path).unlink()
    with pytest.raises(UserError, match="has no log.counts.jsonl"):
        certify(CERTIFIERS[0], path)


def test_what_cannot_be_written_or_read_is_told(tmp_path):
    log = CertificationLog(tmp_path / "gone" / "log.tsv", {})
    shutil.rmtree(tmp_path / "gone")
    with pytest.raises(UserError, match="can't write .*log.counts.jsonl: No such file.*it goes on there"):
        log.append(Row(0, 1, 1, 0.5, 0.5), {})
    (tmp_path / "a.counts.jsonl").write_bytes(b"\xff\xfe\n")
    (tmp_path / "a.tsv").write_text(HEADER + "\n0\t1\t1\t0.5\t1\t0.5\n")
    with pytest.raises(UserError, match="a.counts.jsonl is damaged"):
        read_logs([tmp_path / "a.tsv"])


def test_a_mistake_leaves_no_settings_behind(tmp_path):
    with pytest.raises(ValueError, match="use n=10 or more"):
        certify(Cohen(20, 5, 0.001), tmp_path / "log.tsv")
    assert len(certify(Cohen(20, 10, 0.001), tmp_path / "log.tsv").rows) == 10
    side_file(tmp_path / "log.tsv").write_text(side_file(tmp_path / "log.tsv").read_text().splitlines(True)[0])
    with pytest.raises(UserError, match="written with n = 10, now it is 20"):  # the lines are still there
        certify(Cohen(20, 20, 0.001), tmp_path / "log.tsv")


def test_shards_of_other_settings_do_not_merge(tmp_path):
    certify(CERTIFIERS[0], tmp_path / "all.tsv", Shard(0, 2))
    with pytest.raises(UserError, match="written with weights"):
        certify(CERTIFIERS[0], tmp_path / "all.tsv", Shard(1, 2), weights="c")


def test_shards_do_not_replace_a_log_of_other_settings(tmp_path):
    certify(CERTIFIERS[0], tmp_path / "all.tsv", weights="c")
    before = (tmp_path / "all.tsv").read_bytes()
    with pytest.raises(UserError, match="all.counts.jsonl was written with weights = 'c', now it is 'a'"):
        certify(CERTIFIERS[0], tmp_path / "all.tsv", Shard(0, 1 + 1))
    assert (tmp_path / "all.tsv").read_bytes() == before and not (tmp_path / "all.shard0of2.tsv").exists()


def test_a_file_that_cannot_be_read_shifts_no_image():
    found = list(read_images(Loader(broken=5), [0, 4, 6, 9]))
    assert [index for index, _, _ in found] == [0, 4, 6, 9]
    assert [float(image[0, 0, 0]) for _, image, _ in found] == pytest.approx(
        [float(Loader().images[i, 0, 0, 0]) for i in (0, 4, 6, 9)]
    )
    with pytest.raises(UserError, match="test image 5 could not be read"):
        list(read_images(Loader(broken=5), [0, 5, 6]))


def test_decided_radii_are_written_whole(tmp_path):
    """A radius of four digits is one that was asked for: rounded down it would count as never certified."""
    certifier = Sequential(20, 600, 0.01, (0.03137, 0.03139), 20)
    certify(certifier, tmp_path / "one.tsv")
    for number in (0, 1):
        certify(certifier, tmp_path / "all.tsv", Shard(number, 2))
    assert without_time(tmp_path / "all.tsv") == without_time(tmp_path / "one.tsv")
    before = (tmp_path / "one.tsv").read_bytes()
    certify(certifier, tmp_path / "one.tsv")  # resumed: the lines are written again
    assert (tmp_path / "one.tsv").read_bytes() == before
    (log,) = read_logs([tmp_path / "one.tsv"])
    assert max(row.radius for row in log.rows) == 0.03139
    head, _, line, _ = text_table([log]).splitlines()
    share = sum(row.correct and row.radius == 0.03139 for row in log.rows) / 10
    assert "0.03139" in head and share > 0 and f"{share:.3f}" in line.split()


def test_counts_give_the_radius_again(tmp_path):
    from kdzoo.robust.certify import certify_votes

    certify(CERTIFIERS[0], tmp_path / "log.tsv")
    settings, records = read_side_file(side_file(tmp_path / "log.tsv"))
    for row, record in zip(read_log(tmp_path / "log.tsv"), records, strict=True):
        again = certify_votes(record["selection"], record["votes"], settings["sigma"], settings["alpha"])
        assert again.predicted == row.predict and row.radius <= again.radius <= row.radius * 1.01
        assert sum(record["votes"]) == 200


def test_radii_in_the_log_are_rounded_down(tmp_path):
    log = CertificationLog(tmp_path / "log.tsv", {})
    log.append(Row(0, 1, 1, 0.95286, 0.5), {})
    assert (tmp_path / "log.tsv").read_text() == HEADER + "\n0\t1\t1\t0.952\t1\t0.500\n"
    assert json.loads(side_file(tmp_path / "log.tsv").read_text().splitlines()[1]) == dict(idx=0, label=1)


@pytest.mark.parametrize(
    "asked, expected", [((10, 3), [0, 3, 6, 9]), ((10, 3, 1, 2), [1, 4]), ((10, 1, 0, 3), [0, 1, 2])]
)
def test_wanted_images(asked, expected):
    assert wanted_images(*asked) == expected
    for bad in ((10, 0), (10, 1, 10), (10, 1, 0, 0)):
        with pytest.raises(ValueError, match="at least 1|no image"):
            wanted_images(*bad)
    with pytest.raises(ValueError, match="does not exist"):
        Shard(2, 2)
