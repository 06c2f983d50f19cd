"""What the attempts in one process have in common: whoever leaves it changed would change the next one."""

import locale
import logging
import os
import resource
import signal
import socket
import sys
import threading
from contextlib import suppress

LIMITS = sorted({value for name, value in vars(resource).items() if name.startswith("RLIMIT_")})
SIGNALS = signal.valid_signals()


def surroundings() -> tuple[object, ...]:
    """All of it that is quickly looked at, to be compared. Raises `OSError` where that is gone already."""
    umask = os.umask(0o077)
    os.umask(umask)
    streams = (sys.stdin, sys.stdout, sys.stderr)
    return (
        os.getcwd(),
        dict(os.environ),
        umask,
        [resource.getrlimit(limit) for limit in LIMITS],
        [signal.getsignal(number) for number in SIGNALS],
        signal.pthread_sigmask(signal.SIG_BLOCK, ()),
        signal.getitimer(signal.ITIMER_REAL),
        [(stream, getattr(stream, "closed", True)) for stream in streams],
        [(found.st_dev, found.st_ino) for found in map(os.fstat, range(3))],
        (sys.path[:], sys.getrecursionlimit(), socket.getdefaulttimeout(), locale.setlocale(locale.LC_ALL)),
        (logging.root.level, logging.root.handlers[:], logging.root.manager.disable),
        {thread for thread in threading.enumerate() if not thread.daemon},
        _has_children(),
    )


def is_changed(before: tuple[object, ...]) -> bool:
    """Whether they are not as `before` any more."""
    try:
        return surroundings() != before
    except Exception:  # what is gone, or is what it cannot be, raises whatever it likes
        return True


def _has_children() -> bool:
    with suppress(ChildProcessError):
        if hasattr(os, "waitid"):
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        else:  # on macOS before Python 3.13: one that has ended is taken from whoever started it
            os.waitpid(-1, os.WNOHANG)
        return True
    return False
