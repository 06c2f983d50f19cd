"""Control: what people do to runs, queues and workers. Each act is audited under its actor."""

from collections.abc import Collection
from contextlib import suppress
from dataclasses import replace

from rota.domain.errors import Invalid, NotFound, Refused, RotaError, TooLarge
from rota.domain.facts import RunsSettled, RunsSubmitted
from rota.domain.ids import definition_id
from rota.domain.lane import relabelled
from rota.domain.names import check_name, check_text, number_of
from rota.domain.payload import check_payload
from rota.domain.records import DISPATCH, VALUE_LIMIT, Queue, Session
from rota.domain.run import TERMINAL, Cause, Run, State
from rota.domain.schedule import Overlap, Schedule
from rota.domain.states import Cancel, Submit, advance
from rota.domain.timing import overlap
from rota.engine.audit import audited
from rota.engine.engine import Engine, applied, read, revision_of
from rota.engine.moves import ending, keys_of, wakes
from rota.engine.query import queues, run_detail
from rota.engine.submit import Order, Receipt, draft, hints, is_made, keyed, known, receipt_of, submit
from rota.ports.store import Change, Group, Hint

TRIES = 8
SLOT_LIMIT = 10_000


async def trigger(engine: Engine, order: Order, actor: str, overlap: bool = False) -> Receipt:
    """Run a task now. With `overlap` the run obeys the policy of the task's schedule of the same name."""
    order = order._replace(cause=Cause.TRIGGER, actor=actor)
    if overlap:
        if order.due_at is not None:
            raise Invalid("overlap", "a run that waits its turn has no time of its own; leave one of them out")
        return await _in_turn(engine, order)
    return (await submit(engine, [order]))[0]


async def _in_turn(engine: Engine, order: Order) -> Receipt:
    """Submit behind the schedule's open runs, as one of them. Raises `Refused` where its policy says skip."""
    check_payload(order.payload)
    name = definition_id(order.namespace, order.schedule or order.task)
    for _ in range(TRIES):
        held = await read(engine, Schedule, name, "schedule")
        schedule, now = held.record, engine.clock.now()
        if schedule.task != order.task:
            raise Refused(f"schedule {name} is of another task; trigger {order.task} without overlap")
        task = (await engine.tasks([definition_id(order.namespace, order.task)]))[f"{order.namespace}/{order.task}"]
        drafted = draft(engine.new_id(now), order._replace(schedule=schedule.name), task, now)
        earlier = await receipt_of(engine, order, drafted, (await known(engine, [order]))[0], now)
        if isinstance(earlier, Refused):
            raise earlier
        if earlier:
            return earlier
        found = await engine.store.get(Run, list(schedule.open))
        live = tuple(run.record.id for run in found if run and run.record.state not in TERMINAL)
        refusal, waits = overlap(schedule.policy, live)
        if refusal:
            raise Refused(f"run {live[-1]} of schedule {name} is not over; wait for it, or trigger without overlap")
        queue = definition_id(drafted.namespace, drafted.queue)
        strict = (await engine.queues([queue]))[queue].strict
        run = advance(drafted._replace(gate=schedule.name), Submit(strict, waits), now)
        group = keyed(engine, order, run, order.payload or task.payload, now)
        moved = Change(held, replace(schedule, open=(*live, run.id)))
        told = [Hint("gate")] if run.state is State.BLOCKED else hints([run])
        result = await engine.commit_one(Group((*group.changes, moved)), None, told)
        if is_made(result):
            engine.tell(RunsSubmitted([run]))
            for other in live if schedule.policy.overlap is Overlap.CANCEL_OTHER else ():
                with suppress(RotaError):  # the run is made all the same, and `release` cancels what is left
                    await cancel(engine, other, f"schedule:{schedule.name}")
            return Receipt(run.id, True)
    raise Refused(f"schedule {name} changes too quickly; try again")


async def cancel(engine: Engine, run_id: str, actor: str) -> str:
    """`cancelled` (absolute: no attempt will ever start) or `cancelling` (its worker is told). Raises `Refused` for a
    run that has ended otherwise, `NotFound`.
    """
    for _ in range(TRIES):
        held = await read(engine, Run, run_id, "run")
        run = held.record
        if run.state is State.CANCELLED:
            return "cancelled"
        if run.state in TERMINAL:
            raise Refused(f"run {run_id} has ended as {run.state}; nothing to cancel")
        if run.cancel:
            return "cancelling"
        after = advance(run, Cancel(actor), engine.clock.now())
        group = ending(held, after, await keys_of(engine, [held]), engine.clock.now())
        entry = audited(engine, actor, "cancel", f"run:{run_id}", run, after)
        told = wakes([held], [after])
        if applied(await engine.commit_one(group._replace(changes=(*group.changes, entry)), None, told)):
            if after.state is State.RUNNING:
                return "cancelling"
            engine.tell(RunsSettled([after]))
            return "cancelled"
    raise Refused(f"run {run_id} changes too quickly; try again")


async def retry(engine: Engine, run_id: str, actor: str, key: str | None = None) -> Receipt:
    """A new run of the same work that points back at an ended one; one for each key.

    Raises `Refused` if it is not over, `NotFound`.
    """
    run, payload, _ = await run_detail(engine, run_id)
    if run.state not in TERMINAL:
        raise Refused(f"run {run_id} is {run.state}; cancel it first, or wait")
    if run.payload is None and not payload:
        # Pruned at this moment. An order without a payload would be given the task's own.
        raise NotFound("payload", f"{run_id}/payload", "submit it anew, with its arguments")
    named = (await engine.revisions([revision_of(run)])).get(revision_of(run))
    order = Order(
        task=run.task,
        namespace=run.namespace,
        payload=payload,
        queue=run.queue,
        priority=run.priority,
        key=key and f"{run_id}/{key}",
        retry=run.retry,
        timeout_ms=None if named and run.timeout_ms == named.clocks.attempt_ms else run.timeout_ms or 0,
        cause=Cause.RETRY,
        actor=actor,
        schedule=run.schedule,
        nominal_at=run.nominal_at,
        origin=run.id,
        trace=run.trace,
    )
    return (await submit(engine, [order]))[0]


async def pause_queue(engine: Engine, namespace: str, name: str, why: str, actor: str) -> Queue:
    """Nothing of the queue is claimed any more; what runs goes on."""
    return await _queue(engine, namespace, name, actor, paused=check_text("why", why, 200) or "paused")


async def resume_queue(engine: Engine, namespace: str, name: str, actor: str) -> Queue:
    """The queue is claimed from again. Raises `NotFound` for one that has no runs and was never paused."""
    if name not in {one.queue.name for one in await queues(engine, namespace)}:
        raise NotFound("queue", name, "see `rota queues list`")
    return await _queue(engine, namespace, name, actor, paused="")


async def order_queue(engine: Engine, namespace: str, name: str, strict: bool, actor: str) -> Queue:
    """Whether higher priorities always go first (lower ones can then starve). Acts on runs that become ready later."""
    return await _queue(engine, namespace, name, actor, strict=strict)


async def place_queue(
    engine: Engine, namespace: str, name: str, dispatch: str, actor: str, first: bool = False
) -> Queue | None:
    """By which of DISPATCH its runs get to workers; `first`: unless anything was said of the queue before."""
    if dispatch not in DISPATCH:
        raise Invalid("dispatch", f"{dispatch!r} is none of {', '.join(DISPATCH)}")
    if first and (await engine.store.get(Queue, [definition_id(namespace, name)]))[0]:
        return None
    return await _queue(engine, namespace, name, actor, dispatch=dispatch)


async def _queue(engine: Engine, namespace: str, name: str, actor: str, **fields: object) -> Queue:
    check_name("namespace", namespace)
    check_name("queue", name)
    key = definition_id(namespace, name)
    for _ in range(TRIES):
        held = (await engine.store.get(Queue, [key]))[0]
        before = held.record if held else Queue(namespace, name)
        after = replace(before, **fields)  # type: ignore[arg-type]  # fields of Queue
        if held and after == before:
            return before
        after = replace(after, updated_at=engine.clock.now())
        entry = audited(engine, actor, "queue", f"queue:{key}", before, after)
        if applied(
            await engine.commit_one(Group((Change(held, after), entry)), None, [Hint(f"lane:{key}/"), Hint("queues")])
        ):
            engine.forget(key)
            return after
    raise Refused(f"queue {key} changes too quickly; try again")


async def drain(engine: Engine, session: str, actor: str) -> Session:
    """The worker finishes what it holds, takes nothing more and leaves."""
    return await _session(engine, session, actor, "drain", draining=True)


async def resize(engine: Engine, session: str, slots: int, actor: str) -> Session:
    """Change a worker's capacity while it runs."""
    return await _session(engine, session, actor, "resize", slots=check_slots(slots))


def check_slots(slots: object) -> int:
    """`slots` if a worker can have so many, else `Invalid`."""
    if isinstance(slots, int) and not isinstance(slots, bool) and 1 <= slots <= SLOT_LIMIT:
        return slots
    raise Invalid("slots", f"{slots!r:.60} is not a number between 1 and {SLOT_LIMIT}")


async def relabel(engine: Engine, session: str, labels: Collection[str], actor: str) -> Session:
    """Give a worker these labels in place of its own while it runs: what it takes follows within a beat."""
    was = (await read(engine, Session, session, "worker")).record
    if not was.takes_runs:
        raise Refused(f"worker {was.worker} takes no runs, whatever its labels")
    found = tuple(sorted({check_name("labels", one) for one in labels}))
    taken = relabelled(was.lanes, found)
    if sum(map(len, taken)) > VALUE_LIMIT:
        raise TooLarge(
            "labels", f"are too many or too long for a worker of {number_of(len(was.queues), 'queue')}; give fewer"
        )
    return await _session(engine, session, actor, "relabel", labels=found, lanes=taken)


async def _session(engine: Engine, session: str, actor: str, action: str, **fields: object) -> Session:
    for _ in range(TRIES):
        held = await read(engine, Session, session, "worker")
        if not held.record.open:
            raise Refused(f"session {session} has ended")
        after = replace(held.record, **fields)  # type: ignore[arg-type]  # fields of Session
        shown = [replace(one, lanes=()) for one in (held.record, after)]  # many, and told by the labels
        entry = audited(engine, actor, action, f"session:{session}", *shown)
        if applied(await engine.commit_one(Group((Change(held, after), entry)), None, [Hint(f"session:{session}")])):
            return after
    raise Refused(f"session {session} changes too quickly; try again")
