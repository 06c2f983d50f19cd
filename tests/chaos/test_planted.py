"""The campaign sees: bugs planted into its processes are caught. These are the fast ones; `make chaos-planted` runs
all of them.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from inspect import signature
from pathlib import Path
from typing import Any

import pytest

from rota import Rota, wiring
from rota.domain.facts import Fact, LeaderChanged, Trouble
from rota.stores import connect
from rota.worker.capture import Capture
from tests.chaos import planted
from tests.chaos.campaign import Campaign
from tests.chaos.checkers import INVARIANTS, violations
from tests.chaos.nemesis import KINDS
from tests.chaos.planted import BUGS
from tests.chaos.rig import Rig

FAST = (
    "renewed without a look at the holder",
    "acknowledged before it is written",
    "cancel as a message",
    "key checked outside of the commit",
)


SEEDS = (1, 2, 3)
"""A campaign is a search of some seconds, and a busy machine does less in them: it looks again before it has missed."""


def caught(name: str, folder: Path, seed: int) -> bool:
    bug = BUGS[name]
    folder.mkdir(parents=True)
    history = asyncio.run(Campaign(folder, f"sqlite:///{folder}/rota.db", seed, bug.ms, bug.kinds, name).run())
    return bool(bug.caught_by & violations(history).keys())


def missed(name: str, folder: Path) -> bool:
    return not any(caught(name, folder / str(seed), seed) for seed in SEEDS)


def test_planted_bugs_are_caught(tmp_path: Path) -> None:
    """Two at a time: each campaign mostly waits."""
    with ThreadPoolExecutor(2) as pool:
        going = {name: pool.submit(missed, name, tmp_path / str(number)) for number, name in enumerate(FAST)}
    assert [name for name, one in going.items() if one.result()] == []


def test_bugs_name_invariants_and_faults_that_there_are():
    for bug in BUGS.values():
        assert bug.caught_by <= INVARIANTS.keys()
        assert set(bug.kinds) <= KINDS.keys()


def test_for_each_invariant_there_is_a_bug_that_breaks_it():
    assert frozenset().union(*(bug.caught_by for bug in BUGS.values())) == INVARIANTS.keys()


@pytest.mark.parametrize("name", BUGS)
async def test_a_cluster_starts_with_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bug that crashes whom it is planted into would be caught by anything."""

    def put(owner: Any, attribute: str, value: Any) -> None:
        signature(value).bind(*signature(getattr(owner, attribute)).parameters)
        monkeypatch.setattr(owner, attribute, value)

    troubles, leading = [], asyncio.Event()

    def heard(fact: Fact) -> None:
        if isinstance(fact, Trouble):
            troubles.append(fact)
        elif isinstance(fact, LeaderChanged):
            leading.set()

    monkeypatch.setattr(planted, "put", put)
    planted.plant(name, rig := Rig(tmp_path))
    monkeypatch.setattr(wiring, "connect", lambda url: rig.wrap(connect(url)))
    app = Rota(f"sqlite:///{tmp_path}/rota.db", name="planted", emit=heard)
    greeted = asyncio.Event()

    @app.task
    async def greet() -> None:
        greeted.set()

    async with app.running():
        await leading.wait()
        await asyncio.gather(*(greet.asubmit() for _ in range(6)))
        await greeted.wait()
    while Capture._users:  # who leaves by a bug has not put the streams back
        Capture.stop()
    assert troubles == []
