"""What a measurement depends on beside the code: the machine, the versions, and who else computes on it."""

import os
import platform
from dataclasses import dataclass

import torch

from kdzoo.engine.folder import git_revision, versions

# Load average a core above which a measurement is not to be trusted.
BUSY = 0.25


@dataclass(frozen=True)
class Machine:
    """The machine when the measurement began.

    Args:
        cpu: name of the processor.
        cores: that this process may use.
        threads: of torch.
        device: the GPU's name, or ``"cpu"``.
        load: processes that wanted to run, mean of the last minute; ``None`` where the system does not tell.
        versions: of kdzoo, Python and the libraries.
        git: the checkout's revision.
    """

    cpu: str
    cores: int
    threads: int
    device: str
    load: float | None
    versions: dict[str, str]
    git: str | None

    @property
    def busy(self) -> bool:
        return self.load is not None and self.load > BUSY * self.cores

    def lines(self) -> list[str]:
        """For people, with a warning where others compute on the machine."""
        told = ", ".join(f"{name} {self.versions[name]}" for name in ("kdzoo", "torch", "python"))
        load = "unknown" if self.load is None else f"{self.load:.2f}"
        lines = [
            f"machine: {self.cpu}, {self.cores} cores, {self.threads} threads, device {self.device}",
            f"versions: {told}; load average {load}",
        ]
        if self.busy:
            lines.append(f"warning: load average {load} on {self.cores} cores: others compute here, measure again")
        return lines


def this_machine(device: torch.device) -> Machine:
    """The facts, now."""
    return Machine(
        cpu=cpu_name(),
        cores=cores(),
        threads=torch.get_num_threads(),
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
        versions=versions(),
        git=git_revision(),
    )


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:  # no Linux
        names = []
    return names[0] if names else platform.processor() or platform.machine()
