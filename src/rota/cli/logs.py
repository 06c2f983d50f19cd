"""The lines of runs, printed as they come."""

import json
import sys
from collections.abc import AsyncIterator
from typing import NamedTuple

from rota.cli.common import run_id
from rota.cli.show import clean
from rota.cli.views import plain
from rota.domain.errors import Invalid, NotFound
from rota.domain.run import TERMINAL, Run
from rota.engine.engine import Engine
from rota.ports.store import Line

LOOK_S = 0.5
PAGE = 500


class Asked(NamedTuple):
    """Which lines are wanted, and how."""

    run: str
    follow: bool
    search: str
    limit: int
    as_json: bool


async def print_lines(engine: Engine, asked: Asked) -> None:
    """Print lines, oldest first. Raises `Invalid` or `NotFound` for a run that cannot be told by its id."""
    if asked.follow and not asked.run:
        raise Invalid("follow", "which run? lines of all runs have no end")
    key = await run_id(engine, asked.run) if asked.run else ""
    if key:
        await _is_over(engine, key)
    kept = []
    async for line in _followed(engine, key, asked):
        if not asked.as_json:
            print(_text(line, bool(key)), flush=asked.follow)
        elif asked.follow:
            print(json.dumps(plain(line)), flush=True)
        else:
            kept.append(plain(line))
    if asked.as_json and not asked.follow:
        print(json.dumps(kept, indent=2))


async def _followed(engine: Engine, key: str, asked: Asked) -> AsyncIterator[Line]:
    """Lines up to the limit; when following, without limit until the run has ended."""
    position, left = 0, asked.limit
    ear = engine.store.watch(["done"])
    try:
        while True:
            # Before reading, so that no line which a run wrote just before its end is missed.
            over = not asked.follow or await _is_over(engine, key)
            lines, position = await engine.logs.read(key, position, min(left, PAGE), asked.search)
            for line in lines:
                yield line
            left -= 0 if asked.follow else len(lines)
            if not left or (over and not lines):
                return
            if not lines:
                await ear.wait(LOOK_S)
    finally:
        ear.close()


async def _is_over(engine: Engine, key: str) -> bool:
    found = (await engine.store.get(Run, [key]))[0]
    if found is None:
        raise NotFound("run", key, "see `rota runs list`")
    return found.record.state in TERMINAL


def _text(line: Line, one: bool) -> str:
    """A line for people: when and from where, and the text as it can be shown."""
    at = str(plain(line)["at"]).replace("T", " ")
    source = line.level if line.stream == "log" else line.stream
    run = "" if one else f"{line.run} "
    mark = f"{run}{at} {line.attempt} {source:7} "
    if sys.stdout.isatty():
        mark = f"\x1b[2m{mark}\x1b[0m"
    return mark + clean(line.text, keep="\t")
