"""How a command ends when its reader or its user has had enough."""

import functools
import os
import sys
from collections.abc import Callable

SIGPIPE, SIGINT = 13, 2  # a shell's exit status of a process that a signal ended is 128 and its number


def command(main: Callable[..., int]) -> Callable[..., int]:
    """Decorator of a tool's ``main``: a closed pipe (``| head``) and Ctrl-C end it without a stack trace.

    Example:
        >>> @command
        ... def main(argv=None) -> int: ...
    """

    @functools.wraps(main)
    def run(*arguments, **keywords) -> int:
        try:
            try:
                return main(*arguments, **keywords)
            finally:
                sys.stdout.flush()  # here, where it can be told, and not as Python exits
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for what is flushed as Python exits
            return 128 + SIGPIPE
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return 128 + SIGINT

    return run
