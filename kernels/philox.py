"""Keyed standard normal rows in one kernel: a GPU's fast way to what ``kdzoo/data/counter_noise.py`` defines."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from kdzoo.kernels import launch

BLOCK = 256  # counters at a time, of four numbers each
TWO_PI = tl.constexpr(6.283185307179586)
UNIT = tl.constexpr(2.3283064365386963e-10)  # 2^-32
ROUNDS = tl.constexpr(10)


@triton.jit
def between_0_and_1(word):
    """Half a unit keeps the logarithm's argument off zero; float64, since float32 would round to 1."""
    return (word.to(tl.float64) + 0.5) * UNIT


@triton.jit(do_not_specialize=["seed", "size"])  # of 1 it would make no number of the kernel's
def normal_kernel(
    out,  # [N, size] float32
    streams,  # [N] int64
    positions,  # [N] int64
    seed,  # its 32 bits, as a signed number
    size,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    none = tl.zeros([BLOCK], tl.uint32)
    stream = none + tl.load(streams + row).to(tl.uint32)
    position = none + tl.load(positions + row).to(tl.uint32)
    for start in tl.range(0, tl.cdiv(size, 4), BLOCK):
        block = start + tl.arange(0, BLOCK)
        a, b, c, d = block.to(tl.uint32), position, stream, none
        key_a, key_c = none + seed.to(tl.uint32), none
        for _ in tl.static_range(ROUNDS):
            of_a, of_c = a.to(tl.uint64) * 0xD2511F53, c.to(tl.uint64) * 0xCD9E8D57
            a, b = (of_c >> 32).to(tl.uint32) ^ b ^ key_a, of_c.to(tl.uint32)
            c, d = (of_a >> 32).to(tl.uint32) ^ d ^ key_c, of_a.to(tl.uint32)
            key_a, key_c = key_a + 0x9E3779B9, key_c + 0xBB67AE85
        length = tl.sqrt(-2.0 * tl.log(between_0_and_1(a)))
        angle = TWO_PI * between_0_and_1(b)
        at = 4 * block
        to = out + row * size + at
        tl.store(to, (length * tl.cos(angle)).to(tl.float32), mask=at < size)
        tl.store(to + 1, (length * tl.sin(angle)).to(tl.float32), mask=at + 1 < size)
        length = tl.sqrt(-2.0 * tl.log(between_0_and_1(c)))
        angle = TWO_PI * between_0_and_1(d)
        tl.store(to + 2, (length * tl.cos(angle)).to(tl.float32), mask=at + 2 < size)
        tl.store(to + 3, (length * tl.sin(angle)).to(tl.float32), mask=at + 3 < size)


def normal_rows(seed: int, streams: Tensor, positions: Tensor, size: int) -> Tensor:
    """[N, size] float32 on the keys' device, a row a (stream, position).

    Args:
        seed: 0 to 2^32 - 1, checked.
        streams, positions: [N] int64 from 0 to 2^32 - 1, checked.
        size: numbers a row, below 2^31.
    """
    out = torch.empty(len(streams), size, dtype=torch.float32, device=streams.device)
    if out.numel():
        signed = seed - (1 << 32) if seed >= 1 << 31 else seed
        args = [out, streams.contiguous(), positions.contiguous(), signed, size]
        launch.run(normal_kernel, len(out), args, {"BLOCK": BLOCK}, 4, out.device)
    return out
