"""StableMax: golden values, special cases, invariances, errors."""

import torch
from label_case import GOLDEN, float64

from kdzoo.losses import functional as KF


def test_stablemax_s_golden():
    golden = GOLDEN["stablemax_ce"]
    x = float64(golden["s_in"])
    pairs = torch.stack([x, torch.zeros_like(x)], dim=1)  # s(0) = 1
    odds = KF.stablemax_cross_entropy(pairs, torch.ones(len(x), dtype=torch.long), reduction="none").expm1()
    torch.testing.assert_close(odds, float64(golden["s_out"]), rtol=1e-9, atol=0)


def test_stablemax_is_smooth_at_zero_and_never_absorbs():
    zero = torch.zeros(1, 3, dtype=torch.float64, requires_grad=True)
    KF.stablemax_cross_entropy(zero, torch.tensor([0])).backward()
    torch.testing.assert_close(zero.grad, float64([[-2 / 3, 1 / 3, 1 / 3]]))
    ahead = torch.tensor([[1e4, 0.0, 0.0]], requires_grad=True)
    KF.stablemax_cross_entropy(ahead, torch.tensor([0])).backward()
    assert (ahead.grad[0, 1:] > 0).all()  # softmax in float32 gives 0 here
