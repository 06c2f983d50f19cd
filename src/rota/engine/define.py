"""Define: tasks and schedules come, change and go. Each act is one group with its audit."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from rota.domain.errors import Invalid, Refused
from rota.domain.facts import Trouble
from rota.domain.names import check_name, check_text
from rota.domain.payload import check_payload
from rota.domain.retry import check_retry
from rota.domain.run import LIVE, Cause, Run
from rota.domain.schedule import BUFFER_LIMIT, TIMED, Overlap, Schedule, Skip
from rota.domain.task import (
    COMMANDED,
    DEFINED,
    Isolation,
    Owner,
    Revision,
    Task,
    deployed,
    edited,
    meant,
    outdated,
    overridden,
    registered,
    reset,
    revision_id,
    version_key,
)
from rota.domain.timing import edited as schedule_edited
from rota.domain.timing import paused, resumed, started
from rota.engine.audit import audited
from rota.engine.engine import Engine, applied, every, read
from rota.ports.executor import Forms
from rota.ports.store import Change, Group, Hint, Versioned, Where

TRIES = 5
SKIPS_KEPT = 2
"""Of the growing skips of a deleted task's schedules: as many as its group has room for."""
SCHEDULE_LIMIT = 20
"""Schedules of one task."""

Retime = Callable[[Schedule, int], tuple[Schedule, tuple[Skip, ...]]]
"""A schedule changed at an instant, and the skips that this books."""
Check = Callable[[Any], object]
"""Raises where the task or schedule, as it is right before its change, may not be changed."""
Edit = Mapping[str, Any] | Callable[[Any], Mapping[str, Any]]
"""Fields and what they become, or what tells them of the task or schedule as it is right before its change."""


async def create_task(engine: Engine, task: Task, schedules: Sequence[Schedule], actor: str) -> Task:
    """A new task with its schedules, all or none. Raises `Refused` where the name is taken."""
    now = engine.clock.now()
    task = check_task(task, engine.forms)
    if len(schedules) > SCHEDULE_LIMIT:
        raise Invalid("schedules", f"{len(schedules)} schedules; a task has at most {SCHEDULE_LIMIT}")
    born = replace(task, revision=await _next_revision(engine, task), created_at=now, updated_at=now)
    changes = [Change(None, born), Change(None, Revision(born))]
    changes += [Change(None, started(check_schedule(schedule), now)) for schedule in schedules]
    changes.append(audited(engine, actor, "create", f"task:{task.id}", None, born))
    if not applied(await engine.commit_one(Group(tuple(changes)), None, [Hint("schedules"), Hint("tasks")])):
        raise Refused(f"task {task.id} or one of its schedules exists already; update it, or choose another name")
    engine.forget(task.id)
    return born


def _fields(edit: Edit, record: Task | Schedule, names: Sequence[str]) -> Mapping[str, Any]:
    changes = edit(record) if callable(edit) else edit
    for name in changes:
        if name not in names:
            raise Invalid(name, f"not a field that can be changed; choose from {', '.join(names)}")
    return changes


async def update_task(engine: Engine, task_id: str, edit: Edit, actor: str, check: Check = id) -> Task:
    """Change fields of a task; on a code-owned one they become overrides that survive deploys."""

    def change(task: Task, now: int) -> Task:
        return edited(task, _fields(edit, task, DEFINED), now)

    return await _rewrite(engine, task_id, "update", actor, change, check)


async def reset_task(engine: Engine, task_id: str, actor: str, check: Check = id) -> Task:
    """Drop all overrides: the task is as its code has it."""
    return await _rewrite(engine, task_id, "reset", actor, reset, check)


async def _rewrite(engine: Engine, task_id: str, action: str, actor: str, change: Any, check: Check) -> Task:
    for _ in range(TRIES):
        held = await read(engine, Task, task_id, "task")
        check(held.record)
        after = check_task(change(held.record, engine.clock.now()), engine.forms)
        entry = audited(engine, actor, action, f"task:{task_id}", held.record, after)
        if applied(await engine.commit_one(Group((*_task_changes(held, after), entry)), None, [Hint("tasks")])):
            engine.forget(task_id)
            return after
    raise Refused(f"task {task_id} changes too quickly; try again")


async def delete_task(engine: Engine, task_id: str, actor: str, check: Check = id) -> None:
    """The task and its schedules go; runs that exist go on, by the revision that they name."""
    for _ in range(TRIES):
        held = await read(engine, Task, task_id, "task")
        check(held.record)
        mine = await schedules_of(engine, held.record)
        # Code may have given it more than one group holds.
        await engine.commit([Group((Change(one, None),)) for one in mine[SCHEDULE_LIMIT:]])
        changes = [Change(held, None), *(Change(one, None) for one in mine[:SCHEDULE_LIMIT])]
        changes += [Change(None, one.record.skip) for one in mine[:SKIPS_KEPT] if one.record.skip]
        gone = {"task": asdict(held.record), "schedules": [one.record.name for one in mine]}
        changes.append(audited(engine, actor, "delete", f"task:{task_id}", gone, None))
        if applied(await engine.commit_one(Group(tuple(changes)), None, [Hint("schedules"), Hint("tasks")])):
            engine.forget(task_id)
            return
    raise Refused(f"task {task_id} changes too quickly; try again")


async def schedules_of(engine: Engine, task: Task) -> list[Versioned[Schedule]]:
    """The schedules of a task."""
    return await every(engine, Schedule, Where(namespace=task.namespace, task=task.name))


async def create_schedule(engine: Engine, schedule: Schedule, actor: str) -> Schedule:
    """A new schedule, accounted for from now on."""
    task = (await read(engine, Task, f"{schedule.namespace}/{schedule.task}", "task")).record
    if len(await schedules_of(engine, task)) >= SCHEDULE_LIMIT:
        raise Refused(f"task {task.id} has {SCHEDULE_LIMIT} schedules, the most there can be")
    born = started(check_schedule(schedule), engine.clock.now())
    entry = audited(engine, actor, "create", f"schedule:{schedule.id}", None, born)
    if not applied(await engine.commit_one(Group((Change(None, born), entry)), None, [Hint("schedules")])):
        raise Refused(f"schedule {schedule.id} exists already; update it, or choose another name")
    return born


async def update_schedule(engine: Engine, schedule_id: str, edit: Edit, actor: str, check: Check = id) -> Schedule:
    """Change task, trigger, payload or policy from now on; the past is never fired again."""

    def change(schedule: Schedule, now: int) -> tuple[Schedule, tuple[Skip, ...]]:
        check(schedule)
        return schedule_edited(schedule, check_schedule(overridden(schedule, _fields(edit, schedule, TIMED))), now)

    known = (await read(engine, Schedule, schedule_id, "schedule")).record
    if task := _fields(edit, known, TIMED).get("task"):
        await read(engine, Task, f"{known.namespace}/{task}", "task")
    return await _retime(engine, schedule_id, "update", actor, change)


async def reset_schedule(engine: Engine, schedule_id: str, actor: str) -> Schedule:
    """Drop all overrides: the schedule is as its code has it, from now on."""

    def change(schedule: Schedule, now: int) -> tuple[Schedule, tuple[Skip, ...]]:
        code = replace(schedule, **schedule.overrides, overrides={})
        return schedule_edited(schedule, code, now, past=True) if schedule.overrides else (schedule, ())

    return await _retime(engine, schedule_id, "reset", actor, change)


async def pause_schedule(engine: Engine, schedule_id: str, why: str, actor: str) -> Schedule:
    """Nothing of it fires until it is resumed."""
    check_text("why", why, 200)
    return await _retime(engine, schedule_id, "pause", actor, lambda one, now: (paused(one, why, now), ()))


async def resume_schedule(engine: Engine, schedule_id: str, actor: str, catch_up: bool = False) -> Schedule:
    """It fires again from now on; with `catch_up` its policy judges what passed meanwhile as missed."""
    return await _retime(
        engine, schedule_id, "resume", actor, lambda one, now: resumed(one, now, catch_up) if one.paused else (one, ())
    )


async def _retime(engine: Engine, schedule_id: str, action: str, actor: str, change: Retime) -> Schedule:
    for _ in range(TRIES):
        held = await read(engine, Schedule, schedule_id, "schedule")
        after, skips = change(held.record, engine.clock.now())
        after = await _with_open(engine, held.record, after)
        changes = [Change(held, after), *(Change(None, skip) for skip in skips)]
        changes.append(audited(engine, actor, action, f"schedule:{schedule_id}", held.record, after))
        if applied(await engine.commit_one(Group(tuple(changes)), None, [Hint("schedules")])):
            return after
    raise Refused(f"schedule {schedule_id} changes too quickly; try again")


async def _with_open(engine: Engine, before: Schedule, after: Schedule) -> Schedule:
    """The schedule after a change, with its live runs if they count from now on: `allow` kept no book of them."""
    if before.policy.overlap is not Overlap.ALLOW or after.policy.overlap is Overlap.ALLOW:
        return after
    where, own = Where(after.namespace, tuple(LIVE), schedule=after.name), (Cause.SCHEDULE, Cause.TRIGGER)
    live = [run.id for run, _ in await every(engine, Run, where, oldest=True) if run.cause in own]
    return replace(after, open=tuple(live[-BUFFER_LIMIT:]))


async def delete_schedule(engine: Engine, schedule_id: str, actor: str, check: Check = id) -> None:
    """Nothing of it fires any more; its runs go on, blocked ones are released."""
    for _ in range(TRIES):
        held = await read(engine, Schedule, schedule_id, "schedule")
        check(held.record)
        changes = [Change(held, None), audited(engine, actor, "delete", f"schedule:{schedule_id}", held.record, None)]
        if held.record.skip:
            changes.append(Change(None, held.record.skip))
        if applied(await engine.commit_one(Group(tuple(changes)), None, [Hint("gate"), Hint("schedules")])):
            return
    raise Refused(f"schedule {schedule_id} changes too quickly; try again")


async def register(
    engine: Engine, app: str, tasks: Sequence[Task], schedules: Sequence[Schedule], whole: bool = False
) -> None:
    """Make an app's code known.

    What changed is revised, what an older version says is passed over, and schedules that are gone from the code are
    paused with that reason.
    """
    for task, number in Counter(schedule.task for schedule in schedules).items():
        if number > SCHEDULE_LIMIT:
            raise Invalid("schedule", f"task {task} has {number} schedules; at most {SCHEDULE_LIMIT} are allowed")
    for _ in range(TRIES):
        groups = await _registered_tasks(engine, tasks, tell=not whole)
        groups += await _registered_schedules(engine, app, schedules)
        if whole:
            groups += await _gone(engine, app, [*tasks, *schedules])
        if all(applied(result) for result in await engine.commit(groups, None, [Hint("schedules")])):
            break
    else:
        raise Refused(f"the definitions of {app} change too quickly; start again")
    for known in tasks:
        engine.forget(known.id)


async def _registered_tasks(engine: Engine, tasks: Sequence[Task], tell: bool) -> list[Group]:
    groups, now = [], engine.clock.now()
    known = await engine.store.get(Task, [task.id for task in tasks])
    newer = {one.record.version for task, one in zip(tasks, known, strict=True) if one and outdated(one.record, task)}
    if newer and tell:
        said = f"this is version {tasks[0].version or '(none)'}, the store knows {max(newer, key=version_key)}"
        engine.tell(Trouble("register", Refused(f"{said} of app {tasks[0].app}; what is older changes nothing there")))
    for task, held in zip(tasks, known, strict=True):
        after = registered(held.record if held else None, check_task(task, engine.forms), now)
        if held and after == held.record:
            continue
        if held is None:
            after = replace(after, revision=await _next_revision(engine, task))
        entry = audited(engine, f"app:{task.app}", "register", f"task:{task.id}", held and held.record, after)
        groups.append(Group((*_task_changes(held, after), entry)))
    return groups


async def _registered_schedules(engine: Engine, app: str, schedules: Sequence[Schedule]) -> list[Group]:
    now, actor = engine.clock.now(), f"app:{app}"
    found = await engine.store.get(Schedule, [schedule.id for schedule in schedules])
    groups = []
    for wanted, held in zip(schedules, found, strict=True):
        check_schedule(wanted)
        after, skips = _deployed(held.record, wanted, now) if held else (started(wanted, now, past=True), _NONE)
        after = await _with_open(engine, held.record, after) if held else after
        if held and after == held.record:
            continue
        entry = audited(engine, actor, "register", f"schedule:{wanted.id}", held and held.record, after)
        groups.append(Group((Change(held, after), *(Change(None, skip) for skip in skips), entry)))
    return groups


_NONE: tuple[Skip, ...] = ()
GONE = "gone from the code of "


def _deployed(known: Schedule, code: Schedule, now: int) -> tuple[Schedule, tuple[Skip, ...]]:
    """A schedule after its app's code was deployed again; overridden fields stay, remembering the code's value."""
    if known.owner is Owner.PEOPLE or outdated(known, code):
        return known, _NONE
    wanted, skips = deployed(known, code, TIMED), _NONE
    if any(getattr(wanted, name) != getattr(known, name) for name in TIMED):
        wanted, skips = schedule_edited(known, wanted, now, past=True)
    if wanted.paused.startswith(GONE):
        wanted, more = resumed(wanted, now)
        skips = (*skips, *more)
    return wanted, skips


async def _gone(engine: Engine, app: str, code: Sequence[Task | Schedule]) -> list[Group]:
    """Groups that pause the app's schedules that its code no longer has."""
    groups, now, kept = [], engine.clock.now(), {one.id for one in code if isinstance(one, Schedule)}
    spaces = {one.namespace for one in code}
    versions = {(one.app, one.version): one for one in code}.values()
    why = f"{GONE}{app} {code[0].version if code else ''}".rstrip()
    for held in await every(engine, Schedule):
        known = held.record
        mine = known.owner is Owner.CODE and known.app == app and (known.namespace in spaces or not spaces)
        fires = known.stuck or not known.paused
        if mine and known.id not in kept and fires and not any(outdated(known, one) for one in versions):
            after = paused(known, why, now)
            entry = audited(engine, f"app:{app}", "pause", f"schedule:{known.id}", known, after)
            groups.append(Group((Change(held, after), entry)))
    return groups


def _task_changes(held: Versioned[Task] | None, after: Task) -> list[Change]:
    changes = [Change(held, after)]
    if held is None or held.record.revision != after.revision:
        changes.append(Change(None, Revision(after)))
    return changes


async def _next_revision(engine: Engine, task: Task) -> int:
    """1, or one above those that a deleted task of the same name left for its runs."""
    if (await engine.store.get(Revision, [revision_id(task.id, 1)]))[0] is None:
        return 1
    found = await every(engine, Revision, Where(prefix=f"{task.id}@"))
    return max((held.record.task.revision for held in found), default=1) + 1


def check_task(task: Task, forms: Forms | None = None) -> Task:
    """The task as it is meant, if it can be kept and run. Raises `Invalid` or `TooLarge` with the field."""
    task = meant(task)
    for name in ("namespace", "name", "executor", "queue"):
        check_name(name, getattr(task, name))
    for label in task.requires:
        check_name("requires", label)
    check_text("command", task.command, 32_000)
    check_text("description", task.description)
    check_text("task_type", task.task_type, 200)
    check_payload(task.payload)
    check_retry(task.retry)
    for name in ("queue_ms", "attempt_ms", "total_ms", "silence_ms"):
        value = getattr(task.clocks, name)
        if value is not None and value <= 0:
            raise Invalid("timeout", f"{name} is {value}; a clock is positive, or left out for no limit")
    if task.executor != "python":
        if not task.command and task.executor in COMMANDED:
            raise Invalid("command", f"is missing; a task of executor {task.executor} needs one")
        if task.isolation is not Isolation.AUTO:
            raise Invalid("isolation", f"is for python tasks; leave it out for executor {task.executor}")
    if forms and task.executor in forms:
        forms[task.executor](task)
    return task


def check_schedule(schedule: Schedule) -> Schedule:
    """The schedule if it can be kept. Raises `Invalid` with the field."""
    check_name("namespace", schedule.namespace)
    check_name("schedule", schedule.name)
    check_name("task", schedule.task)
    policy = schedule.policy
    if policy.window_ms < 0 or policy.max_runs < 1 or policy.misfire_ms < 0:
        raise Invalid("policy", "window and misfire time are not negative, max_runs is at least 1")
    if policy.start_deadline_ms is not None and policy.start_deadline_ms <= 0:
        raise Invalid("start_deadline", "it is positive, or left out for no limit")
    check_payload(schedule.payload)
    return schedule
