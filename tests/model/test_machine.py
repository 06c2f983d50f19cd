"""The store against the model; ROTA_EXAMPLES=10000 for a long night. A failure prints how to repeat it."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from rota.stores import connect
from tests.contract import planted
from tests.model.comparison import Home
from tests.model.homes import DatabaseHome, Homes, SpaceHome
from tests.model.machine import StoreMachine

EXAMPLES = int(os.environ.get("ROTA_EXAMPLES", "300"))
STEPS = 40
few = settings(max_examples=EXAMPLES // 15, stateful_step_count=STEPS, derandomize=False)
RARE = {
    "Applied", "Already", "Conflict", "Stale", "claimed", "claimed again", "led on", "died", "lost reply", "repeated",
    "unavailable",
}  # fmt: skip

BUGS = [
    planted.IgnoresVersions,
    planted.ComparesValues,
    planted.HalfGroups,
    planted.ForgetsGuards,
    planted.ForgetsPauses,
    planted.CountsAgain,
    planted.ReusesAttempts,
    planted.ServesTheClosed,
    planted.MakesEveryoneLeader,
    planted.AcknowledgesEarly,
]
quick = settings(max_examples=200, stateful_step_count=STEPS, derandomize=True, database=None, phases=[Phase.generate])


@pytest.fixture
def homes(tmp_path: Path) -> Homes:
    return Homes(tmp_path)


def machine(another: Callable[[], Home], met: Counter[str]) -> type[StoreMachine]:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(another(), met)

    return Machine


def test_the_store_does_what_the_model_does(homes):
    met = Counter[str]()
    run_state_machine_as_test(
        machine(homes.another, met),
        settings=settings(max_examples=EXAMPLES, stateful_step_count=STEPS, derandomize=False),
    )
    seldom = {what for what in RARE if met[what] < EXAMPLES / 30}
    assert not seldom, f"too seldom to prove anything: {met}"


def test_the_store_with_threads_of_its_own_does_so_too(homes):
    homes.make = connect
    run_state_machine_as_test(machine(homes.another, Counter()), settings=few)


def test_redis_does_so_too(redis):
    run_state_machine_as_test(machine(lambda: SpaceHome(redis), Counter()), settings=few)


def test_etcd_does_so_too(etcd):
    run_state_machine_as_test(machine(lambda: SpaceHome(etcd), Counter()), settings=few)


def test_postgresql_does_so_too(postgresql):
    run_state_machine_as_test(machine(lambda: DatabaseHome(postgresql), Counter()), settings=few)


@pytest.mark.parametrize("bug", BUGS)
def test_the_machine_sees_a_planted_bug(bug, homes):
    homes.wrap = bug
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(homes.another, Counter()), settings=quick)


@pytest.mark.parametrize("bug", BUGS)
def test_the_machine_sees_a_planted_bug_on_redis(bug, redis):
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(lambda: SpaceHome(redis, bug), Counter()), settings=quick)


@pytest.mark.parametrize("bug", BUGS)
def test_the_machine_sees_a_planted_bug_on_etcd(bug, etcd):
    with pytest.raises(AssertionError):
        run_state_machine_as_test(machine(lambda: SpaceHome(etcd, bug), Counter()), settings=quick)
