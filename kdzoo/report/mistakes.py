"""Section: the most confident mistakes, as pictures."""

from collections.abc import Sequence
from html import escape

from kdzoo.report.evaluation import Evaluation
from kdzoo.report.groups import Group
from kdzoo.report.picture import data_uri
from kdzoo.report.plot import swatch

SHOWN = 24  # a group


def mistakes(groups: Sequence[Group]) -> str:
    """The pictures the first finished seed of each group got wrong while being surest."""
    blocks = []
    for slot, group in enumerate(groups):
        evaluation = group.first.evaluation
        if evaluation is None or not len(evaluation.images):
            continue
        pictures = "".join(_picture(evaluation, place) for place in range(min(SHOWN, len(evaluation.images))))
        title = f"{swatch(slot)}{escape(group.label(group.first))}"
        blocks.append(f"<article><h3>{title}</h3><div class=pictures>{pictures}</div></article>")
    if not blocks:
        return ""
    note = (
        "Test images the network got wrong, the surest first: what it said with its confidence, and below it the true "
        "class. Some may be mislabelled."
    )
    return f'<p class="note">{note}</p>{"".join(blocks)}'


def _picture(evaluation: Evaluation, place: int) -> str:
    true, said = (escape(evaluation.classes[labels[place]]) for labels in (evaluation.true, evaluation.predicted))
    confidence = 100 * float(evaluation.confidence[place])
    return (
        f'<figure><img src="{data_uri(evaluation.images[place])}" alt="true {true}, predicted {said}" loading=lazy>'
        f"<figcaption><b>{said}</b> {_percent(confidence)}<br><span class=muted>true: {true}</span></figcaption>"
        "</figure>"
    )


def _percent(confidence: float) -> str:
    """``"97 %"``, and never 100 for less."""
    if confidence < 98.5:
        return f"{confidence:.0f}&nbsp;%"
    return f"{confidence:.1f}&nbsp;%" if confidence < 99.9 else "&gt;&nbsp;99.9&nbsp;%"
