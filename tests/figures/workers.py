"""How soon runs of a worker that was killed run elsewhere."""

from typing import Any

from rota.cli.bench.machine import percentile
from tests.figures.stage import Stage, check, pause, say, stage, until

WORKERS = 4
SLOTS = 40
FEWEST = 10
"""In flight at each kill, at least."""
HOLD_S = 20.0
BOUND_MS = 14_000

HELD = "SELECT worker, count(*) FROM runs WHERE state = 'running' AND attempt = 1 AND started_at > $1 GROUP BY 1"
AGAIN = (
    "SELECT count(*) FROM runs JOIN unnest($1::text[], $2::int[]) AS before(id, attempt) USING (id) "
    "WHERE runs.attempt = before.attempt + 1 AND worker <> $3 AND started_at IS NOT NULL"
)
STARTED = "SELECT started_at FROM runs WHERE id = ANY($1)"
TWICE = "SELECT array_agg(id) FROM runs WHERE attempt > 1"
WELL = "SELECT count(*) FROM runs WHERE state = 'success' AND attempt = lost + 1 AND tries = 1"


async def lost(kills: int = 10) -> dict[str, Any]:
    """One of four workers at default times is killed again and again; ms until each of its runs runs elsewhere."""
    spent: list[float] = []
    victims: list[str] = []
    async with stage() as on:
        on.start("scheduler", "scheduler")
        for number in range(WORKERS):
            on.start("worker", f"worker-{number}", "--slots", str(SLOTS))
        for number in range(kills):
            name = await _occupied(on)
            held = [row[0] for row in await on.sql.fetch("SELECT id FROM runs WHERE worker = $1", name)]
            at = on.kill(name)
            running = "SELECT id, attempt FROM runs WHERE id = ANY($1) AND state = 'running' AND worker = $2"
            # Some may have been lost before.
            attempts = dict(await on.sql.fetch(running, held, name))
            mine = [*attempts]
            check(len(mine) >= FEWEST, f"{len(mine)} runs in flight at the kill")

            async def all_again(held: dict[str, int] = attempts, name: str = name) -> bool:
                return bool(await on.one(AGAIN, [*held], [*held.values()], name) == len(held))

            await until("every run in flight started elsewhere", all_again)
            took = [row[0] - at for row in await on.sql.fetch(STARTED, mine)]
            say(f"kill {number + 1} of {kills}: {len(mine)} runs, elsewhere after {min(took)} to {max(took)} ms")
            spent += took
            victims += mine
            on.start("worker", f"again-{number}", "--slots", str(SLOTS))
        await on.settled()
        runs = await on.one("SELECT count(*) FROM runs")
        check(await on.one(WELL) == runs, "a run did not end well, or was started more often than it was lost")
        check(set(await on.one(TWICE)) == set(victims), "another run than those of the killed was started twice")
        await on.accounted()
    return {
        "kills": kills, "runs": runs, "in_flight": len(spent), "p50_ms": percentile(spent, 0.5),
        "p99_ms": percentile(spent, 0.99), "max_ms": max(spent), "wanted_p99_ms": BOUND_MS,
    }  # fmt: skip


async def _occupied(on: Stage) -> str:
    """Fresh runs, and the worker that holds most of them."""
    since = on.engine.clock.now()
    await on.hold(WORKERS * FEWEST, HOLD_S)
    await pause(2)

    async def most() -> str:
        counts = await on.sql.fetch(HELD, since)
        name, number = max(counts, key=lambda row: row[1], default=("", 0))
        return str(name) if number >= FEWEST and name in on.roles else ""

    return str(await until("a worker with runs in flight", most))
