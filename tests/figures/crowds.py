"""What a scheduler costs, and how late it fires, with many sessions, schedules and running runs."""

import asyncio
import sys
from contextlib import suppress
from secrets import token_hex
from typing import Any

import psutil

from rota.cli.bench.machine import cost
from rota.domain.access import ANY, Actor, Grant
from rota.domain.people import Kind, Token
from rota.engine.control import place_queue
from rota.engine.people import mint
from rota.wiring import locks
from tests.figures.stage import ROOT, Stage, check, pause, say, spread, stage, until
from tests.services.postgresql import free_port

WINDOW_S = 60

SPREAD = (
    "SELECT count(*), percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY created_at - nominal_at), "
    "percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY claimed_at - ready_at), "
    "percentile_disc(ARRAY[0.5, 0.99]) WITHIN GROUP (ORDER BY started_at - nominal_at) "
    "FROM runs WHERE nominal_at >= $1 AND nominal_at < $2"
)


async def sessions(
    sessions: int = 200, schedules: int = 10_000, every_s: int = 10, running: int = 1_000, window_s: int = WINDOW_S
) -> dict[str, Any]:
    """A scheduler alone in its process; `running` runs occupy slots all the time, and others come by schedules."""
    async with stage() as on:
        return await _crowd(on, on.server.url, sessions, schedules, every_s, running, window_s)


async def remote(
    workers: int = 100, schedules: int = 1_000, every_s: int = 10, running: int = 1_000, window_s: int = WINDOW_S
) -> dict[str, Any]:
    """The same with workers that know no store: they ask the API over HTTP for what the leader has placed with them."""
    async with stage() as on:
        await place_queue(on.engine, "main", "default", "least_load", "figures")
        minted, port = locks().mint(Kind.KEY), free_port()
        key = Token("", Kind.KEY, "crew", grants=(Grant("worker"),))
        await mint(on.engine, minted, key, Actor("figures", (Grant("admin", ANY),)))
        on.environment |= {"ROTA_TOKEN": minted.text, "ROTA_SECURITY__SECRET": token_hex(32)}
        on.environment["ROTA_OBSERVABILITY__LOG_LEVEL"] = "error"
        on.start("api", "api", "--port", str(port))
        await until("the API", lambda: _heard(port))
        return await _crowd(on, f"http://127.0.0.1:{port}", workers, schedules, every_s, running, window_s)


async def _crowd(
    on: Stage, place: str, sessions: int, schedules: int, every_s: int, running: int, window_s: int
) -> dict[str, Any]:
    on.start("scheduler", "scheduler")
    await until("a leader", on.leader)
    slots = running // sessions + (5 if schedules else 0)
    crew = _start_crew(on, place, sessions, slots)
    opened = "SELECT count(*) FROM sessions WHERE closed_at IS NULL"
    await until("all sessions", lambda: _equals(on, opened, sessions))
    await on.hold(running, every_s + window_s + 60)
    await until("all runs", lambda: _equals(on, "SELECT count(*) FROM runs WHERE state = 'running'", running))
    if schedules:
        await spread(on.engine, schedules, every_s * 1_000)
    await pause(every_s + 5)
    say(f"measuring for {window_s} s")
    found = await _measure(on, window_s, crew)
    held = "SELECT count(*) FROM runs WHERE task = 'hold' AND state = 'running' AND attempt = 1"
    check(await _equals(on, held, running), "a run of those that were running is not any more")
    check(await _equals(on, opened, sessions), "a session ended")
    check(await _equals(on, "SELECT count(*) FROM sessions", sessions), "a session was opened anew")
    await on.accounted()
    await on.leave("scheduler")
    await place_queue(on.engine, "main", "default", "pull", "figures")  # nobody is there to place what was fired last
    await on.settled()
    check(await _equals(on, "SELECT count(*) FROM runs WHERE lost > 0 OR state <> 'success'", 0), "a run was lost")
    occurrences = await on.occurrences() if schedules else 0
    await on.leave("crew")
    return {
        "sessions": sessions, "schedules": schedules, "every_s": every_s, "running": running,
        "lapsed_falsely": 0, "occurrences": occurrences, **found,
    }  # fmt: skip


async def many(sessions_: int = 1_000, running: int = 10_000) -> dict[str, Any]:
    """Ten thousand running runs."""
    return await sessions(sessions_, 0, 10, running)


def _start_crew(on: Stage, place: str, sessions: int, slots: int) -> psutil.Popen:
    command = [sys.executable, "-m", "tests.figures.crew", place, str(sessions), str(slots)]
    on.roles["crew"] = psutil.Popen(command, cwd=ROOT, env=on.environment)
    return on.roles["crew"]


async def _heard(port: int) -> bool:
    with suppress(ConnectionRefusedError):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.close()
        return True
    return False


async def _equals(on: Stage, query: str, number: int) -> bool:
    return bool(await on.one(query) == number)


async def _measure(on: Stage, window_s: int, crew: psutil.Process) -> dict[str, Any]:
    """Shares of a core in per cent, and ms from nominal times to the fire and to the start."""
    assert on.server.process
    roles: dict[str, psutil.Process] = {name: on.roles[name] for name in ("scheduler", "api") if name in on.roles}
    measured = roles | {"workers": crew, "server": psutil.Process(on.server.process.pid)}
    before, since = {name: cost(one).cpu_s for name, one in measured.items()}, on.engine.clock.now()
    await pause(window_s)
    now = on.engine.clock.now()
    shares = {
        f"{name}_cpu_percent": round((cost(one).cpu_s - before[name]) / (now - since) * 100_000, 1)
        for name, one in measured.items()
    }
    await pause(5)
    fired, lags, claims, starts = await on.sql.fetchrow(SPREAD, since, now)
    if not fired:
        return shares
    return shares | {
        "fires_per_s": round(fired / (now - since) * 1_000), "fire_p50_ms": lags[0], "fire_p99_ms": lags[1],
        "claim_p50_ms": claims[0], "claim_p99_ms": claims[1],
        "start_p50_ms": starts[0], "start_p99_ms": starts[1],
    }  # fmt: skip
