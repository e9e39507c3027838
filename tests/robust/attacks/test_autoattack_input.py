"""AutoAttack's input: few classes, other dtypes, custom parts, and what is refused in one line."""

import sys

import pytest
from autoattack_case import SHORT, example, same
from torch import nn

from kdzoo.errors import UserError
from kdzoo.robust.attacks.autoattack import AutoAttack
from kdzoo.robust.attacks.autoattack.versions import Part, fit_classes, parts_of

pytest.importorskip("pyautoattack")


@pytest.mark.parametrize("classes", [2, 3, 4, 30])
def test_few_and_many_classes(classes):
    model, x, y = example(classes)
    parts = [*SHORT, dict(name="apgd-dlr", steps=4), dict(name="fab", steps=3)]
    result = AutoAttack("L2", 0.5, "custom", parts).evaluate(model, x, y)
    said = [caution.message for caution in result.warnings if caution.kind == "classes"]
    targets = [part["targets"] for part in result.settings["attacks"]]
    assert targets[1] == targets[2] == min(9, classes - 1)
    assert any("apgd-t: its DLR loss needs 4" in text for text in said) == (classes < 4)
    assert any("apgd-dlr: its DLR loss needs 3" in text for text in said) == (classes < 3)
    assert sum("target classes instead of 9" in text for text in said) == 2 * (classes < 10)
    assert result.robust_accuracy < result.clean_accuracy


def test_images_of_float64_and_short_labels():
    model, x, y = example()
    attack = AutoAttack("Linf", 0.02, "custom", SHORT[:2])
    same(attack.evaluate(model, x.double(), y.int()), attack.evaluate(model, x, y))


def test_a_network_of_one_class_can_not_be_attacked():
    with pytest.raises(ValueError, match="2 classes"):
        fit_classes(parts_of("standard", "Linf"), 1)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(images=lambda x: x * 255), "expected in .0, 1. but are in"),
        (dict(images=lambda x: x - 0.5), "expected in .0, 1."),
        (dict(images=lambda x: x * float("nan")), "expected in .0, 1."),
        (dict(images=lambda x: x[0]), "N, C, H, W"),
        (dict(images=lambda x: x[:, :, :4, :4]), "5 x 5"),
        (dict(target=lambda y: y + 5), "labels are expected from 0 to 4"),
        (dict(target=lambda y: y - 1), "labels are expected from 0 to 4"),
        (dict(target=lambda y: y[:3]), "whole numbers"),
        (dict(target=lambda y: y > 0), "whole numbers"),
        (dict(model=lambda m: nn.Sequential(m, nn.Threshold(1e9, float("nan"))).eval()), "are nan"),
        (dict(model=lambda m: m.train()), "training mode"),
        (dict(model=lambda m: (m[1].train(), m)[1]), "training mode .module '1'."),
        (dict(model=lambda m: m.forward), "wrap it"),
        (dict(norm="L2", eps=14.0), "whole box"),
        (dict(norm="L1", eps=192.0), "whole box"),
    ],
)
def test_bad_input_is_told_in_one_line(change, message):
    model, x, y = example()
    call = dict(model=model, images=x, target=y)
    settings = {key: change[key] for key in ("norm", "eps") if key in change}
    call |= {key: function(call[key]) for key, function in change.items() if key in call}
    with pytest.raises(ValueError, match=message) as error:
        AutoAttack(version="custom", attacks=SHORT[:1], **settings).evaluate(**call)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(eps=0), "above 0"),
        (dict(eps=float("nan")), "above 0"),
        (dict(eps=8), "write 8/255, not 8"),
        (dict(norm="linf"), "one of Linf, L2, L1"),
        (dict(version="full"), "one of standard"),
        (dict(version="custom"), "needs attacks"),
        (dict(attacks=["square"]), "version='custom'"),
        (dict(version="custom", attacks=["squar"]), "did you mean 'square'"),
        (dict(version="custom", attacks=[dict(name="square", queries=0)]), "queries"),
        (dict(version="custom", attacks=[dict(nam="square")]), "a name or a dict"),
        (dict(chunk=0), "chunk"),
        (dict(backend="peer"), "one of kdzoo, pyautoattack"),
    ],
)
def test_bad_settings_are_told_before_anything_runs(settings, message):
    with pytest.raises(ValueError, match=message):
        AutoAttack(**settings)


def test_apgd_alone_needs_no_pyautoattack(monkeypatch):
    model, x, y = example()
    monkeypatch.setitem(sys.modules, "pyautoattack.square", None)
    result = AutoAttack(version="custom", attacks=SHORT[:2]).evaluate(model, x, y)
    assert result.robust_accuracy < result.clean_accuracy
    with pytest.raises(UserError, match="pip install pyautoattack"):
        AutoAttack().evaluate(model, x, y)


def test_custom_takes_names_dicts_and_parts():
    parts = parts_of("custom", "L2", ["apgd-dlr", dict(name="square", queries=9), Part("fab-t", targets=3)])
    assert [part.restarts for part in parts] == [5, 1, 1] and parts[1].queries == 9 and parts[2].targets == 3
