"""Section: accuracy under attack, from ``autoattack_NORM.npz`` and ``union.npz`` in a run's folder."""

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np

from kdzoo.report.groups import Group
from kdzoo.report.picture import data_uri
from kdzoo.report.record import drawn, read_arrays

UNION = "union.npz"
_NAMES = (
    "norms", "eps", "versions", "count", "union", "stage_norm", "stage", "robust", "original", "adversarial", "change",
    "magnified", "picture_norm", "picture_true", "picture_said", "picture_attack",
)  # fmt: skip
_PICTURES = ("original", "adversarial", "change")


def attacks(groups: Sequence[Group]) -> str:
    """Bars and pictures of the first run of each group that was attacked; the union where it was measured."""
    blocks = []
    for group in groups:
        folder = group.first.folder
        files = [folder / UNION] if (folder / UNION).is_file() else sorted(folder.glob("autoattack_*.npz"))
        if not files:
            continue
        content = "".join(drawn(file, _draw) for file in files)
        blocks.append(f"<article><h3>{escape(group.label(group.first))}</h3>{content}</article>")
    return _STYLE + "".join(blocks) if blocks else ""


def _draw(file: Path) -> str:
    record = read_record(file)
    return _bars(record) + _pictures(record)


def read_record(file: Path) -> dict[str, np.ndarray]:
    """The arrays, checked; ValueError says what is wrong."""
    record = read_arrays(file, _NAMES)
    if not len(record["stage_norm"]) == len(record["stage"]) == len(record["robust"]) > 0:
        raise ValueError("its lists of attacks differ in length")
    if not len(record["norms"]) == len(record["eps"]) == len(record["versions"]) > 0:
        raise ValueError("its lists of norms differ in length")
    counts = {len(record[name]) for name in _NAMES if name in _PICTURES or name.startswith(("picture_", "magn"))}
    if len(counts) != 1:
        raise ValueError("its lists of pictures differ in length")
    for name in _PICTURES:
        if record[name].dtype != np.uint8 or record[name].ndim != 4 or record[name].shape[-1] not in (1, 3):
            raise ValueError(f"expected uint8 [M, H, W, 1 or 3] pictures, got {record[name].shape}")
    return record


def _bars(record: dict[str, np.ndarray]) -> str:
    """A bar a stage and norm, and one for the union."""
    blocks = []
    for slot, norm in enumerate(map(str, record["norms"])):
        rows = record["stage_norm"] == norm
        bars = "".join(
            _bar(str(name), float(share), slot)
            for name, share in zip(record["stage"][rows], record["robust"][rows], strict=True)
        )
        about = f"{escape(norm)}, ε = {_budget(float(record['eps'][slot]))}"
        blocks.append(f"<div><h4>{about} <small>{escape(str(record['versions'][slot]))}</small></h4>{bars}</div>")
    union = float(record["union"])
    if math.isfinite(union):
        bars = "".join(_bar(norm, _last(record, norm), slot) for slot, norm in enumerate(map(str, record["norms"])))
        blocks.append(f"<div><h4>Union <small>every norm at once</small></h4>{bars}{_bar('union', union, None)}</div>")
    count = int(record["count"])
    error = 50 / math.sqrt(count)
    note = (
        f"AutoAttack on {count:,} test images: the share of them still classified rightly after each attack, in "
        f"percent. As a sample of all test images a share is uncertain by up to ± {1.96 * error:.1f} points."
    )
    return f'<p class="note">{note}</p><div class="attacked">{"".join(blocks)}</div>'


def _last(record: dict[str, np.ndarray], norm: str) -> float:
    return float(record["robust"][record["stage_norm"] == norm][-1])


def _budget(eps: float) -> str:
    steps = round(eps * 255)
    return f"{steps}/255" if 0 < steps <= 64 and abs(steps / 255 - eps) < 1e-9 else f"{eps:.4g}"


def _bar(name: str, share: float, slot: int | None) -> str:
    colour = "var(--ink)" if slot is None else f"var(--s{slot % 8})"
    faint = " faint" if name == "clean" else ""
    return (
        f'<div class="bar{faint}"><span>{escape(name)}</span><i><b style="width:{100 * share:.2f}%;'
        f'background:{colour}"></b></i><em>{100 * share:.2f}</em></div>'
    )


def _pictures(record: dict[str, np.ndarray]) -> str:
    """Triples: the image, the adversarial image, and their difference magnified."""
    blocks = []
    for norm in map(str, record["norms"]):
        places = np.flatnonzero(record["picture_norm"] == norm)
        if len(places):
            triples = "".join(_triple(record, place) for place in places)
            blocks.append(f'<p><br><b>{escape(norm)}</b></p><div class="triples">{triples}</div>')
    if not blocks:
        return ""
    note = (
        "The first images that fell: the image, what the attack made of it, and the change around grey, magnified to "
        "the full range. Below: the true class, what the network said, and the attack."
    )
    return f'<p class="note"><br>{note}</p>{"".join(blocks)}'


def _triple(record: dict[str, np.ndarray], place: int) -> str:
    true, said = escape(str(record["picture_true"][place])), escape(str(record["picture_said"][place]))
    alts = (true, f"adversarial, taken for {said}", "change")
    images = "".join(
        f'<img src="{data_uri(record[name][place])}" alt="{alt}" loading=lazy>'
        for name, alt in zip(_PICTURES, alts, strict=True)
    )
    factor, attack = float(record["magnified"][place]), escape(str(record["picture_attack"][place]))
    return (
        f"<figure><div>{images}</div><figcaption>{true} → <b>{said}</b><br>"
        f'<span class="muted">{attack}, change × {factor:.3g}</span></figcaption></figure>'
    )


_STYLE = """<style>
.attacked { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr)); gap: 18px 28px; }
.attacked h4 { font-size: 13.5px; font-weight: 600; margin: 0 0 6px; }
.attacked h4 small { display: inline; font-weight: 400; margin-left: 4px; }
.bar { display: grid; grid-template-columns: 5.6em 1fr 3.4em; align-items: center; gap: 8px; font-size: 13px; }
.bar span { overflow-wrap: anywhere; }
.bar i { height: 13px; background: var(--page); border-radius: 2px; margin: 3px 0; }
.bar b { display: block; height: 100%; border-radius: 2px; }
.bar.faint b { opacity: .45; }
.bar em { font-style: normal; text-align: right; }
.triples { display: grid; grid-template-columns: repeat(auto-fill, minmax(218px, 1fr)); gap: 14px 18px; }
.triples figure { margin: 0; min-width: 0; }
.triples figure > div { display: grid; grid-template-columns: repeat(3, 1fr); gap: 3px; }
.triples img { width: 100%; aspect-ratio: 1; object-fit: contain; image-rendering: pixelated; border-radius: 3px; }
.triples figcaption { font-size: 12px; line-height: 1.35; padding-top: 3px; overflow-wrap: anywhere; }
</style>"""
