"""PKT. Values and gradients are tested with every loss's."""

import torch

from kdzoo.losses.pkt import neighbour_divergence


def test_pkt_is_a_number_for_opposite_vectors():
    ours = torch.randn(64, 300)
    ours = torch.cat([ours, -ours * 3]).requires_grad_()
    value = neighbour_divergence(ours, torch.randn(128, 5))
    value.backward()
    assert value.isfinite() and ours.grad.isfinite().all()
