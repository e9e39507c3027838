"""Tables that a narrow screen shows as cards, and what is said where nothing was trained."""

import re

import numpy as np
import pytest

from kdzoo.report import read_groups, text_table
from kdzoo.report.certified_chart import SHAPES, Curve, certified_chart
from kdzoo.report.page import page

PICTURES = np.zeros((1, 1, 4, 4, 1), np.uint8)
RECORDS = {
    "corruptions.npz": dict(
        source="made here", names=["fog"], severities=[1], errors=[[0.5]], clean=0.25, baseline="AlexNet",
        ratios=[0.75], pictures=PICTURES,
    ),
    "attacks.npz": dict(
        attack="APGD", norm=["Linf"], eps=[0.5], top1=[50.0], clean=PICTURES[0], adversarial=PICTURES[0],
        change=PICTURES[0], picture_norm=["Linf"], picture_eps=[0.5], said=["a"],
    ),
    "ood_adversarial.npz": dict(
        attack=["FGSM"], tuned_on=["FGSM"], images=[9], auroc=[0.5], tnr95=[0.5], detection_accuracy=[0.5],
        pictures=np.zeros((1, 2, 4, 4, 1), np.uint8), picture_attack=["FGSM"],
    ),
    "ood.npz": dict(
        sets=["A&B"], kinds=["near"], detectors=["MSP"], chosen="MSP", positive="id", auroc=[[0.5]], fpr95=[[0.5]],
        roc=np.linspace(0, 1, 5)[None, None], edges=np.linspace(0, 1, 6)[None, None], counts_id=np.ones((1, 1, 5)),
        counts_ood=np.ones((1, 1, 5)), pictures=PICTURES[0], picture_set=[0], picture_share=[0.5],
        picture_class=["a"],
    ),
}  # fmt: skip


@pytest.fixture
def evaluated(tmp_path):
    """A folder of evaluations of some weights, without a training."""
    folder = tmp_path / "evaluated"
    folder.mkdir()
    (folder / "robust_pgd.json").write_text('{"network": "resnet20", "checkpoint": "zoo:x"}')
    for name, arrays in RECORDS.items():
        np.savez(folder / name, **arrays)
    return folder


def test_every_cell_names_its_column_for_screens_without_a_heading(evaluated):
    html = page(read_groups([evaluated]))
    assert "was left out" not in html
    tables = re.findall(r"<table class=summary>(.*?)</table>", html)
    assert len(tables) == 1 + len(RECORDS)
    for table in tables:
        columns = [re.sub(r"<small>.*", "", column) for column in re.findall(r"<th scope=col>(.*?)</th>", table)]
        for row in re.findall(r"<tr>(<td.*?)</tr>", table):
            cells = re.findall(r"<td([^>]*)>(<div>)?", row)[1:]  # the first is the card's own heading
            assert cells == [(f' data-label="{column}"', "<div>") for column in columns[1:]]


def test_of_evaluations_alone_nothing_is_said_of_seeds_and_epochs(evaluated):
    groups = read_groups([evaluated])
    html, text = page(groups), text_table(groups)
    assert "evaluated only" in html and "evaluated only" in text
    for told in ("0 of 1", "after the last epoch", "best epoch", "class=warned"):
        assert told not in html
    assert "0 of 1" not in text and "evaluated: " not in text


def test_the_chart_of_certificates_has_a_narrow_twin():
    html = certified_chart([Curve("log", 0, [0.0, 0.3, 1.2], [0.9, 0.5, 0.1], [0.8, 0.4, 0.0], [1.0, 0.6, 0.2])])
    for name, (width, height) in SHAPES.items():
        (plot,) = re.findall(rf'<div class="plot {name}"><svg viewBox="0 0 {width} {height}"(.*?)</svg>', html)
        ticks = [float(x) for x in re.findall(rf'<text x="([\d.]+)" y="{height - 24}"', plot)]
        assert len(ticks) >= 2 and min(b - a for a, b in zip(ticks, ticks[1:], strict=False)) > 60
        assert all(0 <= float(x) <= width for x in re.findall(r"[ML]([\d.]+) ", plot))
