"""The chain over the audit: what is sealed cannot be changed or removed unseen, whatever the order of its coming."""

import asyncio
import contextlib
from dataclasses import replace

import pytest

from rota.domain.access import ANY, Grant
from rota.domain.errors import Refused, Stale, Unavailable
from rota.domain.people import User
from rota.domain.records import Audit, Seal
from rota.engine import people, seal
from rota.engine.engine import every
from rota.engine.prune import Retention, prune
from rota.engine.seal import verify
from rota.ports.store import Change, Group
from rota.testing.clock import START_AT
from rota.testing.faults import LOST_REPLY, REPEATED, UNAVAILABLE, at
from tests.identity.support import ROOT

DAY = 86_400_000
SHORT = Retention(audit_ms=DAY)


async def written(house, count=3, when=START_AT):
    """Entries of one millisecond."""
    entries = [Audit(house.engine.new_id(when), when, "ann", "pause", f"queue:{n}") for n in range(count)]
    await house.store.commit([Group((Change(None, one),)) for one in entries])
    return entries


async def sealed(house):
    while await seal.seal(house.engine, house.term):
        pass


async def changed(house, record, now):
    (held,) = await house.store.get(type(record), [record.id])
    await house.store.commit([Group((Change(held, now),))])


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(seal, "STEP", 4)


class TestSealing:
    async def test_everything_is_sealed_once_in_batches(self, house):
        await written(house, 10)
        await sealed(house)
        found = await verify(house.engine)
        assert (found.entries, found.seals, found.open, found.faults) == (10, 3, 0, ())
        assert found.head.startswith("3:")
        named = [name for one in await house.all(Seal) for name in one.entries]
        assert sorted(named) == sorted(one.id for one in await house.all(Audit))

    async def test_of_a_long_chain_no_more_than_a_few_seals_are_held_at_once(self, house, monkeypatch):
        await written(house, 400)
        await sealed(house)
        pages, find = [], house.store.find

        async def noted(*args):
            page = await find(*args)
            pages.append(len(page.items))
            return page

        monkeypatch.setattr(house.store, "find", noted)
        assert (await verify(house.engine)).seals == 100
        assert pages == [20, 20, 20, 20, 20]

    async def test_a_late_entry_is_sealed_by_the_next_seal(self, house):
        await written(house, 3, START_AT + 1_000)
        await sealed(house)
        (late,) = await written(house, 1, START_AT - DAY)
        await sealed(house)
        assert [late.id in one.entries for one in await house.all(Seal)] == [False, True]
        assert (await verify(house.engine)).faults == ()

    async def test_nothing_new_makes_no_seal_and_one_cheap_look(self, house):
        await written(house)
        await sealed(house)
        house.store.calls.clear()
        await sealed(house)
        assert [call.verb for call in house.store.calls if call.verb == "commit"] == []
        assert len(await house.all(Seal)) == 1

    @pytest.mark.parametrize("fault", [UNAVAILABLE, LOST_REPLY, REPEATED], ids=lambda fault: fault.name)
    @pytest.mark.parametrize("number", [1, 2, 3, 4, 5, 6])
    async def test_a_fault_anywhere_leaves_nothing_sealed_twice(self, house, number, fault):
        await written(house, 9)
        house.store.plan = at(len(house.store.calls) + number, fault)
        for _ in range(2):
            with contextlib.suppress(Unavailable):
                await sealed(house)
        await written(house, 2, START_AT - 5)
        await sealed(house)
        found = await verify(house.engine)
        assert (found.entries, found.open, found.faults) == (11, 0, ())

    async def test_who_leads_no_more_seals_nothing(self, house):
        await written(house)
        old = house.term
        await house.lead()
        with pytest.raises(Stale):
            await seal.seal(house.engine, old)
        assert await house.all(Seal) == []

    async def test_a_step_back_of_the_clock_keeps_the_order(self, house):
        for _ in range(3):
            await written(house, 2)
            await sealed(house)
            house.clock.jump(-5_000)
        found = await house.all(Seal)
        assert [one.id for one in found] == [f"{n:012d}" for n in (1, 2, 3)]
        assert (await verify(house.engine)).faults == ()


class TestTampering:
    @pytest.fixture
    async def entries(self, house):
        await written(house, 10)
        await sealed(house)
        return [name for one in await house.all(Seal) for name in one.entries]

    @pytest.mark.parametrize("field", ["at", "actor", "action", "target", "before", "after", "origin"])
    async def test_a_changed_entry_is_found(self, house, entries, field):
        new = 5 if field == "at" else "other"
        entry = await house.get(Audit, entries[5])
        await changed(house, entry, replace(entry, **{field: new}))
        (fault,) = (await verify(house.engine)).faults
        assert fault == "seal 2: one of its 4 entries was changed"

    async def test_a_removed_entry_is_found(self, house, entries):
        await changed(house, await house.get(Audit, entries[0]), None)
        (fault,) = (await verify(house.engine)).faults
        assert fault == f"seal 1: 1 entry of it removed, first {entries[0]}"

    @pytest.mark.parametrize(("gone", "says"), [(0, "seal 2"), (1, "seal 3")])
    async def test_a_removed_seal_is_found(self, house, entries, gone, says):
        await changed(house, (await house.all(Seal))[gone], None)
        faults = (await verify(house.engine)).faults
        assert faults[0].startswith(f"{says} does not follow")
        assert "no seal names 4 entries marked" in faults[-1]

    async def test_a_newest_seal_removed_with_its_mark_is_found_by_the_marks_of_its_entries(self, house, entries):
        await changed(house, (await house.all(Seal))[-1], None)
        assert "no seal names 2 entries marked as sealed" in (await verify(house.engine)).faults[0]

    async def test_a_changed_seal_is_found(self, house, entries):
        one = (await house.all(Seal))[1]
        await changed(house, one, replace(one, entries=one.entries[1:], root="0" * 64))
        faults = (await verify(house.engine)).faults
        assert "seal 2 was changed" in faults

    async def test_a_seal_emptied_in_the_middle_is_found(self, house, entries):
        one = (await house.all(Seal))[1]
        await changed(house, one, replace(one, entries=()))
        assert "seal 2: one of its 0 entries was changed" in (await verify(house.engine)).faults

    async def test_an_entry_put_in_as_if_sealed_is_found(self, house, entries):
        forged = Audit("f" * 32, START_AT, "ann", "delete", "x", sealed_at=START_AT)
        await house.store.commit([Group((Change(None, forged),))])
        assert "no seal names 1 entry marked as sealed" in (await verify(house.engine)).faults[0]


class TestPruning:
    async def pruned(self, house):
        while await prune(house.engine, SHORT, house.term):
            assert (await verify(house.engine)).faults == ()

    async def test_the_chain_begins_later_and_is_whole(self, house):
        for _ in range(6):
            await written(house, 3, house.clock.now())
            await sealed(house)
            house.clock.advance(DAY // 4)
        await self.pruned(house)
        found = await verify(house.engine)
        assert found.faults == ()
        assert found.begins_at == START_AT + DAY // 4
        assert found.entries == len(await house.all(Audit)) == 12
        await self.pruned(house)
        house.clock.advance(10 * DAY)
        await self.pruned(house)
        assert await house.all(Audit) == []
        assert [one.entries for one in await house.all(Seal)] == [()]
        await written(house, 2, house.clock.now())
        await sealed(house)
        found = await verify(house.engine)
        assert (found.entries, found.faults, found.head.partition(":")[0]) == (2, (), "7")

    async def test_what_is_not_sealed_is_not_pruned(self, house):
        await written(house)
        house.clock.advance(10 * DAY)
        await self.pruned(house)
        assert len(await house.all(Audit)) == 3

    async def test_entries_of_a_wrong_clock_go_with_their_seal(self, house):
        await written(house, 2, START_AT + 900 * DAY)
        await written(house, 2, 5)
        await sealed(house)
        house.clock.advance(DAY - 1)
        await self.pruned(house)
        assert len(await house.all(Audit)) == 4
        house.clock.advance(2)
        await self.pruned(house)
        assert await house.all(Audit) == []

    @pytest.mark.parametrize("number", [1, 2, 3, 4])
    async def test_a_crash_anywhere_leaves_the_chain_whole(self, house, number):
        for _ in range(4):
            await written(house, 3, house.clock.now())
            await sealed(house)
            house.clock.advance(1)
        house.clock.advance(2 * DAY)
        house.store.plan = at(len(house.store.calls) + number, UNAVAILABLE)
        with contextlib.suppress(Unavailable):
            await self.pruned(house)
        assert (await verify(house.engine)).faults == ()
        await self.pruned(house)
        assert await house.all(Audit) == []

    async def test_what_is_sealed_or_pruned_during_a_look_is_no_fault(self, house):
        for _ in range(3):
            await written(house, 2)
            await sealed(house)
        await written(house, 4, START_AT + DAY)
        get, looks = house.store.get, []

        async def meanwhile(kind, ids):
            looks.append(kind)
            if looks == [Audit]:
                house.clock.advance(DAY + 1_000)
                await sealed(house)
                await self.pruned(house)
            return await get(kind, ids)

        house.store.get = meanwhile
        assert (await verify(house.engine)).faults == ()
        assert len(await house.all(Audit)) == 4, "or nothing was pruned"

    async def test_the_oldest_seals_gone_without_an_anchor_are_found(self, house):
        for _ in range(3):
            await written(house, 2)
            await sealed(house)
        first = (await house.all(Seal))[0]
        for name in first.entries:
            (held,) = await house.store.get(Audit, [name])
            await changed(house, held.record, None)
        await changed(house, first, None)
        assert (await verify(house.engine)).faults[0].startswith("seal 2 does not follow")


class TestPeople:
    async def test_two_admins_cannot_remove_each_other_at_once(self, house, engine):
        other = house.another()
        for name in ("ann", "bob"):
            await people.add_user(engine, User(name, (Grant("admin", ANY),)), ROOT)
        gone = await asyncio.gather(
            people.change_user(engine, "ann", ROOT, disabled=True),
            people.change_user(other, "bob", ROOT, disabled=True),
            return_exceptions=True,
        )
        assert [type(one) for one in gone].count(Refused) == 1
        assert len([one for one in await every(engine, User) if not one.record.disabled]) == 1

    async def test_every_change_is_audited_without_secrets(self, house, engine):
        await people.add_user(engine, User("ann", (Grant("admin", ANY),), "$argon2id$x"), ROOT)
        await people.change_user(engine, "ann", ROOT, password="$argon2id$y")
        entries = {one.action: one for one in await house.all(Audit)}
        assert {(one.actor, one.action, one.target) for one in entries.values()} == {
            ("cli:root", "create", "user:ann"),
            ("cli:root", "update", "user:ann"),
        }
        assert "argon2" not in repr(entries)
        assert ("set" in entries["update"].before, "a new one" in entries["update"].after) == (True, True)
