"""Freed memory stays with the process: when a block is used again, its pages are there."""

import subprocess
import sys

import pytest

from kdzoo import heap

SCRIPT = """
import ctypes, resource, sys
from kdzoo.heap import keep_freed_memory, set_thresholds
if not (keep_freed_memory() if sys.argv[1] == "keep" else set_thresholds(2**25, 2**26)):
    sys.exit(3)
library, size = ctypes.CDLL(None), 80_000_000
library.malloc.restype = ctypes.c_void_p

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        block = library.malloc(ctypes.c_size_t(size))
        ctypes.memset(block, 1, size)
        library.free(ctypes.c_void_p(block))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

faults(), faults()
print(faults())
"""


def faults(mode):
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True)
    if done.returncode == 3:
        pytest.skip("the C library is not glibc")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_pages_are_paid_for_once():
    kept, given_back = faults("keep"), faults("give back")
    assert kept < 10 < given_back  # huge pages make few of many


def test_other_systems_are_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    assert heap.keep_freed_memory() is False
