"""How a database is: what `rota doctor` tells of it."""

import shutil
import sqlite3
from pathlib import Path

from rota.stores.sql.link import Link

LOW_SPACE = 512 << 20
"""Bytes free beside the database, below which somebody should look."""


def health(link: Link, file: str) -> list[tuple[str, str]]:
    """(`ok`, `warn` or `fail`; what was found) of the file, its safety settings and its disk."""
    whole, mode = link.first("PRAGMA quick_check(1)"), link.first("PRAGMA journal_mode")
    full = link.first("PRAGMA synchronous") >= 2
    found = [
        ("ok" if whole == "ok" else "fail", f"quick_check says {whole}; SQLite {sqlite3.sqlite_version}"),
        ("ok" if mode in ("wal", "memory") else "fail", f"journal mode is {mode}"),
        ("ok" if full else "fail", "commits survive power loss" if full else "commits do not survive power loss"),
    ]
    if file:
        free = shutil.disk_usage(Path(file).resolve().parent).free
        level = "ok" if free > LOW_SPACE else "warn" if free > LOW_SPACE // 10 else "fail"
        found.append((level, f"{free >> 20} MiB free beside {file}"))
    return found
