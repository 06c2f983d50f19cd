"""A centre that posts to its workers, as processes: by timer and by hand, in turn and by chance; one is killed, one is
not where it says, one is not of Rota at all.
"""

import hmac
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from typing import Any

import httpx
import pytest

from rota import Rota
from rota.domain.access import ANY, Grant
from rota.domain.records import Session
from rota.domain.run import Reason, Run, State
from rota.domain.schedule import Schedule
from rota.domain.triggers import Interval
from rota.engine.control import place_queue
from rota.engine.define import create_schedule
from rota.ports.store import Where
from tests.architecture.survey import ROOT
from tests.remote.net import Net, token
from tests.remote.test_processes import attempts, runs
from tests.scenario.ledger import of
from tests.scenario.tasks_ledger import held, quick
from tests.services.postgresql import free_port


class Centre:
    """A scheduler that serves the API, and who asks it."""

    def __init__(self, net: Net, port: int, admin: str) -> None:
        self.net, self.port = net, port
        self.http = httpx.Client(
            base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {admin}"}, timeout=30
        )

    def ask(self, method: str, path: str, **given: Any) -> Any:
        answer = self.http.request(method, path, **given)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def live(self) -> dict[str, str]:
        """Workers' addresses by session."""
        return {one["id"]: one["address"] for one in self.ask("GET", "/api/workers")["items"]}


@pytest.fixture
async def centre(net: Net, app: Rota) -> Any:
    _, admin = await token(app.engine, Grant("admin", ANY))
    net.scheduler()
    port = free_port()
    net.api(port)
    made = Centre(net, port, admin)
    yield made
    made.http.close()


async def silent(app: Rota, session: str) -> None:
    """Until the session is over."""
    ear = app.engine.store.watch(["sessions"])
    while (await app.engine.store.get(Session, [session]))[0].record.open:  # type: ignore[union-attr]  # it is there
        await ear.wait(1)
    ear.close()


async def test_a_centre_posts_by_timer_and_by_hand_and_goes_on_without_a_killed_worker(
    centre: Centre, net: Net, app: Rota
):
    await place_queue(app.engine, "main", "default", "round_robin", "test")
    _, key = await token(app.engine)
    workers = {one.pid: one for one in (net.worker(centre.port, key, "--listen", "127.0.0.1:0") for _ in range(3))}
    live = centre.live()
    assert len(live) == 3
    assert all(re.fullmatch(r"http://127\.0\.0\.1:\d+", url) for url in live.values())
    await create_schedule(app.engine, Schedule("main", "often", "quick", Interval(500)), "test")
    gate = net.folder / "gate"
    triggered = [
        centre.ask("POST", "/api/tasks/held/trigger", json={"payload": {"gate": str(gate)}})["id"] for _ in range(9)
    ]
    await net.ledger.until(lambda entries: len(attempts(of_task(entries, "held"), 1)) == 9)
    await net.ledger.until(lambda entries: len(of(entries, "end", "quick")) >= 6)
    assert len({one["pid"] for one in of(net.ledger.entries, "start", "quick")}) == 3, "each in turn"
    begun = await runs(app, triggered)
    counted = Counter(run.session for run in begun)
    assert {*counted} == {*live}
    victim = of(net.ledger.entries, "start", "held")[0]
    dead = next(run.session for run in begun if run.id == victim["run"])
    workers[victim["pid"]].tell(signal.SIGKILL)
    await net.ledger.until(lambda entries: len(attempts(of_task(entries, "held"), 2)) == counted[dead])
    await silent(app, dead)
    assert {*centre.live()} == {*live} - {dead}
    await place_queue(app.engine, "main", "default", "random", "test")
    gate.touch()
    more = [await quick.asubmit() for _ in range(20)]
    await ended_of(net, [*triggered, *(one.id for one in more)])
    assert [await one.aresult(30) for one in more] == [None] * 20
    for run in triggered:
        await app.client.ended(run, timeout=30)
    ended = await runs(app, triggered)
    assert {run.state for run in ended} == {State.SUCCESS}
    assert Counter(run.lost for run in ended) == {0: 9 - counted[dead], 1: counted[dead]}
    assert len(of(net.ledger.entries, "start", "held")) == 9 + counted[dead], "nothing was begun twice"
    shown = centre.ask("GET", f"/api/runs/{victim['run']}")
    assert (shown["state"], shown["attempt"], shown["result"]) == ("success", 2, "done")
    (found,) = [one for one in ended if one.id == victim["run"]]
    assert found.history[0].session == dead
    lines = centre.ask("GET", f"/api/system/logs?search=attempt 2 waits&run={found.id}")["items"]
    assert [(one["run"], one["attempt"], one["worker"]) for one in lines] == [(found.id, 2, found.worker)]


async def ended_of(net: Net, wanted: list[str]) -> None:
    await net.ledger.until(lambda entries: {one["run"] for one in of(entries, "end")} >= {*wanted})


def of_task(entries: list[dict[str, Any]], task: str) -> list[dict[str, Any]]:
    return [one for one in entries if one["task"] == task]


async def test_runs_go_to_others_where_a_url_is_wrong_and_its_worker_rests(centre: Centre, net: Net, app: Rota):
    await place_queue(app.engine, "main", "default", "round_robin", "test")
    _, key = await token(app.engine)
    wrong = f"http://127.0.0.1:{free_port()}"
    net.worker(centre.port, key, "--listen", "127.0.0.1:0", "--url", wrong)
    net.worker(centre.port, key, "--listen", "127.0.0.1:0")
    bad = next(session for session, url in centre.live().items() if url == wrong)
    handles = await quick.asubmit_many([()] * 20)
    await ended_of(net, [one.id for one in handles])
    assert [await one.aresult(30) for one in handles] == [None] * 20
    began = time.monotonic()
    more = [await quick.asubmit() for _ in range(10)]
    await ended_of(net, [one.id for one in more])
    spent_s = time.monotonic() - began
    assert [await one.aresult(30) for one in more] == [None] * 10
    found = await runs(app, [one.id for one in (*handles, *more)])
    assert bad not in {run.worker for run in found}
    back = [old for run in found for old in run.history if old.session == bad]
    assert {old.reason for old in back} == {Reason.RETURNED}
    assert {(run.state, run.tries, run.lost) for run in found} == {(State.SUCCESS, 1, 0)}
    late = [run for run in found[20:] if run.history]
    assert len(late) < 4 + spent_s, "it rests for a second and longer, and is tried by one run at a time"


@pytest.fixture
def foreign(centre: Centre) -> Iterator[list[Any]]:
    begun: list[Any] = []
    yield begun
    for one in begun:
        one.kill()
        one.communicate()


async def test_a_worker_of_another_language_takes_prints_and_calls_back(
    centre: Centre, net: Net, app: Rota, foreign: list[Any]
):
    """The example, as a user runs it."""
    await place_queue(app.engine, "main", "default", "random", "test")
    _, key = await token(app.engine)
    env = {name: value for name, value in os.environ.items() if not name.startswith("ROTA_")} | {"ROTA_TOKEN": key}
    program = [sys.executable, str(ROOT / "examples/foreign_worker.py"), f"http://127.0.0.1:{centre.port}"]
    made = subprocess.Popen(program, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    foreign.append(made)
    assert made.stdout
    assert "runs of main/default are posted to it" in made.stdout.readline()
    (session,) = centre.live()
    handles = [await held.asubmit(f"gate {number}") for number in range(6)]
    results: list[Any] = []
    for handle in handles:
        run = await app.client.ended(handle.id, timeout=30)
        assert (run.state, run.tries, run.started_at is not None) == (State.SUCCESS, 1, True)
        results.append(json.loads(await app.client.result(run) or b""))
    assert [one["said"]["gate"] for one in results] == [f"gate {number}" for number in range(6)]
    assert {one["by"] for one in results} == {session}
    lines = [made.stdout.readline() for _ in handles]
    assert all(re.match(r"held [0-9a-f]{32} attempt 1: ", line) for line in lines)
    found = [one.record for one in (await app.engine.store.find(Run, Where(task="held"))).items]
    assert {run.worker.partition("@")[0] for run in found} == {"worker"}
    address = centre.live()[session]
    letter = {"kind": "question", "to": session, "id": "again", "until": time.time_ns() // 1_000_000 + 60_000}
    for changed, status in (({}, 202), ({}, 409), ({"until": 1}, 408), ({"to": "another"}, 403)):
        assert posted(address, key, json.dumps(letter | changed)) == status
    assert posted(address, f"{key}0", json.dumps(letter)) == 401


def posted(address: str, key: str, head: str) -> int:
    """How a letter without runs, signed by a key, is answered."""
    body = b'{"v": 1, "runs": []}'
    secret = sha256(key.split("_", 3)[3].encode()).hexdigest().encode()
    signature = hmac.new(secret, head.encode() + b"\n" + body, "sha256").hexdigest()
    headers = {"Rota-Letter": head, "Rota-Signature": signature}
    return httpx.post(f"{address}/api/task/execute", content=body, headers=headers, trust_env=False).status_code
