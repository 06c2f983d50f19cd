"""A worker vanishes, freezes, or blocks its loop: nothing is lost, nothing counts twice."""

import asyncio
import json
import signal
from typing import Any

from rota import Rota
from rota.domain.run import Run, State
from tests.scenario.conftest import Cluster, on_each
from tests.scenario.ledger import of
from tests.scenario.tasks_ledger import blocking, held

FAST = json.dumps({"beat_ms": 300, "ttl_ms": 1_000, "grace_ms": 1_000})


def attempts(entries: list[dict[str, Any]], number: int) -> set[str]:
    return {one["run"] for one in of(entries, "start") if one["attempt"] == number}


async def runs(app: Rota, ids: list[str]) -> list[Run]:
    found = await app.engine.store.get(Run, ids)
    return [one.record for one in found if one]


async def test_runs_of_a_killed_worker_start_elsewhere_within_seconds(cluster: Cluster, app: Rota) -> None:
    """At the default times: kill -9 with ten runs in flight (I5, I7, I9; goal G5)."""
    cluster.start("scheduler")
    first = cluster.start("worker")
    gate = cluster.folder / "gate"
    handles = await held.asubmit_many([(str(gate),)] * 10)
    await cluster.ledger.until(lambda entries: len(attempts(entries, 1)) == 10)
    cluster.start("worker")
    first.kill()
    await cluster.ledger.until(lambda entries: len(attempts(entries, 2)) == 10)

    gate.touch()
    assert [await handle.aresult(30) for handle in handles] == ["done"] * 10
    ended = await runs(app, [handle.id for handle in handles])
    assert {(run.state, run.attempt, run.lost, run.tries) for run in ended} == {(State.SUCCESS, 2, 1, 1)}
    assert len(of(cluster.ledger.entries, "start")) == 20


@on_each
async def test_reports_of_a_frozen_worker_are_refused(cluster: Cluster, app: Rota) -> None:
    """SIGSTOP past the ttl, the run goes on elsewhere, SIGCONT: the zombie's report changes nothing (I8)."""
    cluster.start("scheduler")
    frozen = cluster.start("worker", 1, FAST)
    gate, again = cluster.folder / "gate", cluster.folder / "again"
    handle = await held.asubmit(str(gate))
    await cluster.ledger.until(lambda entries: len(of(entries, "start")) == 1)
    frozen.send_signal(signal.SIGSTOP)
    cluster.start("worker", 1, FAST)
    await cluster.ledger.until(lambda entries: len(of(entries, "start")) == 2)
    gate.touch()
    assert await handle.aresult(30) == "done"
    before = (await runs(app, [handle.id]))[0]
    frozen.send_signal(signal.SIGCONT)
    follow = await held.asubmit_many([(str(again),)] * 2)
    await cluster.ledger.until(lambda entries: len(attempts(entries, 1)) == 3)
    again.touch()
    assert [await one.aresult(30) for one in follow] == ["done"] * 2
    assert (await runs(app, [handle.id]))[0] == before
    assert before.attempt == 2
    pids = {one["pid"] for one in of(cluster.ledger.entries, "start") if one["run"] != handle.id}
    assert frozen.pid in pids, "the thawed worker works again, without a restart"


@on_each
async def test_code_that_blocks_the_loop_does_not_lose_the_session(cluster: Cluster, app: Rota) -> None:
    """Beats come from a thread of their own: a loop blocked for three ttls is no lost worker."""
    cluster.start("scheduler")
    cluster.start("worker", 2, FAST)
    handle = await blocking.asubmit(3.0)
    assert await handle.aresult(30) is None
    run = (await runs(app, [handle.id]))[0]
    assert (run.attempt, run.lost) == (1, 0)


async def test_a_stopped_worker_hands_back_without_burning_a_try(cluster: Cluster, app: Rota) -> None:
    """SIGTERM with work that does not end in time: it goes back, and on elsewhere (I27)."""
    cluster.start("scheduler")
    leaving = cluster.start("worker", 1, json.dumps({"drain_ms": 100}))
    gate = cluster.folder / "gate"
    handle = await held.asubmit(str(gate))
    await cluster.ledger.until(lambda entries: len(of(entries, "start")) == 1)
    leaving.terminate()
    assert await asyncio.to_thread(leaving.wait, 30) == 0
    run = (await runs(app, [handle.id]))[0]
    assert (run.state, run.tries, run.lost) == (State.PENDING, 0, 0)
    cluster.start("worker", 1)
    await cluster.ledger.until(lambda entries: len(of(entries, "start")) == 2)
    gate.touch()
    assert await handle.aresult(30) == "done"
