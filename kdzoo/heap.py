"""What glibc does with freed memory.

It gives large blocks back to the system at once, and whoever computes on a CPU pays for their pages again in every
step: a forward pass of resnet8 on 200 images touches 60 MB anew, which was a sixth of its time.
"""

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
ALL = 2**31 - 1


def keep_freed_memory() -> bool:
    """Freed blocks of up to 2 GB stay with this process, which then holds on to its peak; what the tools do.

    Returns:
        Whether it is so: False where the C library is not glibc, and nothing has changed.

    Example:
        >>> keep_freed_memory()  # once, at the start of a script that trains on a CPU
        True
    """
    return set_thresholds(ALL, ALL)


def set_thresholds(mapped: int, trimmed: int) -> bool:
    """Blocks from ``mapped`` bytes on are mapped alone, ``trimmed`` free bytes go back; False without glibc."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all([mallopt(M_MMAP_THRESHOLD, mapped), mallopt(M_TRIM_THRESHOLD, trimmed)])
