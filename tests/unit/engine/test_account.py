"""What nobody answers for is found: an occurrence that is neither run nor skip, an attempt without a session."""

from dataclasses import replace

import pytest

from rota.domain.facts import Trouble
from rota.domain.ids import occurrence_id
from rota.domain.run import Run
from rota.domain.schedule import Occurrence, Overlap, Policy, Schedule, Skip
from rota.domain.triggers import Interval
from rota.engine import account
from rota.engine.account import Accountant, report
from rota.engine.define import delete_schedule, pause_schedule, resume_schedule, update_schedule
from rota.engine.prune import Retention, prune
from rota.engine.recover import recover
from rota.engine.sessions import leave
from rota.ports.store import Change, Group
from rota.testing.clock import START_AT
from tests.unit.engine.support import MINUTE


@pytest.fixture(autouse=True)
async def ready(house):
    await house.task()
    await house.session()


@pytest.fixture
def accountant(engine):
    return Accountant(engine)


async def whole_round(house, accountant):
    while not await accountant.look(house.term):
        pass
    return await report(house.engine)


async def lose(house, kind, name):
    (held,) = await house.store.get(kind, [name])
    await house.store.commit([Group((Change(held, None),))])


def at(minutes: int) -> int:
    return START_AT + minutes * MINUTE


async def test_where_all_is_well_it_counts_what_it_looked_for(house, accountant):
    await house.schedule()
    assert await report(house.engine) is None
    for _ in range(3):
        await house.fire(MINUTE)
    found = await whole_round(house, accountant)
    assert (found.unaccounted, found.schedules, found.occurrences) == (0, 1, 3)
    assert (found.at, found.until) == (at(3), at(3))
    assert (await whole_round(house, accountant)).occurrences == 0


async def test_a_run_that_was_lost_is_missed_until_nobody_answers_for_it(house, accountant):
    await house.schedule()
    await house.fire(MINUTE)
    await house.fire(MINUTE)
    await lose(house, Run, occurrence_id("main/s", at(1)))
    found = await whole_round(house, accountant)
    assert found.missing == (Occurrence("main/s", at(1)),)
    assert f"main/s at {at(1)}" in str(house.facts.of(Trouble)[-1].error)
    assert (await whole_round(house, Accountant(house.engine))).missing == found.missing
    await delete_schedule(house.engine, "main/s", "ann")
    assert (await whole_round(house, accountant)).unaccounted == 0


async def test_a_schedule_that_moved_on_without_firing_is_seen(house, accountant):
    made = await house.schedule()
    (held,) = await house.store.get(Schedule, [made.id])
    house.clock.advance(2 * MINUTE)
    moved = replace(held.record, cursor_at=at(2), next_at=at(3))
    await house.store.commit([Group((Change(held, moved),))])
    assert [one.nominal_at for one in (await whole_round(house, accountant)).missing] == [at(1), at(2)]


async def test_skips_account_for_their_occurrences_growing_or_closed(house, accountant):
    await house.schedule(policy=Policy(overlap=Overlap.SKIP))
    for _ in range(3):
        await house.fire(MINUTE)
    assert (await whole_round(house, accountant)).unaccounted == 0
    await house.settle(await house.claim_one())
    await house.fire(MINUTE)
    assert len(await house.all(Skip)) == 1
    assert (await whole_round(house, Accountant(house.engine))).unaccounted == 0
    await lose(house, Skip, (await house.all(Skip))[0].id)
    await house.fire(MINUTE)
    fresh = Accountant(house.engine)
    fresh._last = account.Report(0, 0)
    assert [one.nominal_at for one in (await whole_round(house, fresh)).missing] == [at(2), at(3)]


async def test_edits_pauses_and_pruning_make_no_false_alarm(house, accountant):
    await house.schedule()
    await house.fire(MINUTE)
    assert (await whole_round(house, accountant)).unaccounted == 0
    house.clock.advance(MINUTE // 2)
    await update_schedule(house.engine, "main/s", {"trigger": Interval(MINUTE // 4)}, "ann")
    await house.fire(MINUTE)
    await pause_schedule(house.engine, "main/s", "why", "ann")
    house.clock.advance(5 * MINUTE)
    assert (await whole_round(house, accountant)).unaccounted == 0
    await resume_schedule(house.engine, "main/s", "ann")
    await house.fire(MINUTE)
    for one in await house.claim(100):
        await house.settle(one)
    house.clock.advance(1)
    while await prune(house.engine, Retention(runs_ms=0), house.term):
        pass
    assert await house.all(Run) == []
    fresh = Accountant(house.engine)
    fresh._last = account.Report(0, 0)
    for one in (accountant, fresh):
        assert (await whole_round(house, one)).unaccounted == 0


async def test_what_is_lost_between_an_edit_and_the_next_look_is_found(house, accountant):
    await house.schedule()
    await house.fire(MINUTE)
    assert (await whole_round(house, accountant)).unaccounted == 0
    await update_schedule(house.engine, "main/s", {"trigger": Interval(MINUTE // 2)}, "ann")
    await house.fire(MINUTE)
    await lose(house, Run, occurrence_id("main/s", at(2)))
    assert (await whole_round(house, accountant)).missing == (Occurrence("main/s", at(2)),)


async def test_an_edit_by_a_clock_behind_the_leaders_makes_no_false_alarm(house):
    await house.schedule()
    await house.fire(2 * MINUTE)
    house.clock.jump(-MINUTE)
    await update_schedule(house.engine, "main/s", {"trigger": Interval(MINUTE // 4)}, "ann")
    await pause_schedule(house.engine, "main/s", "why", "ann")
    await resume_schedule(house.engine, "main/s", "ann", catch_up=True)
    await house.fire(MINUTE)
    assert (await whole_round(house, Accountant(house.engine))).unaccounted == 0


async def test_what_comes_faster_than_one_step_looks_is_looked_for_in_the_round(house, accountant, monkeypatch):
    monkeypatch.setattr(account, "EACH", 2)
    monkeypatch.setattr(account, "STEP", 2)
    for number in range(3):
        await house.schedule(f"s{number}", trigger=Interval(MINUTE if number else MINUTE // 5))
    for _ in range(5):
        await house.fire(MINUTE // 5)
    found = await whole_round(house, accountant)
    assert (found.schedules, found.occurrences, found.until) == (3, 7, at(1))
    assert (await whole_round(house, accountant)).occurrences == 0


async def test_a_long_backlog_is_followed_up_in_rounds(house, accountant, monkeypatch):
    monkeypatch.setattr(account, "EACH", 2)
    monkeypatch.setattr(account, "ENOUGH", 2)
    await house.schedule()
    for _ in range(5):
        await house.fire(MINUTE)
    rounds = [await whole_round(house, accountant) for _ in range(4)]
    assert [(found.occurrences, found.until) for found in rounds] == [(2, at(2)), (2, at(4)), (1, at(5)), (0, at(5))]


async def test_many_schedules_take_several_steps(house, accountant, monkeypatch):
    monkeypatch.setattr(account, "STEP", 2)
    for number in range(5):
        await house.schedule(f"s{number}")
    await house.fire(MINUTE)
    assert not await accountant.look(house.term)
    assert await report(house.engine) is None
    found = await whole_round(house, accountant)
    assert (found.schedules, found.occurrences, found.unaccounted) == (5, 5, 0)


async def test_an_attempt_without_a_session_is_found_in_the_second_round(house, engine, accountant):
    run = await house.submit()
    one = await house.claim_one()
    await leave(engine, "session-1", "gone")
    assert (await whole_round(house, accountant)).unaccounted == 0
    assert (await whole_round(house, accountant)).orphans == (one.run.fence,)
    assert run.id in str(house.facts.of(Trouble)[-1].error)
    await recover(engine, house.term)
    assert (await whole_round(house, accountant)).unaccounted == 0


def test_a_report_says_nothing_once_it_is_old_or_of_a_clock_that_was_set_back_or_far_behind():
    found = account.Report(START_AT, START_AT)
    late = account.STALE_MS
    assert [found.said(START_AT + ms) for ms in (1 - late, 0, late - 1)] == [0, 0, 0]
    assert [found.said(START_AT + ms) for ms in (-late, late)] == [None, None]
    behind = found._replace(until=START_AT - late)
    assert behind.said(START_AT) is None, "what came since is not looked at"
    lost = behind._replace(missing=(Occurrence("main/s", 1),))
    assert (lost.said(START_AT), lost.said(START_AT + late)) == (1, None)


async def test_many_vanished_sessions_at_once_do_not_hold_up_the_round(house, engine, accountant, monkeypatch):
    """They are taken back in a moment: what was lost for good is among those of the next rounds."""
    monkeypatch.setattr(account, "KEPT", 3)
    for number in range(2, 8):
        await house.session(number)
        await house.submit()
        await house.claim_one(number)
        await leave(engine, f"session-{number}", "gone")
    looks, find = [], house.store.find

    def found(kind, where, *rest):
        looks.append(where.session)
        return find(kind, where, *rest)

    monkeypatch.setattr(house.store, "find", found)
    await whole_round(house, accountant)
    assert [one for one in looks if one] == ["session-2", "session-3", "session-4"]
    assert len((await whole_round(house, accountant)).orphans) == 3
