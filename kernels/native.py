"""The C code of native_src/: compiled once for this processor by the system's own compiler, called through ctypes.

The library lies in kdzoo's cache folder (KDZOO_CACHE, else the user's cache folder) under a name that holds a hash of
source, command and processor, so that a change of any of them makes another. It links no OpenMP runtime: threads are
those of the one that torch has in the process. Where there is no compiler, nothing is said and plain PyTorch does the
work; where it fails, that is warned of once. KDZOO_NATIVE=0 switches the C code off, CC names another compiler.
"""

import ctypes
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import sys
import tempfile
import warnings
from functools import cache
from pathlib import Path

SOURCE = Path(__file__).parent / "native_src"
# No -ffast-math: infinities and NaN are to behave as in the reference. Products and sums may become one instruction,
# which rounds once less.
FLAGS = "-std=c11 -O3 -march=native -funroll-loops -fno-math-errno -fno-trapping-math -fopenmp-simd".split()
FLAGS += ["-ffp-contract=fast", "-fPIC", "-shared"]
SECONDS = 120  # of compiling; it takes about two
OUTCOMES = {
    1: (MemoryError, "there is no memory for the rows' buffers"),
    2: (IndexError, "target holds a label that is no class"),
    3: (IndexError, "order is no permutation of the classes in every row"),
}


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library, ``None`` where there is none; the environment is read at the first call."""
    return None if os.environ.get("KDZOO_NATIVE") == "0" else _loaded()


def check(outcome: int) -> None:
    """Raise what a call's return value tells."""
    if outcome:
        kind, text = OUTCOMES[outcome]
        raise kind(text)


def _loaded() -> ctypes.CDLL | None:
    compiler = shlex.split(os.environ.get("CC") or "cc")
    if not compiler or shutil.which(compiler[0]) is None:
        return None
    try:
        return ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        lines = (getattr(error, "stderr", None) or str(error)).strip().splitlines()
        line = next((line for line in lines if "error:" in line), lines[-1])
        warnings.warn(
            f"the C code of kdzoo could not be built ({line}), plain PyTorch replaces it; KDZOO_NATIVE=0 avoids the "
            "attempt",
            stacklevel=4,
        )
        return None


def _built(compiler: list[str]) -> Path:
    """The library's file, compiled where it is missing."""
    sources = sorted(SOURCE.glob("*.c"))
    command = [*compiler, *FLAGS, *(["-undefined", "dynamic_lookup"] if sys.platform == "darwin" else [])]
    made_of = [*command, _processor(), *(path.read_text() for path in [*sources, *sorted(SOURCE.glob("*.h"))])]
    name = hashlib.sha256("\0".join(made_of).encode()).hexdigest()[:16]
    home = os.environ.get("KDZOO_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "kdzoo"
    folder = Path(home).expanduser() / "native"
    path = folder / f"{name}.so"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        # Two processes may compile at once: each its own file, which takes the name when it is whole.
        with tempfile.TemporaryDirectory(dir=folder, prefix=f".{name}.") as scratch:
            made = Path(scratch) / "library.so"
            subprocess.run(
                [*command, *map(str, sources), "-o", str(made), "-lm"], check=True, capture_output=True, text=True,
                timeout=SECONDS,
            )  # fmt: skip
            os.replace(made, path)
    return path


def _processor() -> str:
    """What -march=native depends on: a cache folder may be shared by several machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:  # no Linux
        return f"{platform.machine()} {platform.processor()}"
    wanted = ("model name", "flags", "Features", "CPU part")
    return "\n".join(sorted({line for line in lines if line.startswith(wanted)}))
