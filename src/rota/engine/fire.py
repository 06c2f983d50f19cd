"""Fire: occurrences become runs or skips, in the very commit that moves their schedule on.

An occurrence's run id is computed from schedule and nominal time, so that even a leader of the past, were its write not
refused by the term, could not make a second run of it.
"""

from collections.abc import Sequence

from rota.domain.errors import InvalidTrigger
from rota.domain.facts import SchedulesFired, Trouble
from rota.domain.ids import definition_id, occurrence_id
from rota.domain.records import INLINE_LIMIT
from rota.domain.run import TERMINAL, Cause, Run, State
from rota.domain.schedule import Overlap, Schedule
from rota.domain.states import Cancel, Submit, advance
from rota.domain.task import Task
from rota.domain.timing import FIRE_LIMIT, Fire, Plan, paused, plan, resumed, stuck
from rota.engine.engine import Engine, applied
from rota.engine.moves import move
from rota.engine.submit import Order, blobs, draft, hints
from rota.ports.store import GROUP_BYTES, Change, Conflict, Group, Hint, Result, Term, Versioned

LIMIT = 500
"""Schedules fired in one commit."""
TRIES = 5
CANCEL_LIMIT = 8
"""Runs told in the group of the newer occurrence; more only where the policy was another before, and they follow."""


async def fire(engine: Engine, term: Term) -> int | None:
    """Fire what is due; the instant of the next occurrence, None if none is known, 0 where more is due already."""
    now = engine.clock.now()
    due = await engine.store.due(Schedule, now, LIMIT)
    if not due.items:
        return due.next_at
    live = await live_runs(engine, due.items)
    tasks = await engine.existing(definition_id(one.record.namespace, one.record.task) for one in due.items)
    queues = await engine.queues({f"{task.namespace}/{task.queue}" for task in tasks.values()})
    groups: list[Group] = []
    plans: list[Plan | None] = []
    made: list[Run] = []
    for held in due.items:
        schedule = held.record
        task = tasks.get(definition_id(schedule.namespace, schedule.task))
        open_runs = live.get(schedule.id, ())
        planned = _planned(schedule, task, open_runs, now)
        if isinstance(planned, Schedule):
            groups.append(Group((Change(held, planned),)))
            plans.append(None)
            if not schedule.paused:
                engine.tell(Trouble("fire", RuntimeError(f"schedule {schedule.id} does not fire: {planned.paused}")))
        elif task:
            strict = queues[f"{task.namespace}/{task.queue}"].strict
            runs = [_run(schedule, task, one, strict, now) for one in planned.fires]
            groups.append(_group(held, planned, runs, open_runs, task, now))
            made += runs
            plans.append(planned)
    results = await engine.commit(groups, term, _hints(made, live))
    again = [_without_known(group, result) for group, result in zip(groups, results, strict=True)]
    if known := [group for group in again if group]:
        await engine.commit(known, term)
    done = [planned for planned, result in zip(plans, results, strict=True) if planned and applied(result)]
    replaced = [run for planned in done if planned.cancels for run in live[planned.schedule.id]]
    # Those that run are told in the newer one's group. Should it end here, `release` does the rest.
    await replace_runs(engine, [run for run in replaced if run.record.state is not State.RUNNING], term)
    if done:
        engine.tell(SchedulesFired([planned.schedule for planned in done]))
    # A conflict means that somebody edited the schedule meanwhile: the next look sees the new one.
    if len(due.items) == LIMIT or not all(applied(result) for result in results):
        return 0
    upcoming = [planned.schedule.next_at for planned in done if planned.schedule.next_at is not None]
    return min([*upcoming, *([due.next_at] if due.next_at is not None else [])], default=None)


def _planned(schedule: Schedule, task: Task | None, live: Sequence[Versioned[Run]], now: int) -> Plan | Schedule:
    """What is to be done with it; the schedule at rest where that cannot be known."""
    if task is None:
        return paused(schedule, f"its task {schedule.task} does not exist", now)
    try:
        awake = resumed(schedule, now, catch_up=True)[0] if schedule.stuck else schedule
        return plan(awake, now, tuple(run.record.id for run in live), _room(schedule.payload or task.payload))
    except InvalidTrigger as error:
        return stuck(schedule, error, now)


def _without_known(group: Group, result: Result) -> Group | None:
    """The group without occurrences that have their run already, as after a wall clock that was set back."""
    if not isinstance(result, Conflict):
        return None
    held, was = result.current[0], group.changes[0].was
    if held is None or was is None or held.version != was.version:
        return None
    pairs = zip(group.changes, result.current, strict=True)
    return Group(tuple(change for change, current in pairs if change.was is not None or current is None))


def _run(schedule: Schedule, task: Task, one: Fire, strict: bool, now: int) -> Run:
    order = Order(
        task=task.name,
        namespace=task.namespace,
        payload=schedule.payload,
        cause=Cause.SCHEDULE,
        schedule=schedule.name,
        nominal_at=one.nominal_at,
    )
    deadline = schedule.policy.start_deadline_ms
    drafted = draft(occurrence_id(schedule.id, one.nominal_at), order, task, now)._replace(
        gate=schedule.name if schedule.policy.overlap not in (Overlap.ALLOW, Overlap.SKIP) else "",
        start_by=one.nominal_at + deadline if deadline is not None else None,
    )
    return advance(drafted, Submit(strict, one.waits_for), now)


def _group(
    held: Versioned[Schedule], planned: Plan, runs: list[Run], live: Sequence[Versioned[Run]], task: Task, now: int
) -> Group:
    changes = [Change(held, planned.schedule)]
    for run in runs:
        changes += [Change(None, run), *blobs(run, planned.schedule.payload or task.payload, now)]
    changes += [Change(None, skip) for skip in planned.skips]
    running = [run for run in live if run.record.state is State.RUNNING and not run.record.cancel]
    for other in running[:CANCEL_LIMIT] if planned.cancels else ():
        changes.append(Change(other, advance(other.record, Cancel(f"schedule:{held.record.name}"), now)))
    return Group(tuple(changes))


async def replace_runs(engine: Engine, runs: Sequence[Versioned[Run]], term: Term) -> None:
    """Cancel those that a newer run of their schedule replaces."""
    for _ in range(TRIES):
        now = engine.clock.now()
        after = [advance(run.record, Cancel(f"schedule:{run.record.schedule}"), now) for run in runs]
        changed = await move(engine, runs, after, term)
        # One that a worker took at this moment is cancelled as a running one.
        runs = [run for run in changed if run.record.state not in TERMINAL]
        if not runs:
            break


def _room(payload: bytes) -> int:
    """How many runs with this payload one group holds."""
    if len(payload) <= INLINE_LIMIT:
        return FIRE_LIMIT
    return max(min(FIRE_LIMIT // 2, GROUP_BYTES // len(payload) - 1), 1)


def _hints(runs: list[Run], live: dict[str, tuple[Versioned[Run], ...]]) -> list[Hint]:
    told = hints(run for run in runs if run.state is not State.BLOCKED)
    if any(run.state is State.BLOCKED for run in runs):
        told.append(Hint("gate"))
        told += [Hint(f"session:{run.record.session}") for held in live.values() for run in held if run.record.session]
    return told


async def live_runs(engine: Engine, schedules: Sequence[Versioned[Schedule]]) -> dict[str, tuple[Versioned[Run], ...]]:
    """The runs that each schedule has open and that are not over, oldest first, in one read."""
    owners = {run: held.record.id for held in schedules for run in held.record.open}
    if not owners:
        return {}
    live: dict[str, tuple[Versioned[Run], ...]] = {}
    for found in await engine.store.get(Run, list(owners)):
        if found and found.record.state not in TERMINAL:
            owner = owners[found.record.id]
            live[owner] = (*live.get(owner, ()), found)
    return live
