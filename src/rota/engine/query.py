"""Query: what people look at. Reads only; may be a little late, never wrong about what it shows."""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from rota.domain.lane import queue_of
from rota.domain.records import Blob, Load, Pulse, Queue, Session
from rota.domain.run import Run, State
from rota.engine.engine import Engine, every, read
from rota.engine.recover import open_sessions
from rota.engine.sessions import loads
from rota.ports.store import Where


class RunDetail(NamedTuple):
    """A run with its values, whatever their size."""

    run: Run
    payload: bytes
    result: bytes | None


class WorkerView(NamedTuple):
    """A worker's session as people see it."""

    session: Session
    running: int
    beat_at: int
    """When it last beat, by the store's clock; for display, as a leader judges by the counter alone."""
    silent_ms: int
    """How long that was ago where it should have beaten since, else 0."""
    load: Load | None = None
    """What it said of itself with that beat or an earlier one."""


class QueueView(NamedTuple):
    """A queue with what waits in it."""

    queue: Queue
    pending: int
    running: int


async def run_detail(engine: Engine, run_id: str) -> RunDetail:
    """One run. Raises `NotFound`."""
    run = (await read(engine, Run, run_id, "run")).record
    names = [f"{run_id}/payload", f"{run_id}/result"]
    blobs = await engine.store.get(Blob, names) if run.payload is None or run.spilled else [None, None]
    payload = run.payload if run.payload is not None else blobs[0].record.data if blobs[0] else b""
    return RunDetail(run, payload, blobs[1].record.data if blobs[1] else run.result)


async def workers(engine: Engine) -> list[WorkerView]:
    """Open sessions with what they hold."""
    return await views(engine, await open_sessions(engine))


async def views(engine: Engine, sessions: Sequence[Session]) -> list[WorkerView]:
    """Sessions, closed ones too, with what they hold."""
    held = await engine.store.count(Run, "session", Where(states=(State.RUNNING,)))
    beats = await beats_of(engine, sessions)
    said = await loads(engine, [session.id for session in sessions])
    return [
        WorkerView(session, held.get(session.id, 0), *beat, load)
        for session, beat, load in zip(sessions, beats, said, strict=True)
    ]


async def living(engine: Engine) -> list[Session]:
    """Open sessions that beat in time; those that no leader has found dead yet are not among them."""
    sessions = await open_sessions(engine)
    beats = await beats_of(engine, sessions)
    return [session for session, (_, silent_ms) in zip(sessions, beats, strict=True) if not silent_ms]


async def beats_of(engine: Engine, sessions: Sequence[Session]) -> list[tuple[int, int]]:
    """When each last beat, and how long ago that was where it should have beaten since, else 0; see `WorkerView`."""
    pulses, now = await engine.store.get(Pulse, [session.id for session in sessions]), engine.clock.now()
    times = [pulse.record.count if pulse else one.opened_at for one, pulse in zip(sessions, pulses, strict=True)]
    pairs = zip(sessions, times, strict=True)
    return [(at, now - at if one.open and now - at > one.ttl_ms else 0) for one, at in pairs]


async def queues(engine: Engine, namespace: str = "main") -> list[QueueView]:
    """Queues that have a record, or runs that are not over."""
    store, pending = engine.store.late, Counter[str]()
    # By lane, for the index of what is ready holds no queue.
    for name, number in (await store.count(Run, "lane", Where(namespace, (State.PENDING,)))).items():
        pending[queue_of(name).partition("/")[2]] += number
    running = await store.count(Run, "queue", Where(namespace=namespace, states=(State.RUNNING,)))
    known = {held.record.name: held.record for held in await every(engine, Queue, Where(namespace=namespace))}
    names = sorted({*pending, *running, *known, "default"})
    return [
        QueueView(known.get(name, Queue(namespace, name)), pending.get(name, 0), running.get(name, 0)) for name in names
    ]
