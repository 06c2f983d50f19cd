"""How long nothing fires when the leader is lost, and when all schedulers are replaced one after the other."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from rota.cli.bench.machine import percentile
from rota.scheduler.options import Options
from tests.figures.stage import Stage, check, pause, say, spread, stage, until

SCHEDULES = 1_000
EVERY_MS = 1_000
SLOTS = 500
LATE_MS = 1_000
"""An occurrence fired within this time is no longer one that was missed."""
BOUND_MS = Options().ttl_ms + 2_000


async def takeover(kills: int = 6, schedules: int = SCHEDULES) -> dict[str, Any]:
    """The leader of two schedulers is killed again and again, each time at the worst moment: it has just renewed."""
    async with stage() as on:
        await _begin(on, ["a", "b"], schedules)
        struck = []
        for number in range(kills):
            struck.append(await _kill(on, f"again-{number}"))
            say(f"kill {number + 1} of {kills}")
        made, gaps = await _end(on, struck)
    return {
        "schedules": schedules, "every_ms": EVERY_MS, "kills": kills, "occurrences": made, "lost_or_doubled": 0,
        "gap_ms": gaps, "longest_gap_ms": max(gaps), "wanted_gap_ms": BOUND_MS,
    }  # fmt: skip


async def handover(rounds: int = 3, schedules: int = SCHEDULES) -> dict[str, Any]:
    """Three schedulers, replaced one after the other by SIGTERM, each once its successor runs, several times over."""
    async with stage() as on:
        living = ["a", "b", "c"]
        await _begin(on, living, schedules)
        asked, led = [], 0
        for number in range(3 * rounds):
            on.start("scheduler", f"next-{number}")
            await pause(3)
            oldest = living.pop(0)
            living.append(f"next-{number}")
            led += oldest == await on.leader()
            asked.append(on.engine.clock.now())
            await on.leave(oldest)
            await _caught_up(on)
        made, gaps = await _end(on, asked)
    check(led > 0, "none of those replaced led")
    return {
        "schedules": schedules, "every_ms": EVERY_MS, "replaced": 3 * rounds, "leaders_replaced": led,
        "occurrences": made, "lost_or_doubled": 0, "gap_ms": gaps, "longest_gap_ms": max(gaps),
    }  # fmt: skip


async def _begin(on: Stage, names: Sequence[str], schedules: int) -> None:
    on.start("worker", "worker", "--slots", str(SLOTS))
    for name in names:
        on.start("scheduler", name)
    await until("a leader", on.leader)
    await spread(on.engine, schedules, EVERY_MS)
    await _caught_up(on)


async def _kill(on: Stage, successor: str) -> int:
    """Kill the leader, and start another scheduler once all is on time again; the instant."""
    name, renewed = await on.leader(), "SELECT max(expires_at) FROM terms WHERE expires_at > $1"
    ends_at = await on.one("SELECT expires_at FROM terms")
    await until("a renewal", lambda: on.one(renewed, ends_at))
    at = on.kill(name)

    async def another() -> bool:
        return await on.leader() not in ("", name)

    await until("another leader", another)
    on.start("scheduler", successor)
    await _caught_up(on)
    return at


async def _caught_up(on: Stage) -> None:
    """Until what fires is on time again, and for some seconds more."""

    async def on_time() -> bool:
        return not await on.one("SELECT count(*) FROM schedules WHERE next_at < $1", on.engine.clock.now() - LATE_MS)

    await until("firing on time", on_time)
    await pause(3)


async def _end(on: Stage, moments: Sequence[int]) -> tuple[int, list[int]]:
    """Stop the schedulers, check all, and tell the number of occurrences and the longest pause after each moment."""
    await on.accounted()
    await on.leave(*[name for name in on.roles if name != "worker"])
    await on.settled()
    made = await on.occurrences()
    rows = await on.sql.fetch("SELECT DISTINCT created_at FROM runs ORDER BY 1")
    fired = [row[0] for row in rows]
    check(percentile([float(b - a) for a, b in pairwise(fired)], 0.5) < LATE_MS, "hardly anything fired")
    pauses = list(pairwise(fired))
    # A pause begins with the last fire before the moment.
    bounds = pairwise([moment - LATE_MS for moment in (*moments, fired[-1])])
    return made, [max(b - a for a, b in pauses if since <= a < to) for since, to in bounds]
