"""Folders of attempts: each goes with its attempt, or where its worker was killed, with the next worker here."""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from secrets import token_hex
from tempfile import gettempdir, mkdtemp

PREFIX = "rota-attempt-"
YOUNG_S = 5
"""A folder younger than this may be about to be held."""


@contextmanager
def held_folder() -> Iterator[str]:
    """A folder for an attempt. Its lock ends with this process, however that ends."""
    folder = mkdtemp(prefix=PREFIX)
    held = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield folder
    finally:
        os.close(held)
        with suppress(OSError):
            remove(folder)


def remove(folder: str) -> None:
    """Remove a folder, however deep it is and whatever its owner may not do in it. Raises `OSError`."""
    try:
        shutil.rmtree(folder)
    except (OSError, RecursionError):
        _flatten(folder)
        os.rmdir(folder)


def _flatten(top: str) -> None:
    """Empty a folder: what is deep in it is moved up, as no path and no stack may be so long."""
    waiting = [top]
    while waiting:
        place = waiting.pop()
        os.chmod(place, 0o700)
        with os.scandir(place) as found:
            entries = list(found)
        for entry in entries:
            if not entry.is_dir(follow_symlinks=False):
                os.unlink(entry.path)
                continue
            os.chmod(entry.path, 0o700)  # else its owner could not move it
            waiting.append(os.path.join(top, token_hex(16)))
            os.rename(entry.path, waiting[-1])
        if place != top:
            os.rmdir(place)


def sweep() -> None:
    """Remove the folders that nobody holds any more."""
    for folder in Path(gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):  # somebody else's, held, or gone meanwhile
            opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                found = os.fstat(opened)
                if found.st_uid == os.geteuid() and time.time() - found.st_mtime > YOUNG_S:
                    fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    remove(str(folder))
            finally:
                os.close(opened)
