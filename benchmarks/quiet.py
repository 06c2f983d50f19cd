"""What others on this machine take from the cores, and waiting until it is little."""

import time
from contextlib import suppress
from typing import NamedTuple

import psutil

LOUD = 25.0
"""Percent of one core. A measurement with more than that taken by others is made once more."""
PATIENCE_S = 20


class Reading(NamedTuple):
    """CPU seconds that all and we have used until now; what the hypervisor gave to others is used, too."""

    at: float
    all_s: float
    own_s: float


def read() -> Reading:
    """Ours are those of this process and of what it started, with what has ended since."""
    machine, me = psutil.cpu_times(), psutil.Process()
    times = []
    for one in (me, *me.children(recursive=True)):
        # One may end at this moment, and what it used is its parent's by the next look.
        with suppress(psutil.NoSuchProcess):
            times.append(one.cpu_times())
    own = sum(one.user + one.system + one.children_user + one.children_system for one in times)
    return Reading(time.monotonic(), sum(machine) - machine.idle - machine.iowait - machine.guest, own)


def others(before: Reading, after: Reading) -> float:
    """Percent of one core that others used between two readings."""
    used = (after.all_s - before.all_s) - (after.own_s - before.own_s)
    return max(used / max(after.at - before.at, 0.01) * 100, 0.0)


def wait() -> None:
    """Until they use little, but not for ever."""
    end = time.monotonic() + PATIENCE_S
    before = read()
    while time.monotonic() < end:
        time.sleep(1)
        after = read()
        if others(before, after) < LOUD / 2:
            return
        before = after
