"""The leader vanishes or freezes: another takes over, and no occurrence is lost or doubled."""

import json
import signal
from dataclasses import replace

from rota import Rota
from rota.domain.ids import occurrence_id
from rota.domain.run import Run
from rota.domain.schedule import CatchUp, Overlap, Policy, Schedule, Skip
from rota.domain.triggers import Interval
from rota.engine.define import create_schedule, pause_schedule
from rota.ports.store import Where
from tests.scenario.conftest import Cluster, on_each
from tests.scenario.ledger import of

COUNT = 20
FAST = json.dumps({"ttl_ms": 3_000, "renew_ms": 900})


async def make(app: Rota) -> list[Schedule]:
    policy = Policy(catch_up=CatchUp.ALL, overlap=Overlap.ALLOW)
    return [
        await create_schedule(
            app.engine, Schedule("main", f"every-{n}", "quick", Interval(1_000), policy=policy), "test"
        )
        for n in range(COUNT)
    ]


async def account(app: Rota, schedules: list[Schedule]) -> None:
    """Every occurrence has its one run; none is outside the expected set (I3)."""
    for made in schedules:
        done = await pause_schedule(app.engine, made.id, "counted", "test")
        expected, moment = [], made.trigger.after(made.accounted_from)
        while moment is not None and moment <= done.cursor_at:
            expected.append(occurrence_id(made.id, moment))
            moment = made.trigger.after(moment)
        assert done.fired == len(expected) > 0
        assert all(await app.engine.store.get(Run, expected))
        assert not (await app.engine.store.find(Skip, Where(schedule=made.id))).items
        assert replace(done, open=()).skipped == 0


@on_each
async def test_another_leader_fires_on_after_a_kill(cluster: Cluster, app: Rota) -> None:
    first = cluster.start("scheduler", options=FAST)
    made = await make(app)
    cluster.start("worker", 50)
    await cluster.ledger.until(lambda entries: len(of(entries, "end")) >= 2 * COUNT)
    cluster.start("scheduler", options=FAST)
    first.kill()
    before = len(cluster.ledger.entries)
    await cluster.ledger.until(lambda entries: len(of(entries[before:], "end")) >= 4 * COUNT)
    await account(app, made)


async def test_a_leader_that_was_frozen_past_its_term_writes_nothing(cluster: Cluster, app: Rota) -> None:
    """At the default times: SIGSTOP beyond the lease with occurrences due inside the pause, a new leader meanwhile,
    SIGCONT (I1, F2).
    """
    first = cluster.start("scheduler")
    made = await make(app)
    cluster.start("worker", 50)
    await cluster.ledger.until(lambda entries: len(of(entries, "end")) >= 2 * COUNT)
    first.send_signal(signal.SIGSTOP)
    cluster.start("scheduler")
    before = len(cluster.ledger.entries)
    await cluster.ledger.until(lambda entries: len(of(entries[before:], "end")) >= 2 * COUNT)
    first.send_signal(signal.SIGCONT)
    before = len(cluster.ledger.entries)
    await cluster.ledger.until(lambda entries: len(of(entries[before:], "end")) >= 3 * COUNT)
    await account(app, made)
    starts = [(one["run"], one["attempt"]) for one in of(cluster.ledger.entries, "start")]
    assert len(starts) == len(set(starts))
