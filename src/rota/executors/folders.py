"""Folders of attempts: each goes with its attempt, or where its worker was killed, with the next worker here."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir

PREFIX = "rota-attempt-"
YOUNG_S = 5
"""A folder younger than this may be about to be held."""


@contextmanager
def held_folder() -> Iterator[str]:
    """A folder for an attempt. Its lock ends with this process, however that ends."""
    with TemporaryDirectory(prefix=PREFIX, ignore_cleanup_errors=True) as folder:
        held = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(held, fcntl.LOCK_SH)
            yield folder
        finally:
            os.close(held)


def sweep() -> None:
    """Remove the folders that nobody holds any more."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, held, or gone meanwhile
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                found = os.fstat(opened)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > YOUNG_S:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(folder)
            finally:
                os.close(opened)
