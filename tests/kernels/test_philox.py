"""Keyed noise by its kernel."""

import pytest
import torch

from kdzoo.data.counter_noise import philox_normal
from kdzoo.kernels import dispatch


@pytest.fixture(autouse=True)
def _clean(monkeypatch):
    monkeypatch.setattr(dispatch, "_failed", set())


@pytest.mark.parametrize("seed, size", [(0, 3072), (1, 1), (0xFFFFFFFF, 1031)])
def test_keyed_noise_is_what_the_torch_operations_define(seed, size, device):
    keys = torch.tensor([0, 5, 0xFFFFFFFF, 7]), torch.tensor([0, 1, 3, 0xFFFFFFFF])
    found = dispatch.normal_rows(seed, *(key.to(device) for key in keys), size)
    assert found.dtype == torch.float32 and not dispatch._failed
    torch.testing.assert_close(found.cpu(), philox_normal(seed, *keys, (size,), torch.device("cpu")), rtol=1e-6, atol=0)


def test_keyed_noise_leaves_the_rest_to_torch(device, monkeypatch):
    none = torch.zeros(0, dtype=torch.int64, device=device)
    assert dispatch.normal_rows(0, none, none, 5).shape == (0, 5)
    monkeypatch.setenv("KDZOO_BACKEND", "torch")
    assert dispatch.normal_rows(0, none, none, 5) is None
