"""A schedule whose time zone this machine does not know stops itself alone, says so, and goes on once it is known."""

import zoneinfo

import pytest

from rota.cli.telling import overview
from rota.domain import zones
from rota.domain.errors import InvalidTrigger
from rota.domain.facts import Trouble
from rota.domain.run import Run
from rota.domain.schedule import Schedule
from rota.domain.timing import STUCK_MS, upcoming
from rota.domain.triggers import AnyOf, Cron, from_json
from rota.engine.account import STALE_MS, Accountant, report
from rota.engine.define import pause_schedule, register, resume_schedule, update_schedule
from rota.engine.explain import explain_schedule
from rota.stores import codec
from rota.testing.clock import START_AT
from tests.unit.engine.support import MINUTE

NAME = "Europe/Berlin"


def forget():
    zones.zone.cache_clear()
    zoneinfo.ZoneInfo.clear_cache()
    codec._trigger.cache_clear()


@pytest.fixture
def world(monkeypatch):
    """Takes zone data away from this process, and gives it back."""

    class World:
        def lose(self) -> None:
            def nowhere(name: str) -> zoneinfo.ZoneInfo:
                raise zoneinfo.ZoneInfoNotFoundError(name)

            monkeypatch.setattr(zones, "ZoneInfo", nowhere)
            forget()

        def find(self) -> None:
            monkeypatch.undo()
            forget()

    yield World()
    monkeypatch.undo()
    forget()


@pytest.fixture(autouse=True)
async def both(house, world):
    """Two schedules of every minute, of which one needs a zone that is gone."""
    await house.task()
    await house.schedule("a", trigger=AnyOf((Cron("* * * * *", NAME), Cron("0 * * * *"))))
    await house.schedule("b")
    world.lose()


async def fired(house):
    return sorted(run.schedule for run in await house.all(Run))


async def test_it_stops_nobody_else_and_is_told_of_once(house, engine):
    for minute in (1, 2, 3):
        await house.fire(MINUTE)
        assert await fired(house) == ["b"] * minute
    (trouble,) = house.facts.of(Trouble)
    assert "schedule main/a does not fire" in str(trouble.error)
    stuck = await house.get(Schedule, "main/a")
    assert NAME in stuck.paused
    assert stuck.next_at == START_AT + 3 * MINUTE + STUCK_MS
    assert "it does not fire" in (await explain_schedule(engine, "main/a"))[0]
    assert upcoming(stuck, START_AT, 3) == []


async def test_it_goes_on_by_its_policy_once_the_zone_is_known(house, world):
    await house.fire(MINUTE)
    world.find()
    await house.fire(STUCK_MS)
    after = await house.get(Schedule, "main/a")
    assert (after.paused, after.next_at) == ("", START_AT + 3 * MINUTE)
    assert (after.fired, after.skipped) == (1, 1)


async def test_the_account_goes_on_and_does_not_say_that_it_was_looked_at(house, engine, world):
    world.find()
    await house.fire(MINUTE)
    world.lose()
    await house.fire(MINUTE)
    accountant = Accountant(engine)
    assert await accountant.look(house.term)
    found = await report(engine)
    assert found
    assert (found.occurrences, found.until) == (2, START_AT)
    house.clock.advance(STALE_MS)
    assert await accountant.look(house.term)
    found = await report(engine)
    assert found
    assert found.said(house.clock.now()) is None
    world.find()
    assert await accountant.look(house.term)
    found = await report(engine)
    assert found
    assert found.occurrences == 1


async def test_people_pause_it_for_good_and_resume_it_only_where_the_zone_is_known(house, engine, world):
    await house.fire(MINUTE)
    with pytest.raises(InvalidTrigger, match=NAME):
        await resume_schedule(engine, "main/a", "ann")
    await pause_schedule(engine, "main/a", "why", "ann")
    world.find()
    assert await house.fire(STUCK_MS) == START_AT + 3 * MINUTE
    assert (await house.get(Schedule, "main/a")).paused == "why"


async def test_it_can_be_given_another_zone(house, engine):
    await house.fire(MINUTE)
    after = await update_schedule(engine, "main/a", {"trigger": Cron("* * * * *", "UTC")}, "ann")
    assert (after.paused, after.next_at) == ("", START_AT + 2 * MINUTE)
    await house.fire(MINUTE)
    assert await fired(house) == ["a", "b", "b"]


async def test_code_that_has_it_no_more_pauses_it(house, engine, world):
    world.find()
    task = await house.task(2)
    code = Schedule("main", "c", "task-2", Cron("* * * * *", NAME), owner=task.owner.CODE, app="shop")
    await register(engine, "shop", [], [code])
    world.lose()
    await house.fire(MINUTE)
    await register(engine, "shop", [], [], whole=True)
    assert (await house.get(Schedule, "main/c")).next_at is None


async def test_it_keeps_no_program_from_starting(house):
    """Which tells at its start what fires next."""
    told = await overview(house.store, house.clock.now())
    assert (told["schedules"], [one["schedule"] for one in told["next"]]) == (2, ["b"])


def test_what_is_given_must_name_a_zone_that_is_known():
    given = {"kind": "cron", "expression": "* * * * *", "timezone": NAME}
    with pytest.raises(InvalidTrigger, match=NAME):
        from_json(given)
    kept = from_json(given, stored=True)
    assert kept.to_json().items() >= given.items()
    with pytest.raises(InvalidTrigger, match=NAME):
        kept.after(START_AT)
    with pytest.raises(InvalidTrigger):
        from_json(given | {"timezone": 7}, stored=True)
