"""Upper bounds on the largest singular value of dense and convolutional layers by Gram iteration.

Delattre, Barthelemy, Araujo and Allauzen, "Efficient bound of Lipschitz constant for convolutional layers by Gram
iteration", ICML 2023: with G <- G^H G the Frobenius norm to the power 2^-t falls to the spectral norm,
quadratically, and never below it. Zero padding is bounded by the supremum over all frequencies.
"""

import torch
from torch import Tensor

DTYPES = (torch.float32, torch.float64)


def margin(weight: Tensor) -> float:
    """Relative step to the safe side: rounding, which grows with the length of the sums, must not hide the norm."""
    return torch.finfo(weight.dtype).eps * (64 + 4 * max(weight.shape[:2]))


def gram_bound(weight: Tensor, input_size: int | tuple[int, int] | None = None, iterations: int = 6) -> Tensor:
    """Upper bound on the L2 operator norm of a dense layer, or of a circular convolution with stride 1.

    Args:
        weight: [out, in] of a dense layer, or [out, in, k, k'] of a convolution without groups.
        input_size: height (and width) of a convolution's input; circular padding. A dense layer has none.
        iterations: squarings (default 6: exact to rounding).

    Returns:
        A scalar of weight's dtype (float32 or float64), differentiable, with a margin for rounding of relative
        eps (64 + 4 max(out, in)). A strided convolution is bounded by the same number, zero padding is
        not: see :func:`coarse_grid_bound`.

    Raises:
        ValueError: a weight of another shape, or an input smaller than the kernel.

    Example:
        >>> gram_bound(torch.randn(8, 3, 3, 3), 32)
    """
    check_weight(weight, iterations)
    if weight.ndim == 2:
        return _gram(weight[None], iterations).amax() * (1 + margin(weight))
    size = (input_size, input_size) if isinstance(input_size, int) else input_size
    if size is None or size[0] < weight.shape[2] or size[1] < weight.shape[3]:
        raise ValueError(
            f"input_size is {input_size}; a circular bound needs the input's height and width, at least the kernel's "
            f"{tuple(weight.shape[2:])}: a smaller grid would give less than the norm"
        )
    return _gram(_spectrum(weight, size), iterations).amax() * (1 + margin(weight))


def coarse_grid_bound(weight: Tensor, grid: int | None = None, iterations: int = 6) -> Tensor:
    """Upper bound for every input size and for zero padding, from a coarse grid of frequencies.

    ``max over the grid / (1 - 2 floor(k / 2) / grid)`` (Pfister and Bresler, 2018; Araujo et al., AAAI 2021).

    Args:
        weight: [out, in, k, k'], stride 1 or more, any padding.
        grid: frequencies a side, more than 2 floor(k / 2); default 12 times that, which costs 9 % of tightness.
        iterations: of :func:`gram_bound`.

    Example:
        >>> coarse_grid_bound(conv.weight)
    """
    check_weight(weight, iterations)
    if weight.ndim != 4:
        raise ValueError(f"expected a convolution's weight [out, in, k, k], got {list(weight.shape)}; use gram_bound")
    reach = 2 * (max(weight.shape[2:]) // 2)
    grid = grid or max(12 * reach, 1)
    if grid <= reach or grid < max(weight.shape[2:]):
        raise ValueError(f"grid must be above {reach} and at least the kernel's side, got {grid}")
    return gram_bound(weight, grid, iterations) / (1 - reach / grid)


def power_iteration_lower_bound(weight: Tensor, iterations: int = 50, seed: int = 0) -> Tensor:
    """A LOWER bound on a dense layer's norm: good for regularising, no certificate.

    Args:
        weight: [out, in].
        iterations: products with W^T W.
        seed: of the start vector.
    """
    check_weight(weight, iterations)
    if weight.ndim != 2:
        raise ValueError(f"expected a dense weight [out, in], got {list(weight.shape)}")
    generator = torch.Generator().manual_seed(seed)
    vector = torch.randn(weight.shape[1], generator=generator, dtype=torch.float64).to(weight)
    tiny = torch.finfo(weight.dtype).tiny
    for _ in range(iterations):
        vector = weight.T @ (weight @ (vector / vector.norm().clamp_min(tiny)))
    vector = vector / vector.norm().clamp_min(tiny)
    return (weight @ vector).norm() * (1 - margin(weight))


def check_weight(weight: Tensor, iterations: int) -> None:
    if weight.ndim not in (2, 4) or weight.dtype not in DTYPES:
        raise ValueError(
            f"expected a float32 or float64 weight [out, in] or [out, in, k, k], got {weight.dtype} "
            f"{list(weight.shape)}"
        )
    if iterations < 1:
        raise ValueError(f"iterations must be at least 1, got {iterations}")
    if not bool(weight.isfinite().all()):
        raise ValueError("the weight holds values that are not finite; it has no norm")


def _spectrum(weight: Tensor, size: tuple[int, int]) -> Tensor:
    """[frequencies, out, in] complex; half of them, for those of a real kernel come in conjugate pairs."""
    return torch.fft.rfft2(weight, s=size).flatten(2).permute(2, 0, 1)


def _gram(matrices: Tensor, iterations: int) -> Tensor:
    """[F] bounds of [F, m, n] matrices; the norms are divided out at each step and their logarithms kept."""
    dtype, matrices = matrices.real.dtype, not_tf32(matrices)
    if matrices.shape[1] < matrices.shape[2]:
        matrices = matrices.mH  # the smaller Gram matrix
    log = matrices.real.new_zeros(len(matrices))
    tiny = torch.finfo(log.dtype).tiny
    # Squares of very large or very small entries would overflow or vanish: all are divided by one power of two.
    scale = torch.exp2(matrices.detach().abs().amax().clamp_min(tiny).log2().floor())
    matrices = matrices / scale
    for _ in range(iterations):
        norm = torch.linalg.matrix_norm(matrices).clamp_min(tiny)  # a zero matrix stays zero
        matrices = matrices / norm[:, None, None]
        with torch.autocast(matrices.device.type, enabled=False):  # half precision would fall below the norm
            matrices, log = matrices.mH @ matrices, 2 * (log + norm.log())
    last = torch.linalg.matrix_norm(matrices)
    power = 2.0**-iterations
    # The gradient of 0^power is infinite: zero matrices are taken out of the power.
    safe = torch.where(last > 0, last, torch.ones_like(last))
    bounds = torch.where(last > 0, (power * (safe.log() + log)).exp(), torch.zeros_like(last)) * scale
    return bounds.to(dtype)


def not_tf32(matrices: Tensor) -> Tensor:
    """In float64 on CUDA: many scripts let its float32 products round to TF32, by more than :func:`margin`."""
    return matrices.to(torch.promote_types(matrices.dtype, torch.float64)) if matrices.is_cuda else matrices
