"""Explain: why a run or a schedule is as it is, worded from the codes in its record."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from itertools import groupby
from typing import Any

from rota.domain.ids import definition_id
from rota.domain.records import Audit, Session
from rota.domain.run import LOST_LIMIT, TERMINAL, Attempt, Cause, Reason, Run, State
from rota.domain.schedule import Schedule, Skip, SkipReason
from rota.engine.account import report
from rota.engine.engine import PAGE, Engine, read
from rota.engine.query import beats_of, living
from rota.ports.store import Where

WORDS: dict[str, str] = {
    Reason.SUBMITTED: "it was submitted and is ready",
    Reason.DELAYED: "it was submitted for later",
    Reason.DUE: "its time has come and it is ready",
    Reason.OVERLAP: "an earlier run of its schedule is not over: {detail}",
    Reason.RELEASED: "what it waited for is over",
    Reason.CLAIMED: "worker {worker} took it",
    Reason.DONE: "it ended with success",
    Reason.ERROR: "it failed: {error}",
    Reason.TIMEOUT: "its attempt took too long: {error}",
    Reason.SILENT: "its attempt showed no progress for too long: {error}",
    Reason.TOTAL_TIMEOUT: "its total timeout, for all attempts together, was over at {end_by}",
    Reason.MISSED_START: "no worker started it in time",
    Reason.NO_HANDLER: "its worker {worker} lacks what it names: {detail}",
    Reason.BAD_PAYLOAD: "its arguments do not fit the function: {error}",
    Reason.BAD_RESULT: "its result cannot be kept: {error}",
    Reason.UNSTORABLE: "the store could not keep its outcome: {error}",
    Reason.SNOOZED: "it asked to be run again later",
    Reason.RETURNED: "its worker handed it back: {detail}",
    Reason.LOST: "its worker vanished: {detail}",
    Reason.POISON: f"its worker vanished {LOST_LIMIT} times, and its last try, alone in a process, was lost: {{error}}",
    Reason.CANCELLED: "{cancel} cancelled it",
}
CAUSES: dict[str, str] = {
    Cause.SUBMIT: "submitted by {actor}",
    Cause.SCHEDULE: "fired by schedule {schedule} for {nominal}",
    Cause.TRIGGER: "triggered by {actor}",
    Cause.RETRY: "asked for by {actor} as a retry of run {origin}",
}
SKIPS: dict[str, str] = {
    SkipReason.MISFIRE: "nobody was there to fire at the time, and catch-up does not make up for it",
    SkipReason.WINDOW: "the catch-up window was over",
    SkipReason.MAXIMUM: "more were missed than max_runs allows to make up for",
    SkipReason.OVERLAP: "an earlier run was not over",
    SkipReason.BUFFER_FULL: "an earlier run was not over and the buffer was full",
    SkipReason.PAUSED: "the schedule was paused",
    SkipReason.EDITED: "the schedule was edited before",
    SkipReason.MISSED_START: "the start deadline was over",
}


async def explain_run(engine: Engine, run_id: str) -> list[str]:
    """The story of a run, oldest first, one sentence a line. Raises `NotFound`."""
    run = (await read(engine, Run, run_id, "run")).record
    fields = _fields(run)
    story = [f"{_at(run.created_at)} {CAUSES[run.cause].format(**fields)}, as revision {run.revision} of {run.task}"]
    for _, alike in groupby(run.history, key=lambda old: (old.worker, old.reason, old.error)):
        story.append(_ended(list(alike), fields))
    ended = bool(run.history) and run.history[-1].number == run.attempt  # and the run after it, without another one
    if run.worker and run.state in (State.RUNNING, *TERMINAL) and run.claimed_at and not ended:
        began = f", which started it at {_at(run.started_at)}" if run.started_at else ""
        story.append(f"{_at(run.claimed_at)} worker {run.worker} took it as attempt {run.attempt}{began}")
    if run.state is State.RUNNING:
        story.append(f"it runs{f': {run.progress}' if run.progress else ''}{await _silent(engine, run)}")
        if run.cancel:
            asked = await _last(engine, f"run:{run.id}", "cancel") or f" by {run.cancel}"
            story.append(f"its cancel was asked{asked}; its worker is told")
    else:
        story.append(f"{_at(_since(run))} {run.state}: {_worded(run.reason, fields).rstrip(': ')}")
    return story + await _waits(engine, run)


async def _silent(engine: Engine, run: Run) -> str:
    sessions = [held.record for held in await engine.store.get(Session, [run.session]) if held]
    for _, silent_ms in await beats_of(engine, sessions):
        if silent_ms:
            said = f"its worker has been silent for {silent_ms // 1_000} s"
            return f"; {said}: if it is dead, a scheduler takes the run back"
    return ""


def _since(run: Run) -> int | None:
    """When it came into its state; of what waits for its time, that time."""
    if run.state is State.PENDING and run.history:
        return max(run.ready_at or 0, run.history[-1].ended_at)
    return run.ended_at or (run.ready_at if run.state is State.PENDING else run.due_at or run.ready_at)


def _ended(attempts: list[Attempt], fields: dict[str, Any]) -> str:
    """Attempts in a row that ended alike."""
    first, old = attempts[0], attempts[-1]
    numbers = f"attempt {old.number}" if first is old else f"attempts {first.number} to {old.number}"
    ended = _worded(old.reason, fields | {"error": _first_line(old.error), "detail": "", "worker": old.worker})
    return f"{_at(old.ended_at)} {numbers} on {old.worker} ended: {ended.rstrip(': ')}"


async def _waits(engine: Engine, run: Run) -> list[str]:
    """Why a pending run is not running, as far as it and others of its task have shown."""
    if run.state is not State.PENDING:
        return []
    line = await engine.store.find(Run, Where(run.namespace, (State.PENDING,), queue=run.queue), "", PAGE, oldest=True)
    others = [other for other, _ in line.items if other.lane == run.lane]
    if why := await hindered(engine, run, others):
        return [f"it waits: {why}".removesuffix(f": {run.detail}")]
    able = [session for session in await living(engine) if run.lane in session.lanes]
    before = sum((other.rank, other.id) < (run.rank, run.id) for other in others)
    more = "at least " if line.cursor else ""
    slots, alive = sum(session.slots for session in able), len(able)
    placed = (await engine.placed()).get(definition_id(run.namespace, run.queue))
    by = f", among which the leader chooses by {placed.dispatch}" if placed else ""
    return [f"it waits in line: {more}{before} before it in queue {run.queue}; slots: {slots}, workers: {alive}{by}"]


async def hindered(engine: Engine, run: Run, others: Iterable[Run]) -> str:
    """Why nobody takes a run, once it is ready, as far as it and others that wait have shown; empty if nothing has."""
    queue = (await engine.queues([definition_id(run.namespace, run.queue)])).popitem()[1]
    if queue.paused:
        since = await _last(engine, f"queue:{queue.id}", "queue", "paused")
        return f"queue {run.queue} was paused{since}: {queue.paused}"
    sessions = await living(engine)
    alike = [run, *(other for other in others if (other.task, other.lane) == (run.task, run.lane))]
    return next((why for one in alike if (why := unable(one, sessions))), "")


def untaken(lane: str, sessions: Sequence[Session]) -> str:
    """Why nobody takes the runs of a lane; empty if one of these live workers does."""
    if any(lane in session.lanes for session in sessions):
        return ""
    queue, kind, labels = lane.split("/", 3)[1:]
    needs = f" with labels {labels}" if labels else ""
    return f"no live worker takes queue {queue} with executor {kind}{needs}; start one"


def unable(run: Run, sessions: Sequence[Session]) -> str:
    """Why none of these live workers can take a pending run; empty if one can, or has not tried."""
    if nobody := untaken(run.lane, sessions):
        return nobody
    able = [session for session in sessions if run.lane in session.lanes]
    lacking = {old.session for old in run.history if old.reason == Reason.NO_HANDLER}
    if not lacking.issuperset(session.id for session in able):
        return ""
    names = ", ".join(sorted({session.worker for session in able}))
    return f"no live worker of queue {run.queue} ({names}) can run task {run.task}: {run.detail}"


async def explain_schedule(engine: Engine, schedule_id: str, limit: int = 10) -> list[str]:
    """The state of a schedule and why its newest occurrences were skipped. Raises `NotFound`."""
    schedule = (await read(engine, Schedule, schedule_id, "schedule")).record
    if schedule.stuck:
        story = [f"it does not fire: {schedule.paused}; it is tried again at {_at(schedule.next_at)}"]
    elif schedule.paused:
        since = await _last(engine, f"schedule:{schedule_id}", "pause")
        story = [f"it does not fire, it was paused{since}: {schedule.paused}"]
    elif schedule.next_at is None:
        story = ["it does not fire any more: its trigger has no further instants"]
    else:
        story = [f"it fires next at {_at(schedule.next_at)}"]
    story.append(f"since it was made: runs fired: {schedule.fired}, occurrences skipped: {schedule.skipped}")
    story.append(f"every occurrence from {_at(schedule.accounted_from)} to {_at(schedule.cursor_at)} is accounted for")
    page = await engine.store.find(Skip, Where(schedule=schedule_id), "", limit)
    found = await report(engine)
    missing = [one.nominal_at for one in found.missing if one.schedule == schedule_id] if found else []
    story += [f"the occurrence of {_at(one)} is neither run nor skipped: please report this fault" for one in missing]
    ranges = ([schedule.skip] if schedule.skip else []) + [held.record for held in page.items]
    return story + [_range(skip) for skip in ranges]


async def _last(engine: Engine, target: str, action: str, field: str = "") -> str:
    """By whom and when that was done last, as far as the newest entries of the audit tell."""
    entries = [held.record for held in (await engine.store.find(Audit, Where(), "", PAGE)).items]
    found = (one for one in entries if (one.target, one.action) == (target, action) and field in one.after)
    return next((f" by {one.actor} at {_at(one.at)}" for one in found), "")


def _range(skip: Skip) -> str:
    why = SKIPS.get(skip.reason, skip.reason)
    if skip.count == 1:
        return f"the occurrence of {_at(skip.first_at)} was skipped: {why}"
    return f"{skip.count} occurrences from {_at(skip.first_at)} to {_at(skip.last_at)} were skipped: {why}"


def _worded(reason: str, fields: dict[str, Any]) -> str:
    """A reason in words; one that is not ours, from a foreign worker, as it is."""
    return WORDS[reason].format(**fields) if reason in WORDS else reason


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def _fields(run: Run) -> dict[str, Any]:
    return run._asdict() | {
        "actor": run.actor or "a program",
        "nominal": _at(run.nominal_at),
        "error": _first_line(run.error),
        "cancel": run.cancel or "somebody",
        "end_by": _at(run.end_by),
    }


def _at(moment: int | None) -> str:
    if moment is None:
        return "some time"
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
