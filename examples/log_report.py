"""A report over the log files of this machine: how many, how large, how many lines of which level."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rota import Context

TAIL = 1 << 20
"""Bytes read of each file, from its end: a report every minute should not read gigabytes."""
LEVEL = re.compile(rb"\b(debug|info|notice|warn|warning|error|err|critical|crit|fatal)\b", re.IGNORECASE)
SAME = {"warn": "warning", "err": "error", "crit": "critical"}


@dataclass(frozen=True)
class Report:
    """Levels are those of the lines that name one."""

    files: int
    size: int
    lines: int
    levels: dict[str, int]
    largest: str
    unreadable: list[str]


def report_logs(context: Context, folder: Path = Path("/var/log"), pattern: str = "*.log") -> Report:
    """Count lines by level in the log files below a folder."""
    levels: Counter[str] = Counter()
    sizes: dict[str, int] = {}
    unreadable: list[str] = []
    lines = 0
    for file in sorted(folder.rglob(pattern)):
        if context.cancelled:
            break
        try:
            sizes[str(file)] = file.stat().st_size
            for line in tail(file):
                lines += 1
                levels.update(level(line))
        except OSError as error:
            unreadable.append(f"{file}: {error.strerror}")
        context.progress(f"{len(sizes)} files")
    largest = max(sizes, key=sizes.__getitem__, default="")
    report = Report(len(sizes), sum(sizes.values()), lines, dict(levels), largest, unreadable)
    show(report)
    return report


def tail(file: Path) -> Iterator[bytes]:
    """The lines in the last TAIL bytes; the first of them may be cut."""
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - TAIL))
        yield from opened


def level(line: bytes) -> Iterator[str]:
    """The first level that a line names, if any."""
    if found := LEVEL.search(line):
        word = found[1].decode().lower()
        yield SAME.get(word, word)


def show(report: Report) -> None:
    """What is printed becomes the log of the run."""
    print(f"{report.files} files, {report.size} bytes, {report.lines} lines read; largest: {report.largest or 'none'}")
    for name, count in sorted(report.levels.items()):
        print(f"  {name}: {count}")
    for problem in report.unreadable:
        print(f"  not readable: {problem}")
