"""Three equal processes on one Redis: any of them is killed, and the work goes on."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from redis import Redis

from rota import new
from rota.domain.records import Session
from rota.domain.run import Run
from rota.ports.store import Where
from tests.architecture.survey import ROOT

CONFIG = """
schedule:
  leader_lock_ttl: 3s
  leader_renew_interval: 1s
  scan_interval: 1s
worker:
  heartbeat_interval: 500ms
  heartbeat_timeout: 2s
  max_concurrent_tasks: 4
task:
  default_timeout: 5m
  max_retry: 3
redis:
  addr: "{addr}"
  prefix: "{prefix}"
"""


@pytest.fixture
def config(space, tmp_path):
    """Path of the configuration of a place of its own."""
    url, _, prefix = space.partition("?prefix=")
    path = tmp_path / "rota.yaml"
    path.write_text(CONFIG.format(addr=url.removeprefix("redis://").partition("/")[0], prefix=prefix))
    return path


@pytest.fixture
def pods(config):
    """Three processes, by name."""
    begun: dict[str, Any] = {}
    for name in ("pod-1", "pod-2", "pod-3"):
        begun[name] = subprocess.Popen(
            [sys.executable, "-m", "examples.pods", str(config), name], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
    for name, pod in begun.items():
        assert pod.stdout.readline() == f"{name} works\n"
    yield begun
    for pod in begun.values():
        pod.send_signal(signal.SIGTERM)
    for pod in begun.values():
        assert pod.wait(30) in (0, -signal.SIGKILL)
        pod.stdout.close()


@pytest.fixture
async def service(config):
    asking = new(config, pod="asking")
    yield asking
    await asking.aclose()


@pytest.fixture
def look(space):
    """What an operator sees of a key."""
    url, _, prefix = space.partition("?prefix=")
    with Redis.from_url(url, decode_responses=True) as client:
        yield lambda command, key: getattr(client, command)(f"{{{prefix}}}:{key}")


async def leader_of(service, but=()):
    """The pod that leads, once it is none of these."""
    store = (await service.aclient()).engine.store
    ear = store.watch(["lead"])
    async with asyncio.timeout(30):
        while True:
            holder = (await store.lead("scheduler", "asking", 0)).holder.partition(":")[0]
            if holder and holder not in but:
                ear.close()
                return holder
            await ear.wait(0.05)


async def ticked(service, after):
    """A tick that was due after an instant has run."""
    store = (await service.aclient()).engine.store
    ear = store.watch(["done"])
    async with asyncio.timeout(30):
        while True:
            found = (await store.find(Run, Where(task="tick", since=after))).items
            if any(one.record.state == "success" for one in found):
                ear.close()
                return
            await ear.wait(0.2)


async def test_three_pods_survive_the_killing_of_any(pods, service, look):
    first = await leader_of(service)
    assert look("get", "schedule:leader").startswith(f"{first}:")
    assert 0 < look("pttl", "schedule:leader") <= 3_000
    handles = [await service.asubmit("thumbnail", {"file": f"{n}.png", "seconds": 0.7}) for n in range(60)]
    pods[first].send_signal(signal.SIGKILL)
    killed = time.time_ns() // 1_000_000
    second = await leader_of(service, [first])
    await ticked(service, killed)
    (other,) = {*pods} - {first, second}
    pods[other].send_signal(signal.SIGKILL)
    more = [await service.asubmit("thumbnail", {"file": "late.png", "seconds": 0.7}) for _ in range(8)]
    results = [await handle.aresult(timeout=60) for handle in [*handles, *more]]
    assert [one["file"] for one in results] == [f"{n}.png" for n in range(60)] + ["late.png"] * 8
    assert {one["pod"] for one in results} >= {second}
    shown = [await service.ainstance(handle.id) for handle in handles]
    assert {(one["status"], one["retry_count"], one["error"]) for one in shown} == {("success", 0, "")}
    assert [one["worker"] for one in shown] == [one["pod"] for one in results[:60]]
    runs = await service.engine.store.get(Run, [handle.id for handle in handles])
    assert sum(one.record.lost for one in runs) > 0, "some were running on a pod that was killed"
    assert json.loads(look("get", f"task:result:{handles[0].id}"))["data"] == results[0]
    assert json.loads(look("get", f"task:detail:{handles[0].id}"))["state"] == "success"

    (session,) = (await service.engine.store.find(Session, Where(open=True))).items
    pool = json.loads(look("get", f"worker:pool:{session.record.id}"))
    assert {*pool} == {"id", "address", "status", "last_heartbeat", "capacity", "running_tasks"}
    assert (pool["id"].rpartition("-")[0], pool["capacity"]) == (second, 4)
    assert 0 < look("pttl", f"worker:pool:{session.record.id}") <= 2_000
