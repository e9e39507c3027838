"""What the losses of labels share: golden values, soft labels, reductions, second derivatives."""

import math
from functools import partial

import pytest
import torch
from label_case import GOLDEN, LABEL_LOSSES, drawn, float64

from kdzoo.losses import functional as KF


def golden_call(name, golden, logits):
    labels = torch.tensor(golden["labels"])
    if name.startswith("zloss"):
        return KF.z_loss(logits, labels, golden["a"], golden["b"], reduction="none")
    if name.startswith("compsum"):
        return KF.comp_sum(logits, labels, golden["tau"], reduction="none")
    return KF.stablemax_cross_entropy(logits, labels, reduction="none")


@pytest.mark.parametrize("name", [k for k in GOLDEN if k.startswith(("zloss", "compsum", "stablemax"))])
def test_label_losses_golden(name):
    golden = GOLDEN[name]
    logits = float64(golden["logits"]).requires_grad_()
    rows = golden_call(name, golden, logits)
    if "per_sample" in golden:
        torch.testing.assert_close(rows, float64(golden["per_sample"]), rtol=1e-9, atol=0)
    assert rows.mean().item() == pytest.approx(golden["loss"], rel=1e-9)
    rows.mean().backward()
    torch.testing.assert_close(logits.grad, float64(golden["grad_logits"]), rtol=1e-9, atol=1e-9)
    single = golden_call(name, golden, logits.detach().float())
    assert single.dtype == torch.float32 and single.mean().item() == pytest.approx(golden["loss"], rel=1e-5)


@pytest.mark.parametrize("loss", LABEL_LOSSES.values(), ids=LABEL_LOSSES)
def test_soft_labels_mix_the_labels_losses(loss):
    logits, target = drawn(5, 4), torch.tensor([0, 3, 1, 2, 2])
    hard, other = loss(logits, target, reduction="none"), loss(logits, target.flip(0), reduction="none")
    one_hot = torch.eye(4, dtype=torch.float64)
    torch.testing.assert_close(loss(logits, one_hot[target], reduction="none"), hard)
    mixed = 0.3 * one_hot[target] + 0.7 * one_hot[target.flip(0)]
    entropy = 0.0
    if loss is KF.anchored_kd:  # a divergence: the label's entropy is taken off
        entropy = -torch.xlogy(mixed, mixed).sum(dim=1)
    torch.testing.assert_close(loss(logits, mixed, reduction="none"), 0.3 * hard + 0.7 * other - entropy)


@pytest.mark.parametrize("loss", LABEL_LOSSES.values(), ids=LABEL_LOSSES)
def test_reductions_and_refusals(loss):
    logits, target = drawn(5, 4), torch.tensor([0, 3, 1, 2, 2])
    rows = loss(logits, target, reduction="none")
    assert rows.shape == (5,)
    torch.testing.assert_close(loss(logits, target), rows.mean())
    torch.testing.assert_close(loss(logits, target, reduction="sum"), rows.sum())
    with pytest.raises(ValueError, match="target must"):
        loss(logits, target + 1)
    with pytest.raises(ValueError, match="target must"):
        loss(logits, target[:3])
    with pytest.raises(ValueError, match="logits"):
        loss(logits[0], target)
    with pytest.raises(ValueError, match="logits must be .*NaN"):
        loss(logits.index_fill(0, torch.tensor([1]), math.nan), target)


def tempered(s):
    return KF.tempered_cross_entropy(s, torch.tensor([0, 2, 1]), float64([0.5, 2.0, 3.0]))


TARGET = torch.tensor([0, 2, 1])


TWICE = {
    **{name: partial(lambda f, s: f(s, TARGET), loss) for name, loss in LABEL_LOSSES.items()},
    "smooth": lambda s: KF.smooth_adversarial_comp_sum(s, drawn(3, 4, seed=2), TARGET, tau=0.5),
    "anchor": lambda s: KF.anchored_kd(s, drawn(3, 4, seed=2).softmax(1), drawn(3, 4, seed=3), 2.0),
    "soft_info_nce": lambda s: KF.soft_info_nce(KF.in_batch_scores(s, TARGET), drawn(3, 3, seed=2)),
    "personal_kd": lambda s: KF.personal_kd(s, drawn(3, 4, seed=2), float64([1.0, 2.0, 3.0])),
    "tempered": tempered,
}


@pytest.mark.parametrize("loss", TWICE.values(), ids=TWICE)
def test_double_backward(loss):
    assert torch.autograd.gradgradcheck(loss, drawn(3, 4, scale=1.0).requires_grad_())
