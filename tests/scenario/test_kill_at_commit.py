"""Killing -9 at every write, before it and after it but before its acknowledgement, loses and doubles nothing."""

import json
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rota.domain.records import Session, Tally, Unique
from rota.domain.run import TERMINAL, Run, State
from rota.ports.store import APPLIED, Store
from rota.stores import connect
from rota.testing.contracts.store.steps import FOREVER_MS, everything
from tests.scenario import program_kill_at_commit as program


class Played(NamedTuple):
    """Where the clients' files are, and what each client was told; the last line is about its end."""

    folder: Path
    told: dict[int, list[dict[str, Any]]]


@pytest.fixture(scope="module", params=["before", "after"])
def played(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Played:
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, program.__file__, str(folder), request.param]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=120).stdout
    told: dict[int, list[dict[str, Any]]] = {number: [] for number in range(program.WRITES + 1)}
    for line in map(json.loads, said.splitlines()):
        told[line["client"]].append(line)
    return Played(folder, told)


@pytest.fixture
async def store(played: Played, number: int):
    store = connect(f"sqlite:///{played.folder}/{number}.db")
    await store.open()
    yield store
    await store.close()


def about(told: list[dict[str, Any]], did: str) -> list[dict[str, Any]]:
    return [one for one in told if one.get("did") == did]


async def check_what_was_acknowledged(store: Store, told: list[dict[str, Any]]) -> None:
    runs = {run.id: run for run in await everything(store, Run)}
    assert {one["run"] for one in about(told, "submitted")} <= set(runs)
    for one in about(told, "claimed"):
        run = runs[one["run"]]
        tokens = {ended.number: ended.token for ended in run.history} | {run.attempt: run.token}
        assert tokens[one["attempt"]] == one["token"]
    for one in about(told, "moved"):
        after = [later["state"] for later in about(told, "moved") if later["run"] == one["run"]]
        if one["state"] in TERMINAL:
            assert runs[one["run"]].state == one["state"] == after[-1]
        else:
            assert runs[one["run"]].tries > 0
    (lead,) = about(told, "led") or [{"number": 0}]
    assert (await store.lead("scheduler", "b", FOREVER_MS)).number >= lead["number"] + len(about(told, "resigned"))
    for session in await everything(store, Session):
        assert not (session.open and about(told, "closed"))
    assert len(await everything(store, Session)) >= len(about(told, "opened"))


async def check_that_all_is_whole(store: Store) -> None:
    runs = await everything(store, Run)
    assert len({run.id for run in runs}) == len(runs)
    keys = {unique.id: unique.run for unique in await everything(store, Unique)}
    assert keys == {key: run.id for run in runs for key in run.keys}
    for run in runs:
        assert bool(run.keys) == (run.state not in TERMINAL)
        assert (run.session == program.SESSION.id) == (run.state is State.RUNNING)
        assert (run.attempt > 0) == (run.token in program.TOKENS)
        ended = [attempt.number for attempt in run.history]
        assert ended == list(range(1, run.attempt + (run.state in {State.PENDING, State.RETRYING})))
    done = [run for run in runs if run.state in TERMINAL]
    assert sum(tally.count for tally in await everything(store, Tally)) == len(done)


async def resend(store: Store) -> None:
    """A client that knows nothing sends all its submissions again."""
    for group in program.SUBMISSIONS:
        before = await store.get(Run, [group.changes[0].now.id])
        (result,) = await store.commit([group])
        assert (result == APPLIED) == (before == [None])
    assert len(await everything(store, Run)) == len(program.SUBMISSIONS)


@pytest.mark.parametrize("number", [0])
async def test_the_client_that_lives_makes_the_writes_that_are_enumerated(played, store, number):
    *told, writes, ended = played.told[number]
    assert writes["writes"] == program.WRITES
    assert ended["ended"] == 0
    await check_what_was_acknowledged(store, told)
    await check_that_all_is_whole(store)
    assert await store.count(Run, "state") == {State.SUCCESS: 5, State.FAILED: 1}


@pytest.mark.parametrize("number", range(1, program.WRITES + 1))
async def test_killed_at_a_write(played, store, number):
    *told, ended = played.told[number]
    assert ended["ended"] == -signal.SIGKILL
    await check_what_was_acknowledged(store, told)
    await check_that_all_is_whole(store)
    await resend(store)
    await check_that_all_is_whole(store)
