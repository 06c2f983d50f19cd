"""Submit: an order becomes a run. An acknowledged one survives anything; one key makes one run."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from hashlib import blake2b
from typing import NamedTuple

from rota.domain.errors import Invalid, Refused, Unavailable, Unclear
from rota.domain.facts import RunsSubmitted
from rota.domain.ids import definition_id
from rota.domain.lane import lane
from rota.domain.names import check_key, check_name
from rota.domain.payload import check_payload
from rota.domain.priority import priority
from rota.domain.records import INLINE_LIMIT, Blob, Unique, Until
from rota.domain.retry import Retry, check_retry
from rota.domain.run import Cause, Run, State
from rota.domain.states import Submit, advance
from rota.domain.task import Task
from rota.engine.audit import audited
from rota.engine.engine import Engine, applied
from rota.ports.store import Change, Conflict, Group, Hint, Result

KEY_MS = 86_400_000
"""How long an idempotency key is remembered."""
HORIZON_MS = 100 * 365 * 86_400_000
PAST_MS = 60_000
"""A due time so long ago means now: people write whole minutes, and a lost call is sent again."""
TRIES = 8


class Order(NamedTuple):
    """What is to be run. None, and an empty payload, mean: as the task says."""

    task: str
    namespace: str = "main"
    payload: bytes = b""
    """JSON of the arguments."""
    due_at: int | None = None
    queue: str | None = None
    priority: int | None = None
    key: str | None = None
    """Idempotency key of this actor: the same key and body again gives the same run for 24 hours."""
    unique: str | None = None
    """At most one live run of the namespace has this key; a second order gives the first one's run."""
    retry: Retry | int | None = None
    """Another policy than the task's; an int: that one with another number of retries."""
    timeout_ms: int | None = None
    """Of one attempt; 0: no limit."""
    cause: Cause = Cause.SUBMIT
    actor: str = ""
    schedule: str = ""
    nominal_at: int | None = None
    origin: str = ""
    trace: str = ""


class Receipt(NamedTuple):
    """The run of an order; `created` is False where a key led to an earlier one."""

    id: str
    created: bool


async def submit(engine: Engine, orders: Sequence[Order]) -> list[Receipt]:
    """As `submit_each`. Raises the first `Refused`, which says which order it is; all others are submitted."""
    found = await submit_each(engine, orders)
    for number, one in enumerate(found, 1):
        if isinstance(one, Refused):
            place = f"order {number} of {len(found)}: " if len(found) > 1 else ""
            raise Refused(f"{place}{one}")
    return [one for one in found if isinstance(one, Receipt)]


async def submit_each(engine: Engine, orders: Sequence[Order]) -> list[Receipt | Refused]:
    """Make runs of orders, all in a few commits; `Refused` for an idempotency key that came before with another body.

    Raises `Invalid`, `TooLarge` or `NotFound` before anything is written, `Unclear` where some may be.
    """
    now = engine.clock.now()
    runs, payloads = await _drafted(engine, orders, now)
    receipts: dict[int, Receipt | Refused | None] = {}
    pending, created = list(range(len(orders))), []
    try:
        for _ in range(TRIES):
            # Orders whose key stands earlier in the batch follow it: groups of one commit share no keys.
            batch, later = _first_of_key(orders, pending)
            groups = [keyed(engine, orders[at], runs[at], payloads[at], now) for at in batch]
            results = await engine.commit(groups, None, hints(runs[at] for at in batch))
            created += [runs[at] for at, result in zip(batch, results, strict=True) if is_made(result)]
            results += await known(engine, [orders[at] for at in later])
            for at, result in zip(batch + later, results, strict=True):
                receipts[at] = await receipt_of(engine, orders[at], runs[at], result, now)
            pending = [at for at in pending if receipts[at] is None]
            if not pending:
                break
    except Unavailable as error:
        if created:
            raise Unclear(f"submitted: {len(created)} of {len(orders)} runs; of others it is open: {error}") from error
        raise
    finally:
        if created:
            engine.tell(RunsSubmitted(created))
    unsettled = Refused("the keys of this order change hands too quickly; try again")
    return [receipts[at] or unsettled for at in range(len(orders))]


async def _drafted(engine: Engine, orders: Sequence[Order], now: int) -> tuple[list[Run], list[bytes]]:
    """The runs of orders in their first state, and their payloads.

    Orders that differ in nothing but their payload are checked and advanced once: the others are copies.
    """
    tasks = await engine.tasks({definition_id(order.namespace, order.task) for order in orders})
    names = {f"{order.namespace}/{order.queue or tasks[f'{order.namespace}/{order.task}'].queue}" for order in orders}
    queues = await engine.queues(names)
    models: dict[Order, Run] = {}
    for one in {order.payload for order in orders}:
        check_payload(one)
    runs, payloads = [], []
    for run_id, order in zip(engine.new_ids(now, len(orders)), orders, strict=True):
        task = tasks[f"{order.namespace}/{order.task}"]
        payload = order.payload or task.payload
        alike = order._replace(payload=b"") if order.payload else order
        model = models.get(alike)
        if model is None:
            drafted = draft(run_id, alike, task, now)
            model = advance(drafted, Submit(queues[f"{drafted.namespace}/{drafted.queue}"].strict), now)
            models[alike] = model
        runs.append(model._replace(id=run_id, payload=inline(payload)))
        payloads.append(payload)
    return runs, payloads


def inline(payload: bytes) -> bytes | None:
    """What of a payload stands in the run's own record."""
    return payload if len(payload) <= INLINE_LIMIT else None


def draft(run_id: str, order: Order, task: Task, now: int) -> Run:
    """The run of an order before it has a state. Raises `Invalid` or `TooLarge`."""
    _check(order, now)
    queue = order.queue or task.queue
    clocks = task.clocks
    start = order.due_at if order.due_at is not None else now
    return Run(
        id=run_id,
        namespace=task.namespace,
        task=task.name,
        revision=task.revision,
        queue=queue,
        lane=lane(task.namespace, queue, task.executor, task.requires),
        priority=task.priority if order.priority is None else order.priority,
        state=State.PENDING,
        reason="",
        detail="",
        rank=0,
        due_at=order.due_at,
        created_at=now,
        ready_at=None,
        payload=inline(order.payload or task.payload),
        cause=order.cause,
        actor=order.actor,
        schedule=order.schedule,
        nominal_at=order.nominal_at,
        origin=order.origin,
        keys=(_unique_id(order),) if order.unique else (),
        retry=_retry(order, task),
        timeout_ms=clocks.attempt_ms if order.timeout_ms is None else order.timeout_ms or None,
        queue_ms=clocks.queue_ms,
        end_by=start + clocks.total_ms if clocks.total_ms is not None else None,
        trace=order.trace,
    )


def _retry(order: Order, task: Task) -> Retry | None:
    if order.retry is None:
        return None
    return check_retry(replace(task.retry, retries=order.retry) if isinstance(order.retry, int) else order.retry)


def hints(runs: Iterable[Run]) -> list[Hint]:
    """What these new states of runs may wake: a lane, or the duty that looks at the time index."""
    counts: dict[str, int] = {}
    for run in runs:
        topic = f"lane:{run.lane}" if run.state is State.PENDING else "due"
        counts[topic] = counts.get(topic, 0) + 1
        if run.due_at is not None and topic != "due":
            counts["due"] = counts.get("due", 0) + 1
    return [Hint(topic, count) for topic, count in counts.items()]


def blobs(run: Run, payload: bytes, now: int) -> tuple[Change, ...]:
    """The record of a payload that is too large for the run's own."""
    return () if run.payload is not None else (Change(None, Blob(f"{run.id}/payload", payload, now)),)


def _check(order: Order, now: int) -> None:
    if order.queue is not None:
        check_name("queue", order.queue)
    if order.priority is not None:
        priority(order.priority)
    if order.timeout_ms is not None and order.timeout_ms < 0:
        raise Invalid("timeout", f"{order.timeout_ms} ms; it is positive, or 0 for no limit")
    if order.due_at is not None and not now - PAST_MS <= order.due_at < now + HORIZON_MS:
        late = "lies more than a minute in the past; leave the time out to run it now"
        raise Invalid("at", late if order.due_at < now else "not within the next hundred years")
    if order.key is not None:
        check_key("key", order.key)
    if order.unique is not None:
        check_key("unique", order.unique)


def _first_of_key(orders: Sequence[Order], pending: Sequence[int]) -> tuple[list[int], list[int]]:
    """Of `pending`: orders to commit at once, and those that share a key with an earlier one."""
    seen: set[str] = set()
    first, later = [], []
    for at in pending:
        order = orders[at]
        if order.key or order.unique:
            keys = {key for key in (_unique_id(order), _idempotency_id(order)) if key}
            if keys & seen:
                later.append(at)
                continue
            seen |= keys
        first.append(at)
    return first, later


def keyed(engine: Engine, order: Order, run: Run, payload: bytes, now: int) -> Group:
    """A new run with its large payload, its keys, the idempotency key first, and the audit of who asked for it."""
    changes = [Change(None, run), *blobs(run, payload, now)]
    if order.key:
        changes.append(Change(None, _idempotency(order, run.id, now)))
    if order.unique:
        changes.append(Change(None, Unique(_unique_id(order), run.id, _body(order), Until.TERMINAL)))
    if order.cause in (Cause.TRIGGER, Cause.RETRY):
        what = {"task": order.task, "origin": order.origin}
        changes.append(audited(engine, order.actor, order.cause, f"run:{run.id}", None, what))
    return Group(tuple(changes))


def is_made(result: Result) -> bool:
    """Whether an order's own run is there, by this try or an earlier one."""
    return not isinstance(result, Conflict) or result.current[0] is not None


async def known(engine: Engine, orders: Sequence[Order]) -> list[Result]:
    """For each order the conflict that it would meet: its keys as others hold them."""
    wanted = [[key for key in (_idempotency_id(order), _unique_id(order)) if key] for order in orders]
    ids = list({key for keys in wanted for key in keys})
    found = dict(zip(ids, await engine.store.get(Unique, ids), strict=True)) if ids else {}
    return [Conflict((None, *(found[key] for key in keys))) for keys in wanted]


async def receipt_of(engine: Engine, order: Order, run: Run, result: Result, now: int) -> Receipt | Refused | None:
    """Whose run an order led to, or why to none; None: try again, for no key stands in its way, or not any more."""
    if not isinstance(result, Conflict) or result.current[0] is not None:
        return Receipt(run.id, True)
    for found in result.current[1:]:
        if found is None or not isinstance(found.record, Unique):
            continue
        unique = found.record
        if unique.expires_at is not None and unique.expires_at <= now:
            await engine.commit_one(Group((Change(found, None),)))
            return None
        if unique.until is Until.INSTANT:
            if unique.body != _body(order):
                return Refused(f"idempotency key {order.key!r} came before with another body; use a new key")
        elif order.key:
            # Asked again after that run has ended, the order must lead to the same one.
            remembered = Change(None, _idempotency(order, unique.run, now))
            if not applied(await engine.commit_one(Group((remembered,)))):
                return None
        return Receipt(unique.run, False)
    return None


def _idempotency(order: Order, run: str, now: int) -> Unique:
    return Unique(_idempotency_id(order), run, _body(order), Until.INSTANT, now + KEY_MS)


def _unique_id(order: Order) -> str:
    return f"{order.namespace}/unique/{_short(order.unique)}" if order.unique else ""


def _idempotency_id(order: Order) -> str:
    return f"{order.namespace}/idempotency/{_short(order.actor)}/{_short(order.key)}" if order.key else ""


def _short(key: str) -> str:
    return blake2b(key.encode(), digest_size=16).hexdigest()


def _body(order: Order) -> str:
    # Not when: a delay counted anew by whoever repeats a lost call is the same order.
    parts = (order.task, order.queue, order.priority, order.retry, order.timeout_ms, order.unique)
    return blake2b(repr(parts).encode() + order.payload, digest_size=16).hexdigest()
