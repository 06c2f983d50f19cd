"""The tasks of the campaigns, and the program that plays every role: a nursery, which imports once and forks.

    python tasks_chaos.py FOLDER APP_NAME BUG

It reads lines of JSON on standard input, {"name", "role", "url", "seed"}, and answers {"pid", "name"}; when a child
ends, {"pid", "code"}.
"""

import asyncio
import json
import os
import random
import signal
import sys
import traceback
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from rota import Context, Retry, Rota
from rota.scheduler.options import Options as SchedulerOptions
from rota.wiring.elsewhere import behind, desk_behind, remote_worker
from rota.worker.options import Options as WorkerOptions
from tests.chaos import planted
from tests.chaos.history import boot
from tests.chaos.rig import Rig

LEASE_MS = 1_500
SCHEDULER = SchedulerOptions(ttl_ms=LEASE_MS, renew_ms=400, scan_ms=1_000, account_ms=2_000)
WORKER = WorkerOptions(
    slots=8, beat_ms=400, ttl_ms=LEASE_MS, scan_ms=1_000, report_ms=500, drain_ms=4_000, grace_ms=2_000
)
BACKOFF_MS = 300
TWICE_MORE = Retry(retries=2, delay_ms=BACKOFF_MS, rate=1.0, jitter=0.0)

rig = Rig(Path(os.environ.get("CHAOS_FOLDER", "/nonexistent"))) if "CHAOS_FOLDER" in os.environ else None
app = Rota("sqlite://", name="chaos", emit=rig.heard if rig else None)


def tell(event: str, context: Context) -> None:
    """One line in the effects ledger."""
    run = context.assignment.run
    assert rig
    rig.effects.tell(
        event=event, run=run.id, attempt=run.attempt, token=run.token, task=run.task, nominal=run.nominal_at,
        schedule=run.schedule, pid=os.getpid(), at=boot(),
    )  # fmt: skip


@app.task(name="quick", retries=0)
async def quick(context: Context, op: str, more: str = "") -> int:
    """Starts and ends."""
    tell("start", context)
    tell("end", context)
    return context.attempt


@app.task(name="slow", retries=0)
async def slow(context: Context, op: str, ms: int = 500) -> int:
    """Takes its time."""
    tell("start", context)
    await asyncio.sleep(ms / 1_000)
    tell("end", context)
    return context.attempt


@app.task(name="flaky", retries=TWICE_MORE)
async def flaky(context: Context, op: str) -> int:
    """Fails once."""
    tell("start", context)
    if not context.assignment.run.tries:
        tell("fail", context)
        raise ValueError("the first time always fails")
    tell("end", context)
    return context.attempt


@app.task(name="doomed", retries=TWICE_MORE)
async def doomed(context: Context, op: str) -> int:
    """Always fails."""
    tell("start", context)
    tell("fail", context)
    raise ValueError("always")


@app.task(name="once", retries=0, on_lost="fail")
async def once(context: Context, op: str) -> int:
    """Must not run twice."""
    tell("start", context)
    await asyncio.sleep(0.4)
    tell("end", context)
    return context.attempt


@app.task(name="poison", retries=0)
async def poison(context: Context, op: str) -> None:
    """Takes its worker with it."""
    tell("start", context)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="tick", retries=0)
async def tick(context: Context) -> int:
    """What schedules run."""
    tell("start", context)
    tell("end", context)
    return context.attempt


@app.task(name="link", retries=0)
async def link(context: Context) -> int:
    """Of a chain: each waits for the one before it, and takes longer than the time between two."""
    tell("start", context)
    await asyncio.sleep(0.3 + 1.2 * random.random())
    tell("end", context)
    return context.attempt


async def play(order: dict[str, Any]) -> None:
    """A role, until SIGTERM."""
    name = order["name"]
    assert rig
    if order["role"] == "client":
        from tests.chaos.load import live

        await live(app, rig, name, order["seed"])
        return
    scheduler, broker = order["role"] == "scheduler", order["broker"]
    working = WorkerOptions(**{**vars_of(WORKER), "name": name})
    leading = SchedulerOptions(**{**vars_of(SCHEDULER), "name": name})
    async with AsyncExitStack() as stack:
        if broker and not scheduler:
            reach = behind(broker, order["token"], rig.heard)
            await stack.enter_async_context(remote_worker(reach, app.executors(), working, rig.heard))
        else:
            begun = app.running(
                scheduler=scheduler, worker=not scheduler, scheduler_options=leading, worker_options=working
            )
            await stack.enter_async_context(begun)
        if broker and scheduler:
            await stack.enter_async_context(desk_behind(broker, app.engine))
        await asked_to_leave()


async def asked_to_leave() -> None:
    """Until SIGTERM."""
    asked = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked.set)
    await asked.wait()


def vars_of(options: Any) -> dict[str, Any]:
    return {slot: getattr(options, slot) for slot in options.__slots__}


def child(order: dict[str, Any]) -> None:
    """What follows the fork; never returns."""
    assert rig
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
        log = os.open(rig.folder / f"{order['name']}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        for number in (1, 2):
            os.dup2(log, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        rig.name, app.store = order["name"], order["url"]
        asyncio.run(play(order))
        code = 0
    except BaseException:
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def say(**what: object) -> None:
    os.write(1, json.dumps(what).encode() + b"\n")


def bury(*_: object) -> None:
    """Tell of children that have ended."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if not pid:
            return
        say(pid=pid, code=os.waitstatus_to_exitcode(status))


def main() -> None:
    """The nursery."""
    assert rig
    planted.plant(os.environ.get("CHAOS_BUG", ""), rig)
    rig.install()
    app.executors()  # imports what it needs, once
    signal.signal(signal.SIGCHLD, bury)
    say(ready=True)
    for line in sys.stdin:
        order = json.loads(line)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
        pid = os.fork()
        if pid == 0:
            child(order)
        say(pid=pid, name=order["name"])
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})


if __name__ == "__main__":
    main()
