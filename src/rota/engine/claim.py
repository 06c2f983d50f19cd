"""Claim: a session takes ready runs. Each gets an attempt, and the fence that every later write must name."""

from collections.abc import Sequence

from rota.domain.facts import RunsClaimed
from rota.domain.lane import queue_of
from rota.domain.records import Blob, Session
from rota.domain.run import End, Outcome, Reason, Run, State
from rota.domain.task import Task, revision_id
from rota.engine.engine import Engine, revision_of
from rota.engine.settle import settle
from rota.ports.desk import Assignment, Settlement, Taken
from rota.ports.store import Claimed, Versioned, Want


async def claim(engine: Engine, wants: Sequence[Want]) -> list[Taken]:
    """What each want got, with tasks and payloads; nothing of queues whose runs the leader places.

    A run whose task or payload is gone ends as failed.

    After a lost reply (`Unclear`) the runs are the session's already: its next beat shows them, see `worker/pulse.py`.
    """
    if placed := await engine.placed():
        wants = [want._replace(lanes=tuple(one for one in want.lanes if queue_of(one) not in placed)) for want in wants]
    claimed = await engine.store.claim(wants, engine.clock.now())
    taken = [await assigned(engine, one) for one in claimed]
    if runs := [item.run for one in taken for item in one.assignments]:
        engine.tell(RunsClaimed(runs))
    return taken


async def given(engine: Engine, session: str, runs: Sequence[str]) -> Taken:
    """Those of these runs that the session holds, with all that it needs to start them."""
    found = [held for held in await engine.store.get(Run, runs) if held and held.record.session == session]
    running = tuple(held for held in found if held.record.state is State.RUNNING)
    # Asked last: a session that is over by now must start nothing.
    (opened,) = await engine.store.get(Session, [session])
    is_open = opened is not None and opened.record.open
    return await assigned(engine, Claimed(running if is_open else (), False, is_open))


async def assigned(engine: Engine, claimed: Claimed) -> Taken:
    """Claimed runs with all that their worker needs; those of which something is gone are ended instead."""
    runs, assignments, broken = claimed.runs, [], []
    tasks = await engine.revisions(revision_of(held.record) for held in runs)
    payloads = await _payloads(engine, runs)
    for held in runs:
        run, task = held.record, tasks.get(revision_of(held.record))
        payload = run.payload if run.payload is not None else payloads[run.id]
        if task is not None and payload is not None:
            assignments.append(Assignment(run, task, payload, held.version))
        else:
            broken.append(_broken(held, task))
    if broken:
        await settle(engine, broken)
    # Whoever got less than was ready for it must ask again.
    return Taken(tuple(assignments), claimed.contended or bool(broken), claimed.open)


def _broken(held: Versioned[Run], task: Task | None) -> Settlement:
    """The end of a run that can never be run: damage to its data must not keep its neighbours waiting."""
    run = held.record
    gone = f"payload {run.id}/payload" if task else f"task revision {revision_id(*revision_of(run))}"
    outcome = Outcome(End.FAILURE, reason=Reason.ERROR, error=f"its {gone} is missing in the store", final=True)
    return Settlement(run.fence, outcome, held, task or Task(run.namespace, run.task))


async def _payloads(engine: Engine, runs: Sequence[Versioned[Run]]) -> dict[str, bytes | None]:
    large = [held.record.id for held in runs if held.record.payload is None]
    if not large:
        return {}
    blobs = await engine.store.get(Blob, [f"{run}/payload" for run in large])
    return {run: blob.record.data if blob else None for run, blob in zip(large, blobs, strict=True)}
