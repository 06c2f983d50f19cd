"""What `rota up` and its like say: a few lines at the start, one for each run that ended, and every trouble."""

import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from shlex import quote
from typing import Any

from rota.api.views import fires_next, instant, iso, plain
from rota.cli.show import clean, clock, fail, length
from rota.domain.facts import Fact, RunsSettled, Trouble
from rota.domain.names import number_of, without_password
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.ports.store import Store
from rota.wiring import default_store, in_memory

MOST = 20
"""Ended runs of one batch that get a line of their own."""
AHEAD_MS = 3_660 * 86_400_000
FIRES = 5
QUICK_MS = 10_000
"""Slower recovery than this is told at the start."""
ENDED = ("id", "task", "state", "reason", "attempt", "ended_at", "ended_at_ms", "duration_ms", "error")


class Teller:
    """Speaks in lines, or in JSON objects of one line each. As a listener to facts it may be called by any thread, and
    never fails: nobody may come to harm because nobody reads.
    """

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self._quiet = quiet
        self._as_json = as_json
        # A worker puts its own streams in place of these, to tell which task wrote what.
        self._out, self._err = sys.stdout, sys.stderr

    def __call__(self, fact: Fact) -> None:
        """Tell of ends and of trouble."""
        try:
            if isinstance(fact, RunsSettled) and not self._quiet:
                self._print(map(_ended, fact.runs) if self._as_json else _ends(fact.runs))
            elif isinstance(fact, Trouble):
                fail(f"{fact.where}: {type(fact.error).__name__}: {fact.error}", self._err)
        except (OSError, ValueError):
            self._quiet = True

    def say(self, event: str, data: Mapping[str, Any], lines: Iterable[str]) -> None:
        """Tell of what is no fact of the engine."""
        self._print([json.dumps({"event": event, **data})] if self._as_json else lines)

    def _print(self, lines: Iterable[str]) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()


def _ended(run: Run) -> str:
    view = plain(run)
    return json.dumps({"event": "ended", **{name: view[name] for name in ENDED}})


def _ends(runs: Sequence[Run]) -> Iterator[str]:
    at = iso(time.time_ns() // 1_000_000)[11:19] + "Z"
    for run in runs[:MOST]:
        took = "-" if run.started_at is None or run.ended_at is None else length(run.ended_at - run.started_at)
        first, *_ = run.error.strip().splitlines() or [run.reason]
        why = "" if run.state in (State.SUCCESS, State.CANCELLED) else f"  {first[:200]}"
        yield clean(f"{at}  {run.state:9}  {run.task}  {took}  {run.id}{why}")
    if len(runs) > MOST:
        yield f"{at}  and {number_of(len(runs) - MOST, 'more run')} ended"


async def overview(store: Store, now: int) -> dict[str, Any]:
    """How many tasks and schedules there are, and which fire next."""
    due = [held.record for held in (await store.due(Schedule, now + AHEAD_MS, FIRES)).items]
    # What is overdue is judged by its rules as soon as somebody leads; what is told here is what comes after that.
    fires = sorted((at, one.name, one.task) for one in due for at in fires_next(one, now, 1))
    return {
        "tasks": sum((await store.count(Task, "namespace")).values()),
        "schedules": sum((await store.count(Schedule, "namespace")).values()),
        "next": [{"schedule": name, "task": task, **instant("at", at), "in_ms": at - now} for at, name, task in fires],
    }


def first_lines(data: Mapping[str, Any], lead: str | None, ttl_ms: int | None) -> Iterator[str]:
    """What runs, where the data is and what leads others there (None: ROTA_STORE), what comes next, how to stop."""
    roles = ["scheduler"] if data["scheduler"] else []
    if working := data["worker"]:
        queues, kinds = ", ".join(working["queues"]), ", ".join(working["executors"])
        roles.append(f"worker with {number_of(working['slots'], 'slot')}, queues: {queues}, executors: {kinds}")
    yield f"rota: {' and '.join(roles) or 'API'}"
    store, fires = data["store"], data["next"]
    if in_memory(store) or store == without_password(default_store()):
        lead = ""
    elif lead is None:
        # Nobody's password is printed: a terminal and a log are read by others.
        lead = "set ROTA_STORE to this, with its password" if "…" in store else f"export ROTA_STORE={quote(store)}"
    kept = "in memory: no other command sees it" if in_memory(store) else lead and f"for other commands: {lead}"
    yield f"data: {store}" + (f"  ({kept})" if kept else "")
    if ttl_ms and ttl_ms > QUICK_MS:
        yield f"a worker that vanishes is noticed after {length(ttl_ms)}; see worker.heartbeat_timeout"
    yield f"tasks: {data['tasks']}, schedules: {data['schedules']}{', next fires:' if fires else ''}"
    for one in fires:
        yield f"  {clock(one['at'])}  {clean(one['schedule'])}  (in {length(one['in_ms'])})"
    if data["api"]:
        yield f"api: {data['api']}"
    if data["login"]:
        yield f"log in (once, within the hour): {data['login']}"
    yield "stop: Ctrl-C once to let what runs finish, twice to end at once"
