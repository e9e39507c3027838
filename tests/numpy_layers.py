"""Layers in NumPy, for references of losses with adapters: maps are [B, D, H, W], weights as in a state dict."""

import numpy as np


def conv(x, weight, bias=None):
    """Convolution with stride 1 and zero padding that keeps the size."""
    pad = weight.shape[-1] // 2
    padded = np.pad(x, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
    height, width = x.shape[2:]
    total = 0.0 if bias is None else bias[:, None, None]
    for i in range(weight.shape[2]):
        for j in range(weight.shape[3]):
            window = padded[:, :, i : i + height, j : j + width]
            total = total + np.einsum("bchw,dc->bdhw", window, weight[:, :, i, j])
    return total


def batch_norm(x, state, name):
    """With the batch's own statistics."""
    mean, var = x.mean((0, 2, 3), keepdims=True), x.var((0, 2, 3), keepdims=True)
    scale, shift = (state[f"{name}.{key}"][:, None, None] for key in ("weight", "bias"))
    return (x - mean) / np.sqrt(var + 1e-5) * scale + shift


def conv_norm(x, state, name):
    return batch_norm(conv(x, state[f"{name}.0.weight"]), state, f"{name}.1")


def pool(x, side):
    """Average pooling to [side, side]; the size must be a multiple."""
    size, width, height, _ = x.shape
    step = height // side
    return x.reshape(size, width, side, step, side, step).mean((3, 5))


def enlarge(x, side):
    step = side // x.shape[2]
    return x.repeat(step, axis=2).repeat(step, axis=3)


def relu(x):
    return np.maximum(x, 0)
