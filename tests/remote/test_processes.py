"""Remote workers as processes: whichever of the parts is killed, nothing is lost and nothing counts twice."""

import signal
from collections import Counter
from typing import Any

from rota import Rota
from rota.domain.access import Grant
from rota.domain.run import Run, State
from rota.engine import people
from rota.engine.control import place_queue
from tests.remote.net import APP, Net, token
from tests.scenario.ledger import of
from tests.scenario.tasks_ledger import held, quick
from tests.services.postgresql import free_port


def attempts(entries: list[dict[str, Any]], number: int) -> set[str]:
    return {one["run"] for one in of(entries, "start") if one["attempt"] == number}


async def runs(app: Rota, ids: list[str]) -> list[Run]:
    return [one.record for one in await app.engine.store.get(Run, ids) if one]


async def test_a_worker_without_a_store_works_and_its_runs_go_on_elsewhere_when_it_is_killed(net: Net, app: Rota):
    net.scheduler()
    port, (_, key) = free_port(), await token(app.engine)
    net.api(port)
    first = net.worker(port, key)
    gate = net.folder / "gate"
    handles = await held.asubmit_many([(str(gate),)] * 5)
    await net.ledger.until(lambda entries: len(attempts(entries, 1)) == 5)
    net.worker(port, key)
    first.tell(signal.SIGKILL)
    await net.ledger.until(lambda entries: len(attempts(entries, 2)) == 5)
    gate.touch()
    assert [await handle.aresult(30) for handle in handles] == ["done"] * 5
    ended = await runs(app, [handle.id for handle in handles])
    assert {(run.state, run.attempt, run.lost, run.tries) for run in ended} == {(State.SUCCESS, 2, 1, 1)}


async def test_the_leader_places_runs_at_workers_with_and_without_a_store_in_turn(net: Net, app: Rota):
    await place_queue(app.engine, "main", "default", "round_robin", "test")
    net.scheduler()
    port, (_, key) = free_port(), await token(app.engine)
    net.api(port)
    for _ in range(2):
        net.worker(port, key)
    net.begin("stop:", "worker", "--store", net.store, "--app", APP, "--quiet")
    gate = net.folder / "gate"
    handles = await held.asubmit_many([(str(gate),)] * 12)
    await net.ledger.until(lambda entries: len(attempts(entries, 1)) == 12)
    placed = Counter(run.session for run in await runs(app, [handle.id for handle in handles]))
    assert sorted(placed.values()) == [4, 4, 4]
    gate.touch()
    await net.ledger.until(lambda entries: len(of(entries, "end")) == 12)
    assert [await handle.aresult(30) for handle in handles] == ["done"] * 12
    ended = await runs(app, [handle.id for handle in handles])
    assert {(run.state, run.attempt, run.lost) for run in ended} == {(State.SUCCESS, 1, 0)}


async def test_a_node_that_is_killed_and_comes_back_costs_its_workers_nothing(net: Net, app: Rota):
    net.scheduler()
    port, (_, key) = free_port(), await token(app.engine)
    node = net.api(port)
    net.worker(port, key, ROTA_WORKER__HEARTBEAT_TIMEOUT="60s")
    gate = net.folder / "gate"
    before = await held.asubmit_many([(str(gate),)] * 3)
    await net.ledger.until(lambda entries: len(attempts(entries, 1)) == 3)
    node.tell(signal.SIGKILL)
    node.ended()
    gate.touch()
    await net.ledger.until(lambda entries: len(of(entries, "end")) == 3)
    after = await quick.asubmit_many([()] * 20)
    net.api(port)
    await net.ledger.until(lambda entries: len(of(entries, "end")) == 23)
    assert [await handle.aresult(30) for handle in (*before, *after)] == ["done"] * 3 + [None] * 20
    ended = await runs(app, [handle.id for handle in (*before, *after)])
    assert {(run.state, run.tries, run.lost) for run in ended} == {(State.SUCCESS, 1, 0)}
    assert len(of(net.ledger.entries, "start")) == 23


async def test_nodes_share_the_work_and_a_killed_one_takes_nothing_along(net: Net, app: Rota):
    net.scheduler()
    ports, (_, key) = [free_port(), free_port()], await token(app.engine)
    nodes = [net.api(port) for port in ports]
    for port in ports:
        net.worker(port, key, "--slots", "2")
    gate = net.folder / "gate"
    handles = await held.asubmit_many([(str(gate),)] * 4)
    await net.ledger.until(lambda entries: len({one["pid"] for one in of(entries, "start")}) == 2)
    nodes[0].tell(signal.SIGKILL)
    gate.touch()
    more = await quick.asubmit_many([()] * 10)
    await net.ledger.until(lambda entries: len({one["run"] for one in of(entries, "end")}) == 14)
    assert [await handle.aresult(60) for handle in (*handles, *more)] == ["done"] * 4 + [None] * 10
    assert {run.state for run in await runs(app, [one.id for one in (*handles, *more)])} == {State.SUCCESS}


async def test_a_worker_whose_token_is_revoked_stops_its_attempts_and_says_why(net: Net, app: Rota):
    port, (name, key) = free_port(), await token(app.engine)
    net.api(port)
    worker = net.worker(port, key)
    handle = await held.asubmit(str(net.folder / "gate"))
    await net.ledger.until(lambda entries: len(of(entries, "start")) == 1)
    await people.revoke(app.engine, name, "ann")
    code, _, err = worker.ended()
    said = err.splitlines()
    assert (code, len(said)) == (1, 1), err
    assert "does not accept this worker's token" in said[0]
    assert (await runs(app, [handle.id]))[0].state is State.RUNNING, "the scheduler takes it back"


async def test_a_worker_takes_from_the_queues_of_its_token_alone(net: Net, app: Rota):
    port, (_, key) = free_port(), await token(app.engine, Grant("worker", queue="mail"))
    net.api(port)
    refused = net.process("worker", "--scheduler", f"http://127.0.0.1:{port}", ROTA_TOKEN=key)
    code, _, err = refused.ended()
    assert (code, err.count("\n")) == (1, 1)
    assert "may not work on all of main/default" in err
    mail = net.worker(port, key, "--queue", "mail")
    handle = await quick.asubmit()
    mail.tell(signal.SIGTERM)
    assert mail.ended()[0] == 0
    assert (await runs(app, [handle.id]))[0].attempt == 0
