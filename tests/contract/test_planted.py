"""The contract sees: each planted bug is caught by the test that is named for it, and by its own assertion."""

import inspect
from collections.abc import Callable, Iterator
from itertools import count, product
from typing import Any

import pytest

from rota.testing.contracts.store import ClusterContract
from rota.testing.faults import FaultyStore
from tests.contract import planted
from tests.contract.places import UrlPlace

CAUGHT_BY: list[tuple[type[FaultyStore], str]] = [
    (planted.IgnoresVersions, "test_a_change_from_an_old_version_changes_nothing"),
    (planted.ComparesValues, "test_a_change_from_an_old_version_changes_nothing"),
    (planted.HalfGroups, "test_a_group_with_one_conflict_happens_not_at_all"),
    (planted.AcknowledgesEarly, "test_what_one_acknowledged_all_see"),
    (planted.AcknowledgesEarly, "test_what_is_acknowledged_outlives_the_store"),
    (planted.ForgetsGuards, "test_an_older_term_writes_nothing"),
    (planted.CountsAgain, "test_a_tally_counts_what_applied_and_only_once"),
    (planted.ForgetsPauses, "test_paused_queues_are_passed_over"),
    (planted.ServesTheClosed, "test_a_session_that_is_not_open_gets_nothing"),
    (planted.ReusesAttempts, "test_attempts_rise_and_are_never_reused"),
    (planted.ClaimsInTwoSteps, "test_no_run_is_given_twice"),
    (planted.KeepsTheNumber, "test_a_term_has_one_holder_and_each_new_one_a_higher_number"),
    (planted.MakesEveryoneLeader, "test_one_of_many_contenders_leads"),
    (planted.SkipsAtPageEnds, "test_paging_neither_doubles_nor_misses_while_others_write"),
    (planted.ForgetsWhatIsNext, "test_what_is_due_comes_earliest_first_with_the_next_instant"),
    (planted.CountsInFloats, "test_every_field_can_change_and_change_back"),
    (planted.LosesTypes, "test_every_field_can_change_and_change_back"),
    (planted.LosesEveryHint, "test_a_commit_wakes_who_waits"),
]


def ways(test: Callable[..., object]) -> Iterator[dict[str, object]]:
    """Every combination of a test's parameters."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.name == "parametrize"]
    for values in product(*(mark.args[1] for mark in marks)):
        given: dict[str, object] = {}
        for mark, value in zip(marks, values, strict=True):
            names = mark.args[0]
            given |= {names: value} if isinstance(names, str) else dict(zip(names, value, strict=True))
        yield given


async def try_all(test: Callable[..., Any], urls: Iterator[str], bug: type[FaultyStore]) -> None:
    for given, url in zip(ways(test), urls, strict=False):
        place = UrlPlace(url, bug)
        try:
            stores = [await place.open() for _ in range(4)]
            fixtures = {"place": place, "store": stores[0], "stores": stores}
            wanted = fixtures.keys() & inspect.signature(test).parameters
            await test(**given, **{name: fixtures[name] for name in wanted})
        finally:
            await place.close()


@pytest.mark.parametrize(("bug", "name"), CAUGHT_BY, ids=lambda value: getattr(value, "__name__", value))
async def test_a_planted_bug_is_caught(bug, name, tmp_path):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await try_all(getattr(ClusterContract(), name), (f"sqlite:///{tmp_path}/{n}.db" for n in count()), bug)


@pytest.mark.parametrize(("bug", "name"), CAUGHT_BY, ids=lambda value: getattr(value, "__name__", value))
async def test_a_planted_bug_is_caught_on_redis(bug, name, redis):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await try_all(getattr(ClusterContract(), name), iter(redis.make, None), bug)


@pytest.mark.parametrize(("bug", "name"), CAUGHT_BY, ids=lambda value: getattr(value, "__name__", value))
async def test_a_planted_bug_is_caught_on_etcd(bug, name, etcd):
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        await try_all(getattr(ClusterContract(), name), iter(etcd.make, None), bug)
