"""How long claims, settles, fires, listings, counts and prune take, by the length of the history behind them."""

import asyncio
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from rota.domain.ids import occurrence_id, timed_id
from rota.domain.lane import lane
from rota.domain.run import Cause, Run, State
from rota.domain.schedule import DAY_MS
from rota.engine.engine import Engine
from rota.ports.store import Change, Group
from rota.stores import migrate
from rota.stores.sql.tables import runs as table
from rota.wiring import opened
from tests.figures.measuring import BATCH, Measure, Turns, Wall
from tests.figures.stage import Stage, check, say, stage

SMALL = 100_000
SPAN_MS = 7 * DAY_MS
TASKS, QUEUES, SCHEDULES = 50, 5, 200
MOST = 1.5
MOVED = ("created_at", "ready_at", "rank", "nominal_at", "claimed_at", "started_at", "ended_at")
"""Instants of a run; its id begins with one as well."""
ENDED = (State.SUCCESS, State.FAILED, State.CANCELLED)


async def history(runs: int = 10_000_000) -> dict[str, Any]:
    """PostgreSQL, with 100,000 runs of history and with `runs` of them."""
    async with stage() as on:
        await on.sql.execute("CREATE DATABASE small")
        return await _compared(on.server.of("small"), on.server.url, PostgresFiller(on), runs)


async def history_sqlite(runs: int = 1_000_000) -> dict[str, Any]:
    """The same on SQLite."""
    with tempfile.TemporaryDirectory(prefix="rota-figures-") as folder:
        small, large = Path(folder) / "small.db", Path(folder) / "large.db"
        return await _compared(f"sqlite:///{small}", f"sqlite:///{large}", SqliteFiller(large), runs)


async def _compared(small: str, large: str, filler: "PostgresFiller | SqliteFiller", runs: int) -> dict[str, Any]:
    """The two side by side, in turns, so that both meet the same noise."""
    check(runs % SMALL == 0 and runs > SMALL, f"runs are a multiple of {SMALL}")
    share_ms = SPAN_MS * SMALL // runs
    turns = Turns(asyncio.Barrier(2), asyncio.Lock())
    async with _prepared(small, share_ms, turns) as one, _prepared(large, share_ms, turns) as many:
        say(f"filling in {runs} runs")
        many.ended += await filler.copy(runs // SMALL, share_ms)
        check(many.ended == runs, f"{many.ended} runs filled in")
        await filler.settle()
        say("measuring")
        async with asyncio.TaskGroup() as both:
            both.create_task(one.all())
            both.create_task(many.all())
    ms = {name: (spent, many.ms[name]) for name, spent in one.ms.items()}
    ratios = {name: round(more / few, 2) for name, (few, more) in ms.items()}
    return {
        "runs": [SMALL, runs], "ms": {name: (round(few, 2), round(more, 2)) for name, (few, more) in ms.items()},
        "ratio": ratios, "over_1.5": {name: ratio for name, ratio in ratios.items() if ratio > MOST},
    }  # fmt: skip


@asynccontextmanager
async def _prepared(url: str, share_ms: int, turns: Turns) -> AsyncIterator[Measure]:
    """A store with the first runs of history, and work to do."""
    await migrate(url)
    async with opened(url) as engine:
        engine.clock = clock = Wall()
        await _fill(engine, clock.now() - share_ms, share_ms)
        measure = Measure(engine, clock, turns)
        measure.ended = SMALL
        await measure.prepare()
        yield measure


async def _fill(engine: Engine, since: int, share_ms: int) -> None:
    """Ended runs of many tasks, queues and schedules, spread over a time."""
    chance = Random(1)
    for start in range(0, SMALL, BATCH):
        made = [_ended(number, since + number * share_ms // SMALL, chance) for number in range(start, start + BATCH)]
        await engine.commit([Group((Change(None, one),)) for one in made])


def _ended(number: int, at: int, chance: Random) -> Run:
    """One that was submitted, or fired by a schedule, some time ago."""
    name, queue = f"task-{number % TASKS}", f"queue-{number % QUEUES}"
    state = chance.choices(ENDED, (94, 5, 1))[0]
    plan = f"schedule-{chance.randrange(SCHEDULES)}" if number % 5 < 2 else ""
    nominal = at + number % 7 if plan else None
    return Run(
        occurrence_id(f"main/{plan}", nominal) if nominal else timed_id(at, chance.getrandbits(80)),
        "main", name, 1, queue, lane("main", queue, "python"), 1, state, "done" if state is State.SUCCESS else "error",
        "", at, None, at, at, b'{"customer":%d,"month":"2026-01","amount":%d}' % (number, number * 7 % 1_000),
        cause=Cause.SCHEDULE if plan else Cause.SUBMIT, actor="" if plan else "app:shop", schedule=plan,
        nominal_at=nominal, attempt=1, token=chance.getrandbits(62), session=f"{number % 20:032x}",
        worker=f"worker-{number % 20}", tries=1, claimed_at=at + 3, started_at=at + 5, ended_at=at + 800,
        digest=chance.getrandbits(31), result=b'{"sum":%d}' % number if state is State.SUCCESS else None,
        error="" if state is State.SUCCESS else "ValueError: the month is closed\n" + "  at line 17 of report.py\n" * 5,
    )  # fmt: skip


class PostgresFiller:
    """Copies what is there, each copy older than the one before, without indexes meanwhile."""

    def __init__(self, on: Stage) -> None:
        self.sql = on.sql

    async def copy(self, copies: int, share_ms: int) -> int:
        indexes = await self.sql.fetch(
            "SELECT indexname, indexdef FROM pg_indexes WHERE tablename = 'runs' AND indexname LIKE 'runs\\_%' "
            "AND indexdef NOT LIKE 'CREATE UNIQUE%'"
        )
        for name, _ in indexes:
            await self.sql.execute(f"DROP INDEX {name}")
        moved = _copying("lpad(to_hex(created_at - $1), 12, '0') || substr(id, 13)", "$1::bigint")
        made = [await self.sql.execute(moved, number * share_ms) for number in range(copies - 1, 0, -1)]
        for _, definition in indexes:
            await self.sql.execute(definition)
        return sum(int(one.split()[-1]) for one in made)

    async def settle(self) -> None:
        """What autovacuum would have done on the way."""
        await self.sql.execute("VACUUM ANALYZE")
        await self.sql.execute("CHECKPOINT")


class SqliteFiller:
    """The same; its indexes stay."""

    def __init__(self, place: Path) -> None:
        self.place = place

    async def copy(self, copies: int, share_ms: int) -> int:
        connection = sqlite3.connect(self.place)
        moved = _copying("printf('%012x', created_at - ?1) || substr(id, 13)", "?1")
        with connection:
            made = [connection.execute(moved, (n * share_ms,)).rowcount for n in range(copies - 1, 0, -1)]
        connection.close()
        return sum(made)

    async def settle(self) -> None:
        """SQLite keeps no statistics here."""


def _copying(new_id: str, shift: str) -> str:
    names = [column.name for column in table.c if column.name != "seq"]
    values = [new_id if name == "id" else f"{name} - {shift}" if name in MOVED else name for name in names]
    return (
        f"INSERT INTO runs ({', '.join(names)}) SELECT {', '.join(values)} FROM runs WHERE seq <= {SMALL} ORDER BY seq"
    )
