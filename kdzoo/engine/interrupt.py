"""Ctrl-C and SIGTERM between two steps, instead of in the middle of one."""

import signal
import threading
from types import FrameType


class Interrupted(Exception):
    """The run was asked to stop and has saved its state. Args: message: how to go on."""


class Interrupt:
    """Context in which the first SIGINT or SIGTERM only sets ``asked``; the second acts at once.

    Example:
        >>> with Interrupt() as interrupt:
        ...     while not interrupt.asked:
        ...         step()
    """

    SIGNALS = (signal.SIGINT, signal.SIGTERM)

    def __init__(self):
        self.asked = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> "Interrupt":
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            self._before = {number: signal.signal(number, self._ask) for number in self.SIGNALS}
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self.asked = True
        for held, handler in self._before.items():
            signal.signal(held, handler)
