"""Claim: a session takes ready runs. Each gets an attempt, and the fence that every later write must name."""

from collections.abc import Sequence

from rota.domain.facts import RunsClaimed
from rota.domain.records import Blob
from rota.domain.run import Run
from rota.engine.engine import Engine
from rota.ports.desk import Assignment, Taken
from rota.ports.store import Claimed, Versioned, Want


async def claim(engine: Engine, wants: Sequence[Want]) -> list[Taken]:
    """What each want got, with tasks and payloads.

    After a lost reply (`Unclear`) the runs are the session's already: its next beat shows them, see `worker/pulse.py`.
    """
    claimed = await engine.store.claim(wants, engine.clock.now())
    taken = [await assigned(engine, one) for one in claimed]
    if engine.emit:
        runs = [item.run for one in taken for item in one.assignments]
        if runs:
            engine.emit(RunsClaimed(runs))
    return taken


async def assigned(engine: Engine, claimed: Claimed) -> Taken:
    """Claimed runs with all that their worker needs."""
    runs = claimed.runs
    tasks = await engine.revisions(
        (f"{held.record.namespace}/{held.record.task}", held.record.revision) for held in runs
    )
    payloads = await _payloads(engine, runs)
    assignments = tuple(
        Assignment(
            held.record,
            tasks[f"{held.record.namespace}/{held.record.task}", held.record.revision],
            held.record.payload if held.record.payload is not None else payloads[held.record.id],
            held.version,
        )
        for held in runs
    )
    return Taken(assignments, claimed.contended, claimed.open)


async def _payloads(engine: Engine, runs: Sequence[Versioned[Run]]) -> dict[str, bytes]:
    large = [held.record.id for held in runs if held.record.payload is None]
    if not large:
        return {}
    blobs = await engine.store.get(Blob, [f"{run}/payload" for run in large])
    return {run: blob.record.data if blob else b"" for run, blob in zip(large, blobs, strict=True)}
