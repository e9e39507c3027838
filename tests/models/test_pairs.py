"""The pairs of the distillation tables."""

import dataclasses

import pytest
import timm
import torch

from kdzoo.errors import ConfigError, UserError
from kdzoo.models import PAIRS, create_model, create_pair, save_weights, weights_hash
from kdzoo.models.pairs import ALIASES, METHODS


def test_seventeen_pairs_of_registered_networks():
    assert len(PAIRS) == 17
    for name, pair in PAIRS.items():
        teacher, student = name.split("-")
        assert pair.name == name
        assert pair.teacher == ALIASES.get(teacher, teacher) and pair.student == ALIASES.get(student, student)
        for network in (pair.teacher, pair.student):
            assert timm.model_entrypoint(network).__module__.startswith("kdzoo.")


def test_aliases_lead_to_ours():
    assert all(timm.model_entrypoint(n).__module__.startswith("kdzoo.") for n in ALIASES.values())
    assert ALIASES["vgg13"] == "vgg13_cifar" and ALIASES["ResNet50"] == "resnet50_cifar"


def test_a_network_trained_alone_has_one_number():
    alone = {}
    for pair in PAIRS.values():
        for role in ("teacher", "student"):
            alone.setdefault(getattr(pair, role), set()).add(pair.published[role])
    assert all(len(numbers) == 1 for numbers in alone.values())
    assert alone["resnet32x4"] == {79.42} and alone["mobilenetv2_half"] == {64.60}


def test_published_numbers():
    for pair in PAIRS.values():
        assert set(pair.published) <= set(METHODS) and {"teacher", "student", "KD"} <= set(pair.published)
        assert all(60 < number < 80 for number in pair.published.values())
        assert pair.published["KD"] > pair.published["student"]
    main = PAIRS["resnet32x4-resnet8x4"].published
    assert [main[m] for m in ("KD", "KD+LS", "DKD", "MLKD+LS", "DIST")] == [73.33, 76.62, 76.32, 78.28, 76.31]
    assert PAIRS["resnet50-vgg8"].published == {"teacher": 79.34, "student": 70.36, "KD": 73.81, "CRD": 74.30}


def test_recipes():
    slow = {name for name, pair in PAIRS.items() if pair.learning_rate == 0.01}
    assert slow == {n for n in PAIRS if n.endswith(("mobilenetv2", "shufflenetv1", "shufflenetv2"))}
    assert {(p.kd_temperature, p.kd_weight, p.ce_weight) for p in PAIRS.values()} == {(4.0, 0.9, 0.1)}
    lskd = {name: (pair.lskd_temperature, pair.lskd_weight) for name, pair in PAIRS.items()}
    assert lskd["resnet110-resnet20"] == (4, 12) and lskd["vgg13-vgg8"] == (3, 9)
    assert lskd["resnet32x4-resnet8x4"] == (2, 9) and lskd["resnet50-mobilenetv2"] == (3, 1)
    assert [PAIRS[n].dkd_beta for n in ("resnet56-resnet20", "wrn_40_2-wrn_16_2", "resnet32x4-resnet8x4")] == [2, 6, 8]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAIRS["vgg13-vgg8"].dkd_beta = 1.0


def test_create_pair(tmp_path):
    trained = create_model("resnet56", 10, in_chans=1)
    save_weights(trained, tmp_path / "teacher.safetensors")
    student, teacher = create_pair("resnet56-resnet20", 10, tmp_path / "teacher.safetensors", in_chans=1)
    assert weights_hash(teacher) == weights_hash(trained)
    assert (student.name, teacher.name, student.num_classes, teacher.in_chans) == ("resnet20", "resnet56", 10, 1)
    assert student.training and all(p.requires_grad for p in student.parameters())
    assert not teacher.training and not any(p.requires_grad for p in teacher.parameters())
    images = torch.rand(2, 1, 16, 16)
    assert student(images).shape == teacher(images).shape == (2, 10)


def test_mistakes_are_told(tmp_path):
    with pytest.raises(ConfigError, match="resnet32x4-resnet8x4"):
        create_pair("resnet32x4-resnet8x3", 10)
    with pytest.raises(UserError, match="no file"):
        create_pair("resnet56-resnet20", 10, tmp_path / "absent.pth")
