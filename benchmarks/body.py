"""What a peer's tasks do: write to one file that all processes of a measurement share. Its size counts the tasks."""

import os
import time

from benchmarks.field import LEDGER, STAMP

_file = os.open(os.environ[LEDGER], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)


def count() -> None:
    """One byte: a microsecond or so, where Rota's empty task does nothing, but is counted by its durable end."""
    os.write(_file, b".")


def stamp(sent_ns: int) -> None:
    """Nanoseconds since before the submit call, on the machine's monotonic clock."""
    os.write(_file, STAMP.pack(time.monotonic_ns() - sent_ns))
