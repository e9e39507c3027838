"""The page: complete, self-contained, escaped, light."""

import base64
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from kdzoo.errors import UserError
from kdzoo.report import page as page_module
from kdzoo.report import read_groups, write_report
from kdzoo.report.page import page
from kdzoo.report.style import SCRIPT, STYLE

VOID = {"meta", "img", "br", "link", "input"}
OPTIONAL_TEXT = {"style", "script"}


class Reader(HTMLParser):
    """Tags with their attributes, the text, and a check that every tag is closed in order."""

    def __init__(self, html: str):
        super().__init__()
        self.tags, self.open, self.text, self.texts = [], [], "", {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in OPTIONAL_TEXT:
            self.text += data
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def all(self, name: str) -> list[dict]:
        return [attributes for tag, attributes in self.tags if tag == name]


def charts(reader: Reader) -> list[dict]:
    return [json.loads(attributes["data-chart"]) for attributes in reader.all("div") if "data-chart" in attributes]


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",", 1)[1]))))


def test_it_has_every_section(study):
    reader = Reader(page(read_groups([study])))
    assert reader.texts["h2"] == ["Results", "Curves", "Confusion", "Most confident mistakes", "Settings"]
    assert reader.texts["h1"] == ["study"]
    assert [a["href"].lstrip("#") for a in reader.all("a")] == [s["id"] for s in reader.all("section")]
    assert "82.00 ± 2.00" in reader.text and "0.1 × CrossEntropy + 9 × KD(temperature=2, standardize)" in reader.text
    assert "CIFAR10, 50,000 training and 10,000 test images · 9 runs" in reader.text
    assert "optimistic" in reader.text
    assert len(reader.all("details")) == 9 and not any("open" in details for details in reader.all("details"))


def test_it_needs_nothing_but_itself(study):
    html = page(read_groups([study]))
    reader = Reader(html)
    references = [
        value
        for _, attributes in reader.tags
        for name, value in attributes.items()
        if name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster")
    ]
    assert references
    assert all(value.startswith(("#", "data:image/")) for value in references)
    assert not re.search(r"https?:|//[a-z]|url\((?!#)|@import", html.replace("://www.w3.org", ""))
    assert "www.w3.org" not in html
    policy = next(meta["content"] for meta in reader.all("meta") if "http-equiv" in meta)
    assert "default-src 'none'" in policy and "'unsafe-inline'" not in policy.split("script-src")[1]
    assert "</" not in STYLE + SCRIPT


def test_parts_of_charts_refer_to_their_own_chart(study):
    html = page(read_groups([study]))
    ids = re.findall(r'\bid="([^"]+)"', html)
    assert len(ids) == len(set(ids))
    used = set(re.findall(r'url\(#([^)]+)\)', html)) | set(re.findall(r'<use href="#([^"]+)"', html))
    assert used and used <= set(ids)


def test_charts_take_the_colours_of_the_page(study):
    html = page(read_groups([study]))
    assert "#0102" not in html
    assert html.count("stroke: var(--s2)") >= 3


@pytest.mark.parametrize("place", ["class", "folder", "metrics", "config", "log"])
def test_text_of_files_is_escaped(tmp_path, make_run, make_line, make_evaluation, place):
    evil = "<img src=x onerror=alert(1)>\"'$x_{$</script>"
    classes = np.array([evil, "b"]) if place == "class" else np.array(["a", "b"])
    metrics = {}
    if place == "metrics":
        metrics = {
            "student": {"name": evil, "parameters": 1, "init": evil},
            "teacher": {"name": evil, "top1": 1.0, "checkpoint": evil},
            "losses": [{"type": evil, evil: evil, "weight": evil}],
            "data": evil, "device": evil, "precision": evil, "versions": {evil: evil}, "git": evil,
        }  # fmt: skip
    log = [make_line(1, terms={evil: 1.0, "CE": 2.0})] if place == "log" else None
    name = evil.replace("/", "") if place == "folder" else "run"
    run = make_run(tmp_path / name / "seed0", log=log, metrics=metrics, evaluation={"classes": classes})
    if place == "config":
        (run / "config.py").write_text(evil)
    html = page(read_groups([tmp_path]))
    reader = Reader(html)
    assert "onerror" not in {name for _, attributes in reader.tags for name in attributes}
    assert all(image["src"].startswith("data:") for image in reader.all("img"))
    assert len(reader.all("script")) == 1
    assert "onerror=alert(1)&gt;" in html and "onerror=alert(1)>" not in html


def test_curves_hold_mean_and_deviation(study):
    first = charts(Reader(page(read_groups([study]))))[0]
    assert [line["label"] for line in first["lines"]] == ["teacher", "alone", "distilled"]
    assert first["lines"][1] == {"label": "alone", "slot": "s1", "x": [1, 2, 3], "y": [80, 81, 82], "sd": [2, 2, 2]}


def test_curves_skip_epochs_without_evaluation_and_survive_nan(tmp_path, make_run, make_line):
    log = [make_line(1), make_line(2, test_top1=None), make_line(3, test_top1=7.0, loss=float("nan"))]
    make_run(tmp_path / "run", log=log)
    drawn = charts(Reader(page(read_groups([tmp_path]))))
    assert drawn[0]["lines"][0]["x"] == [1, 3]
    assert drawn[0]["lines"][0]["sd"] == []
    assert [2.0, 1.0, None] in [line["y"] for chart in drawn for line in chart["lines"]]


def test_the_second_half_has_a_chart_of_its_own(tmp_path, make_run):
    make_run(tmp_path / "long", epochs=7)
    reader = Reader(page(read_groups([tmp_path])))
    assert "Test top-1, second half (%)" in reader.texts["h3"]
    assert [chart["lines"][0]["x"] for chart in charts(reader)][:3] == [[*range(1, 8)]] * 2 + [[4, 5, 6, 7]]


def test_a_single_epoch_is_drawn_as_a_point_of_its_own_chart(tmp_path, make_run, make_line):
    make_run(tmp_path / "run", log=[make_line(1)])
    html = page(read_groups([tmp_path]))
    points = re.findall(r'<use href="#([^"]+)"', html)
    assert points and all(f'id="{point}"' in html for point in points)
    assert "xlink" not in html


def test_loss_terms_get_a_chart_each_where_there_are_several(tmp_path, make_run, make_line):
    make_run(tmp_path / "alone", log=[make_line(1)])
    assert "Loss term" not in page(read_groups([tmp_path]))
    make_run(tmp_path / "kd", log=[make_line(1, terms={"CrossEntropy": 0.5, "KD": 0.25})])
    reader = Reader(page(read_groups([tmp_path / "alone", tmp_path / "kd"])))
    titles = [title for title in reader.texts["h3"] if title.startswith("Loss term")]
    assert titles == ["Loss term CrossEntropy", "Loss term KD"]
    assert [0.25] in [line["y"] for chart in charts(reader) for line in chart["lines"]]


def test_equal_schedules_are_one_line(study, tmp_path, make_run, make_line):
    rates = charts(Reader(page(read_groups([study]))))[-1]
    assert [line["label"] for line in rates["lines"]] == ["all runs"]
    make_run(tmp_path / "other", log=[make_line(e, lr=0.5) for e in (1, 2, 3)])
    rates = charts(Reader(page(read_groups([study, tmp_path / "other"]))))[-1]
    assert [line["label"] for line in rates["lines"]] == ["teacher", "alone", "distilled", "other"]


def test_few_classes_are_a_table_of_counts(tmp_path, make_run, make_evaluation):
    arrays = make_evaluation(10)
    arrays["confusion"][3] = [0, 0, 0, 7, 0, 5, 0, 0, 0, 0]
    make_run(tmp_path / "run", evaluation=arrays)
    reader = Reader(page(read_groups([tmp_path])))
    cells = [cell for cell in reader.all("td") if cell.get("class", "").split()[:1] in (["right"], ["wrong"])]
    assert len(cells) == 100
    assert cells[35]["title"] == "true class3, predicted class5: 5 (41.7 %)"
    assert cells[35]["style"] == "--v:1.000"  # the largest mix-up
    assert cells[33]["style"] == "--v:0.583"  # 7 of 12 recognised
    assert cells[1]["style"] == "--v:0.490"  # sqrt(0.1 / (5 / 12))


def test_many_classes_are_a_picture_and_the_worst_pairs(tmp_path, make_run, make_evaluation):
    arrays = make_evaluation(100)
    arrays["confusion"][3, 5] = 30
    make_run(tmp_path / "run", evaluation=arrays)
    reader = Reader(page(read_groups([tmp_path])))
    matrix = pixels(next(image["src"] for image in reader.all("img") if "confusion" in image["alt"]))
    assert matrix.shape == (100, 100, 4)
    assert matrix[3, 5, 3] == 255  # the largest mix-up
    assert matrix[3, 3, 3] == round(255 * 9 / 40)
    assert matrix[0, 1, 3] == round(255 * np.sqrt(0.1 / 0.75))
    assert matrix[7, 50, 3] == 0
    cells = reader.texts["td"]
    place = cells.index("class3")
    assert cells[place : place + 4] == ["class3", "class5", "30", "75.0 %"]


def test_mistakes_keep_their_pixels_and_order(tmp_path, make_run, make_evaluation):
    arrays = make_evaluation(10, mistakes=40, size=32)
    make_run(tmp_path / "run", evaluation=arrays)
    images = [image for image in Reader(page(read_groups([tmp_path]))).all("img")]
    assert len(images) == 24
    assert images[1]["alt"] == "true class1, predicted class2"
    np.testing.assert_array_equal(pixels(images[1]["src"]), arrays["mistakes_images"][1])


def test_grey_and_large_mistakes(tmp_path, make_run, make_evaluation):
    grey = make_evaluation(10, size=8, channels=1)
    make_run(tmp_path / "grey", evaluation=grey)
    make_run(tmp_path / "large", evaluation=make_evaluation(10, size=300))
    images = Reader(page(read_groups([tmp_path / "grey", tmp_path / "large"]))).all("img")
    np.testing.assert_array_equal(pixels(images[0]["src"]), grey["mistakes_images"][0, ..., 0])
    assert pixels(images[-1]["src"]).shape == (112, 112, 3)


def test_a_perfect_run_has_no_mistakes(tmp_path, make_run, make_evaluation):
    arrays = make_evaluation(3, mistakes=0) | {"confusion": 5 * np.eye(3, dtype=np.int64)}
    make_run(tmp_path / "run", evaluation=arrays)
    reader = Reader(page(read_groups([tmp_path])))
    assert "Most confident mistakes" not in reader.texts["h2"]
    assert "No mistakes at all." in reader.text


def test_unfinished_runs_are_shown_as_such(tmp_path, make_run, make_line):
    make_run(tmp_path / "kd", finished=False, epochs=15, log=[make_line(e) for e in range(1, 8)])
    reader = Reader(page(read_groups([tmp_path])))
    assert "unfinished, epoch 7 of 15" in reader.texts["span"]
    assert "0 of 1 run finished" in reader.text
    assert reader.texts["h2"] == ["Results", "Curves", "Settings"]


def test_a_run_without_a_single_epoch_still_makes_a_page(tmp_path, make_run):
    make_run(tmp_path / "kd", finished=False, log=[])
    assert Reader(page(read_groups([tmp_path]))).texts["h2"] == ["Results", "Settings"]


def test_the_verdict_follows_the_interval(tmp_path, make_run, study):
    teacher = {"name": "resnet20", "top1": 92.0}
    assert "shows no clear difference" in page(read_groups([study]))  # the interval is -0.48 to 4.48
    for seed, distilled in enumerate([75.0, 76.5, 77.0]):
        make_run(tmp_path / "runs" / "alone" / f"seed{seed}", 70.0 + seed, seed)
        make_run(tmp_path / "runs" / "kd" / f"seed{seed}", distilled, seed, teacher=teacher)
        make_run(tmp_path / "runs" / "bad" / f"seed{seed}", distilled - 10, seed, teacher=teacher)
    html = page(read_groups([tmp_path / "runs"]))
    assert "kd gains 5.17 points" in html and "bad loses 4.83 points" in html


def test_many_gains_are_a_table_on_one_scale(tmp_path, make_run):
    for seed, top1 in enumerate([70.0, 71.0, 73.0]):
        make_run(tmp_path / "alone" / f"seed{seed}", 70.0, seed)
        for number in range(3):
            teacher = {"name": "resnet20", "top1": 92.0}
            make_run(tmp_path / f"kd{number}" / f"seed{seed}", top1 + number, seed, teacher=teacher)
    reader = Reader(page(read_groups([tmp_path])))
    cells = reader.texts["td"]
    place = cells.index("+1.33 ± 1.53")  # of 0, 1, 3; and 4.30265 * 1.52753 / sqrt(3) = 3.79462
    assert cells[place : place + 3] == ["+1.33 ± 1.53", "-2.46 to +5.13", "2 of 3"]
    assert "strong" not in reader.texts  # no headlines beside it
    drawn = [tag["style"] for tag in reader.all("u")]
    # from -2.461 to 3.333 + 3.795 = 7.128: a bar of 7.589 is 79.1 % of it, and each starts a point (10.4 %) later
    assert drawn == ["left:0.0%;width:79.1%", "left:10.4%;width:79.1%", "left:20.9%;width:79.1%"]


def test_ten_groups_and_more_keep_apart(tmp_path, make_run):
    for number in range(10):
        make_run(tmp_path / f"run{number}")
    reader = Reader(page(read_groups([tmp_path])))
    assert [line["slot"] for line in charts(reader)[0]["lines"]][7:] == ["s7", "s0", "s1"]
    assert "swatch dashed" in {attributes.get("class") for attributes in reader.all("i")}


def test_three_groups_of_three_seeds_stay_under_two_megabytes(tmp_path, make_run, make_line, make_evaluation):
    log = [make_line(e, 50 + e / 10 + np.sin(e)) for e in range(1, 241)]
    for group in ("a", "b", "c"):
        for seed in range(3):
            evaluation = make_evaluation(100, mistakes=48, size=32)
            make_run(tmp_path / group / f"seed{seed}", log=log, epochs=240, evaluation=evaluation)
    out = write_report([tmp_path], tmp_path / "report.html")
    assert out.stat().st_size < 2_000_000


def test_writing_is_all_or_nothing(tmp_path, study, monkeypatch):
    out = tmp_path / "report.html"
    assert write_report([study], out) == out
    before = out.read_bytes()

    def fail(groups):
        raise RuntimeError("in the middle")

    monkeypatch.setattr(page_module, "SECTIONS", [*page_module.SECTIONS, ("Broken", fail)])
    with pytest.raises(RuntimeError, match="in the middle"):
        write_report([study], out)
    assert out.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.html"]


def test_a_further_section_is_one_entry_in_the_list(study, monkeypatch):
    sections = [*page_module.SECTIONS, ("Certified", lambda groups: "<p>radius</p>"), ("Nothing", lambda groups: "")]
    monkeypatch.setattr(page_module, "SECTIONS", sections)
    assert Reader(page(read_groups([study]))).texts["h2"][-1] == "Certified"


def test_a_folder_is_no_file_to_write(tmp_path, study):
    with pytest.raises(UserError, match="is a folder"):
        write_report([study], tmp_path)


def test_drawing_leaves_matplotlib_as_it_was(study):
    import matplotlib

    before = dict(matplotlib.rcParams)
    page(read_groups([study]))
    assert dict(matplotlib.rcParams) == before
