"""Explain: why a run or a schedule is as it is, worded from the codes in its record."""

from datetime import UTC, datetime

from rota.domain.ids import definition_id
from rota.domain.records import Queue
from rota.domain.run import LOST_LIMIT, Cause, Reason, Run, State
from rota.domain.schedule import Schedule, Skip, SkipReason
from rota.engine.engine import Engine, read
from rota.engine.recover import open_sessions
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
    Reason.TOTAL_TIMEOUT: "the time for all its attempts is over",
    Reason.MISSED_START: "no worker started it in time",
    Reason.NO_HANDLER: "its worker did not know the handler; another may",
    Reason.BAD_PAYLOAD: "its arguments do not fit the function: {error}",
    Reason.BAD_RESULT: "its result cannot be kept: {error}",
    Reason.UNSTORABLE: "the store could not keep its outcome: {error}",
    Reason.SNOOZED: "it asked to be run again later",
    Reason.RETURNED: "its worker handed it back: {detail}",
    Reason.LOST: "its worker vanished: {detail}",
    Reason.POISON: f"its worker vanished {LOST_LIMIT + 1} times, the last time with it alone in a process of its own",
    Reason.CANCELLED: "{cancel} cancelled it",
}
CAUSES: dict[str, str] = {
    Cause.SUBMIT: "submitted by {actor}",
    Cause.SCHEDULE: "fired by schedule {schedule} for {nominal}",
    Cause.TRIGGER: "triggered by {actor}",
    Cause.RETRY: "asked for by {actor} as a retry of run {origin}",
    Cause.BACKFILL: "made up for {nominal} by {actor}",
}
SKIPS: dict[str, str] = {
    SkipReason.MISFIRE: "nobody was there to fire them, and catch-up does not make up for them",
    SkipReason.WINDOW: "they were older than the catch-up window",
    SkipReason.MAXIMUM: "more were missed than max_runs allows to make up for",
    SkipReason.OVERLAP: "an earlier run was not over",
    SkipReason.BUFFER_FULL: "an earlier run was not over and the buffer was full",
    SkipReason.PAUSED: "the schedule was paused",
    SkipReason.EDITED: "the schedule was edited before they were fired",
    SkipReason.MISSED_START: "their start deadline was over",
}


async def explain_run(engine: Engine, run_id: str) -> list[str]:
    """The story of a run, oldest first, one sentence a line. Raises `NotFound`."""
    run: Run = (await read(engine, Run, run_id, "run")).record
    fields = _fields(run)
    story = [f"{_at(run.created_at)} {CAUSES[run.cause].format(**fields)}, as revision {run.revision} of {run.task}"]
    for old in run.history:
        ended = _worded(old.reason, fields | {"error": _first_line(old.error), "detail": "", "worker": old.worker})
        story.append(f"{_at(old.ended_at)} attempt {old.number} on {old.worker} ended: {ended.rstrip(': ')}")
    if run.state is State.RUNNING:
        story.append(f"{_at(run.claimed_at)} attempt {run.attempt} runs: {_worded(run.reason, fields)}")
        if run.cancel:
            story.append(f"its cancel was asked by {run.cancel}; its worker is told")
    else:
        when = _at(run.ended_at or run.due_at or run.ready_at)
        story.append(f"{when} {run.state}: {_worded(run.reason, fields).rstrip(': ')}")
    return story + await _waits(engine, run)


async def _waits(engine: Engine, run: Run) -> list[str]:
    """Why a pending run is not running."""
    if run.state is not State.PENDING:
        return []
    queue = (await engine.store.get(Queue, [definition_id(run.namespace, run.queue)]))[0]
    if queue and queue.record.paused:
        return [f"it waits: queue {run.queue} is paused ({queue.record.paused})"]
    able = [session for session in await open_sessions(engine) if run.lane in session.lanes]
    if not able:
        kind, labels = run.lane.split("/")[2:]
        needs = f" with labels {labels}" if labels else ""
        return [f"it waits: no live worker takes queue {run.queue} with executor {kind}{needs}; start one"]
    before = await engine.store.count(Run, "queue", Where(namespace=run.namespace, states=(State.PENDING,)))
    slots = sum(session.slots for session in able)
    return [f"it waits in line: {before.get(run.queue, 0)} ready in {run.queue}, {slots} slots on {len(able)} workers"]


async def explain_schedule(engine: Engine, schedule_id: str, limit: int = 10) -> list[str]:
    """The state of a schedule and why its newest occurrences were skipped. Raises `NotFound`."""
    schedule: Schedule = (await read(engine, Schedule, schedule_id, "schedule")).record
    if schedule.paused:
        story = [f"it does not fire: {schedule.paused}"]
    elif schedule.next_at is None:
        story = ["it does not fire any more: its trigger has no further instants"]
    else:
        story = [f"it fires next at {_at(schedule.next_at)}"]
    story.append(f"{schedule.fired} runs fired, {schedule.skipped} occurrences skipped since it was made")
    story.append(f"every occurrence from {_at(schedule.accounted_from)} to {_at(schedule.cursor_at)} is accounted for")
    page = await engine.store.find(Skip, Where(schedule=schedule_id), "", limit)
    ranges = ([schedule.skip] if schedule.skip else []) + [held.record for held in page.items]
    return story + [_range(skip) for skip in ranges]


def _range(skip: Skip) -> str:
    why = SKIPS.get(skip.reason, skip.reason)
    if skip.count == 1:
        return f"the occurrence of {_at(skip.first_at)} was skipped: {why}"
    return f"{skip.count} occurrences from {_at(skip.first_at)} to {_at(skip.last_at)} were skipped: {why}"


def _worded(reason: str, fields: dict[str, str]) -> str:
    """A reason in words; one that is not ours, from a foreign worker, as it is."""
    return WORDS[reason].format(**fields) if reason in WORDS else reason


def _first_line(text: str) -> str:
    return next(iter(text.splitlines()), "")


def _fields(run: Run) -> dict[str, str]:
    return {
        "actor": run.actor or "a program",
        "schedule": run.schedule,
        "nominal": _at(run.nominal_at),
        "origin": run.origin,
        "detail": run.detail,
        "error": _first_line(run.error),
        "worker": run.worker,
        "cancel": run.cancel or "somebody",
    }


def _at(moment: int | None) -> str:
    if moment is None:
        return "some time"
    return datetime.fromtimestamp(moment / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
