"""Killing -9 at every write, before it and after it but before its acknowledgement, loses and doubles nothing."""

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from rota.domain.records import Session, Tally, Unique
from rota.domain.run import TERMINAL, Run, State
from rota.ports.store import Store
from rota.testing.contracts.store.steps import FOREVER_MS, everything, verdicts
from tests.contract.places import UrlPlace
from tests.scenario import program_kill_at_commit as program

WRITES = 16
"""Of the whole scenario; the test that nobody is killed in keeps it true."""


@pytest.fixture
async def place(tmp_path):
    place = UrlPlace(f"sqlite:///{tmp_path}/rota.db")
    # The program begins with a file that has its tables.
    await (await place.open()).close()
    yield place
    await place.close()


async def played(url: str, number: int, side: str) -> tuple[int, list[dict[str, Any]]]:
    """How the program ended, and what it had been told before."""
    command = [sys.executable, str(Path(program.__file__)), url, str(number), side]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(60):
            said, _ = await child.communicate()
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    assert child.returncode is not None
    return child.returncode, [json.loads(line) for line in said.splitlines()]


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
        (verdict,) = verdicts(await store.commit([group]))
        assert verdict == "Applied" if before == [None] else verdict in {"Already", "Conflict"}
    assert len(await everything(store, Run)) == len(program.SUBMISSIONS)


async def test_nobody_is_killed_in_the_scenario_that_is_enumerated(place):
    code, told = await played(place.url, 0, "before")
    assert code == 0
    assert told[-1] == {"writes": WRITES}
    store = await place.open()
    await check_what_was_acknowledged(store, told)
    await check_that_all_is_whole(store)
    states = {State.SUCCESS: 5, State.FAILED: 1}
    assert await store.count(Run, "state") == states


@pytest.mark.parametrize("side", ["before", "after"])
@pytest.mark.parametrize("number", range(1, WRITES + 1))
async def test_killed_at_a_write(place, number, side):
    code, told = await played(place.url, number, side)
    assert code == -signal.SIGKILL
    store = await place.open()
    await check_what_was_acknowledged(store, told)
    await check_that_all_is_whole(store)
    await resend(store)
    await check_that_all_is_whole(store)
