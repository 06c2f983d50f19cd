"""What a store that stands still for a minute costs."""

import signal
from typing import Any

import psutil

from tests.figures.stage import Stage, check, pause, say, spread, stage, until

WORKERS = 3
SLOTS = 100
HELD = 60
SCHEDULES = 100
EVERY_MS = 1_000
BOUND_MS = 5_000

FIRST = {
    "fires": "SELECT min(created_at) FROM runs WHERE cause = 'schedule' AND created_at > $1",
    "claims": "SELECT max(at) FROM (SELECT min(claimed_at) AS at FROM runs WHERE claimed_at > $1 GROUP BY worker) s",
    "settles": "SELECT max(at) FROM (SELECT min(ended_at) AS at FROM runs WHERE ended_at > $1 GROUP BY worker) s",
}
"""When the leader, and the last of all workers, first did it again."""


async def outage(seconds: int = 60) -> dict[str, Any]:
    """All processes of the server are stopped and go on later; ms until all who work do so again."""
    async with stage() as on:
        for name in ("a", "b"):
            on.start("scheduler", name)
        for number in range(WORKERS):
            on.start("worker", f"worker-{number}", "--slots", str(SLOTS))
        await until("a leader", on.leader)
        await until("all sessions", lambda: _is(on, "SELECT count(*) FROM sessions", WORKERS))
        await spread(on.engine, SCHEDULES, EVERY_MS)
        await on.hold(HELD, seconds + 30)
        await until(
            "all runs", lambda: _is(on, "SELECT count(*) FROM runs WHERE state = 'running' AND task = 'hold'", HELD)
        )
        await pause(5)
        say(f"the store stands still for {seconds} s")
        stopped = _stop(on)
        await pause(seconds)
        for one in reversed(stopped):
            one.send_signal(signal.SIGCONT)
        at = on.engine.clock.now()
        await until("all workers at work", lambda: _workers_since(on, at))
        late = "SELECT count(*) = 0 FROM schedules WHERE next_at < $1"
        await until("firing on time", lambda: on.one(late, on.engine.clock.now() - EVERY_MS))
        on_time_ms = on.engine.clock.now() - at
        await pause(15)
        check(await _is(on, "SELECT count(*) FROM sessions WHERE closed_at IS NULL", WORKERS), "a session was lost")
        check(await _is(on, "SELECT count(*) FROM sessions", WORKERS), "a session was opened anew")
        await on.accounted()
        await on.leave("a", "b")
        await on.settled()
        taken_back = "SELECT count(*) FROM runs WHERE lost > 0 OR (task = 'hold' AND attempt > 1)"
        check(await _is(on, taken_back, 0), "an attempt was taken back")
        check(await _is(on, "SELECT count(*) FROM runs WHERE state <> 'success'", 0), "a run did not end well")
        made = await on.occurrences()
        resumed = {f"{name}_ms": await on.one(query, at) - at for name, query in FIRST.items()}
    return {
        "seconds": seconds, "sessions_lost": 0, "attempts_taken_back": 0, "occurrences": made, **resumed,
        "all_at_work_ms": max(resumed.values()), "on_time_ms": on_time_ms, "wanted_ms": BOUND_MS,
    }  # fmt: skip


def _stop(on: Stage) -> list[psutil.Process]:
    """The server first: then it makes no more processes."""
    assert on.server.process
    server = psutil.Process(on.server.process.pid)
    server.send_signal(signal.SIGSTOP)
    stopped = [server, *server.children(recursive=True)]
    for one in stopped[1:]:
        one.send_signal(signal.SIGSTOP)
    return stopped


async def _is(on: Stage, query: str, number: int) -> bool:
    return bool(await on.one(query) == number)


async def _workers_since(on: Stage, moment: int) -> bool:
    query = "SELECT count(DISTINCT worker) FROM runs WHERE claimed_at > $1 AND ended_at > $1"
    return bool(await on.one(query, moment) == WORKERS)
