"""What `rota up` and its like say: a few lines at the start, one for each run that ended, and every trouble."""

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rota.cli.common import DATA, DATABASE, without_password
from rota.cli.show import clean, fail, length
from rota.cli.views import instant, iso, run_view
from rota.domain.facts import Fact, RunsSettled, Trouble
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.ports.store import Store

MOST = 20
"""Ended runs of one batch that get a line of their own."""
AHEAD_MS = 3_660 * 86_400_000
FIRES = 5
ENDED = ("id", "task", "state", "reason", "attempt", "ended_at", "ended_at_ms", "duration_ms", "error")
STOP = "stop: Ctrl-C once to let what runs finish, twice to end at once"


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
        self._print([json.dumps({"event": event} | {**data})] if self._as_json else lines)

    def _print(self, lines: Iterable[str]) -> None:
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()


def _ended(run: Run) -> str:
    view = run_view(run)
    return json.dumps({"event": "ended"} | {name: view[name] for name in ENDED})


def _ends(runs: Sequence[Run]) -> Iterator[str]:
    at = iso(time.time_ns() // 1_000_000)[11:19] + "Z"
    for run in runs[:MOST]:
        yield f"{at}  {run.state:9}  {run.task}  {_took(run)}  {run.id}{_why(run)}"
    if len(runs) > MOST:
        yield f"{at}  and {len(runs) - MOST} more runs ended"


def _took(run: Run) -> str:
    if run.started_at is None or run.ended_at is None:
        return "-"
    return length(run.ended_at - run.started_at)


def _why(run: Run) -> str:
    if run.state in (State.SUCCESS, State.CANCELLED):
        return ""
    first, *_ = run.error.strip().splitlines() or [run.reason]
    return f"  {clean(first[:200])}"


async def overview(store: Store, now: int) -> dict[str, Any]:
    """How many tasks and schedules there are, and which fire next."""
    due = (await store.due(Schedule, now + AHEAD_MS, FIRES)).items
    upcoming = [(held.record, held.record.next_at) for held in due]
    return {
        "tasks": sum((await store.count(Task, "namespace")).values()),
        "schedules": sum((await store.count(Schedule, "namespace")).values()),
        "next": [
            {"schedule": one.name, "task": one.task, **instant("at", at), "in_ms": max(at - now, 0)}
            for one, at in upcoming
            if at is not None
        ],
    }


def first_lines(data: Mapping[str, Any]) -> Iterator[str]:
    """What runs, where the data is, what comes next, how to stop."""
    roles = ["scheduler"] if data["scheduler"] else []
    if working := data["worker"]:
        queues, kinds = ", ".join(working["queues"]), ", ".join(working["executors"])
        roles.append(f"worker with {working['slots']} slots, queues: {queues}, executors: {kinds}")
    yield f"rota: {' and '.join(roles)}"
    yield f"data: {data['store']}{_how_to_find(data['store'])}"
    fires = data["next"]
    yield f"tasks: {data['tasks']}, schedules: {data['schedules']}{', next fires:' if fires else ''}"
    for one in fires:
        soon = f"in {length(one['in_ms'])}" if one["in_ms"] else "now"
        yield f"  {one['at'][:19]}Z  {clean(one['schedule'])}  ({soon})"
    yield STOP


def _how_to_find(store: str) -> str:
    """What makes other commands find the store, where they do not by themselves."""
    known = (f"sqlite:///{DATA / DATABASE}", without_password(os.environ.get("ROTA_STORE", "")))
    return "" if store in known else f"  (for other commands: export ROTA_STORE={store})"
