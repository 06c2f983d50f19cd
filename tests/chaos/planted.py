"""Bugs of the kinds that others had, planted into the processes of a campaign: one each, when CHAOS_BUG names it.

Only the nursery reads that name, so a planted bug lives in test processes alone. The numbers are those of the list of
bugs in docs/chaos.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from random import getrandbits
from typing import Any, NamedTuple, cast

from rota.domain import timing
from rota.domain.errors import Refused, Unavailable
from rota.domain.ids import timed_id
from rota.domain.run import Run, State
from rota.domain.schedule import Schedule
from rota.domain.states import Claim, Verdict, advance
from rota.engine import admit, control, fire, recover, settle, submit
from rota.ports.loops import end
from rota.ports.store import (
    APPLIED,
    Change,
    Claimed,
    Due,
    Group,
    Guard,
    Hint,
    Lead,
    R,
    Result,
    Store,
    Want,
    Where,
)
from rota.scheduler import leader, node
from rota.testing.faults import FaultyStore
from rota.worker import runtime
from tests.chaos.rig import put


class Careless(FaultyStore):
    """Writes by id, whatever was read."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        fresh = [group._replace(changes=tuple([await self.newest(one) for one in group.changes])) for group in groups]
        return await super().commit(fresh, guard, hints)

    async def newest(self, change: Change) -> Change:
        if change.was is None:
            return change
        (held,) = await self.get(type(change.was.record), [change.was.record.id])
        return change._replace(was=held)


class EveryoneLeads(FaultyStore):
    """Tells each contender that it won, and believes them all."""

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return (await super().lead(name, holder, ttl_ms))._replace(holder=holder, mine=True)

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        return await super().commit(groups, None, hints)


class OneNumber(FaultyStore):
    """Grants every term under the same number."""

    async def lead(self, name: str, holder: str, ttl_ms: int) -> Lead:
        return (await super().lead(name, holder, ttl_ms))._replace(number=1)

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        return await super().commit(groups, None, hints)


class NoFence(FaultyStore):
    """Lets an old term write."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        return await super().commit(groups, None, hints)


class AdvancesFirst(FaultyStore):
    """Moves the schedule on, then makes the run, by two commits."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        moved = [group for group in groups if _fires(group)]
        if not moved:
            return await super().commit(groups, guard, hints)
        heads = [group._replace(changes=group.changes[:1]) for group in groups]
        rests = [group._replace(changes=group.changes[1:]) for group in moved]
        results = await super().commit(heads, guard)
        await super().commit([group for group in rests if group.changes], guard, hints)
        return results


class FiresFirst(FaultyStore):
    """Makes the run, then moves the schedule on, by two commits."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        moved = [group for group in groups if _fires(group)]
        if not moved:
            return await super().commit(groups, guard, hints)
        await super().commit([group._replace(changes=group.changes[1:]) for group in moved], guard, hints)
        return await super().commit([group._replace(changes=group.changes[:1]) for group in groups], guard)


def _fires(group: Group) -> bool:
    first = group.changes[0]
    return isinstance(first.now, Schedule) and any(isinstance(one.now, Run) for one in group.changes[1:])


class AcknowledgesEarly(FaultyStore):
    """Says that a submission is there, and writes it with a later one."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.waiting: list[Group] = []

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        if guard is None and groups and all(_submits(group) for group in groups):
            self.waiting += groups
            if len(self.waiting) > 5:
                late, self.waiting = self.waiting, []
                await super().commit(late, guard, hints)
            return [APPLIED] * len(groups)
        return await super().commit(groups, guard, hints)


def _submits(group: Group) -> bool:
    return group.changes[0].was is None and isinstance(group.changes[0].now, Run)


class Remembers(FaultyStore):
    """Shows a schedule with the trigger that it had when it was first due."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.first: dict[str, Any] = {}

    async def due(self, kind: type[R], now: int, limit: int) -> Due[R]:
        found = await super().due(kind, now, limit)
        return found._replace(items=tuple(held._replace(record=self.as_first(held.record)) for held in found.items))

    def as_first(self, record: Any) -> Any:
        if not isinstance(record, Schedule):
            return record
        return replace(record, trigger=self.first.setdefault(record.id, record.trigger))


class SaysWhatItMet(FaultyStore):
    """Hands on whatever its driver raised."""

    async def commit(self, groups: Sequence[Group], guard: Guard = None, hints: Sequence[Hint] = ()) -> list[Result]:
        try:
            return await super().commit(groups, guard, hints)
        except Unavailable as error:
            raise ConnectionError(str(error)) from None


class ClaimsInTwoSteps(Careless):
    """Reads what is ready, then takes it by id."""

    async def claim(self, wants: Sequence[Want], now: int) -> list[Claimed]:
        (want,) = wants
        found = await self.find(Run, Where(states=(State.PENDING,)), limit=want.limit, oldest=True)
        taken = [advance(one.record, Claim(want.session, want.worker, want.token), now) for one in found.items]
        results = await self.commit([Group((Change(was, run),)) for was, run in zip(found.items, taken, strict=True)])
        held = [one for one in await self.get(Run, [run.id for run in taken]) if one]
        return [Claimed(tuple(held[: len(results)]), False, True)]


def any_report_counts() -> None:
    """1: the fence is not compared."""
    put(settle, "judge", lambda run, *_: Verdict.FRESH if run.state is State.RUNNING else Verdict.STALE)


def ended_is_rewritten() -> None:
    """10: a report of an old attempt counts although the run has ended."""
    put(settle, "judge", lambda run, *_: Verdict.FRESH)
    put(settle, "advance", lambda run, event, now: advance(run._replace(state=State.RUNNING), event, now))


def cancel_is_a_message() -> None:
    """11: a cancel is sent and not written."""
    real = control.cancel

    async def sent(engine: Any, run_id: str, actor: str) -> str:
        (held,) = await engine.store.get(Run, [run_id])
        if held and held.record.state in (State.PENDING, State.SCHEDULED, State.RETRYING):
            await engine.store.commit([], None, [Hint(f"cancel:{run_id}")])
            return "cancelled"
        return await real(engine, run_id, actor)

    put(control, "cancel", sent)


def tries_by_worker() -> None:
    """12: tries are counted for each worker, not for the run."""

    def forgetful(run: Run, event: Any, now: int) -> Run:
        other = bool(run.history) and run.history[-1].worker != run.worker
        return advance(run._replace(tries=0) if other else run, event, now)

    put(settle, "advance", forgetful)


def nobody_waits() -> None:
    """13: what waits for several is released when the first of them moves."""

    async def free(*_: object) -> set[str]:
        return set()

    put(admit, "_waiting", free)


def wall_clock_in_lease() -> None:
    """14: a session lapses by comparing its last beat with the leader's wall clock."""

    def lapsed(self: recover.Watch, session: Any, *_: int) -> bool:
        count = self._seen[session.id].count
        return count > 0 and self._engine.clock.now() - count > session.ttl_ms

    put(recover.Watch, "_lapsed", lapsed)


def few_are_made_up_for() -> None:
    """17: at most two missed occurrences are made up for, whatever the schedule says."""
    real = timing._newest
    put(timing, "_newest", lambda trigger, start, end, keep: real(trigger, start, end, min(keep, 2)))


def unbeaten_is_alive() -> None:
    """18: a session whose counter was never seen to move never lapses."""
    lapsed, note = recover.Watch._lapsed, recover.Watch._note
    moved: set[str] = set()

    def noted(self: recover.Watch, session: Any, count: int, *when: int) -> None:
        seen = self._seen.get(session.id)
        if seen and seen.count != count:
            moved.add(session.id)
        note(self, session, count, *when)

    put(recover.Watch, "_note", noted)
    put(recover.Watch, "_lapsed", lambda self, session, asked: lapsed(self, session, asked) and session.id in moved)


def key_checked_outside() -> None:
    """20: an idempotency key is looked up first and written later, apart from the run."""

    def apart(engine: Any, order: Any, run: Run, payload: bytes, now: int) -> Group:
        return keyed(engine, order._replace(key=None), run, payload, now)

    async def looked_up(engine: Any, orders: Any) -> Any:
        found: Any = await submit.known(engine, [order for order in orders if order.key])
        earlier = {order.key: one for order, one in zip([o for o in orders if o.key], found, strict=True)}
        receipts = []
        for order in orders:
            conflict, nobody = earlier.get(order.key), cast(Any, None)
            if conflict and any(conflict.current):
                receipt = await submit.receipt_of(engine, order, nobody, conflict, engine.clock.now())
                if isinstance(receipt, Refused):
                    raise receipt
                if receipt:
                    receipts.append(receipt)
                    continue
            (receipt,) = await real(engine, [order])
            key = submit._idempotency(order, receipt.id, engine.clock.now())
            await engine.store.commit([Group((Change(None, key),))])
            receipts.append(receipt)
        return receipts

    keyed, real = submit.keyed, submit.submit
    put(submit, "keyed", apart)
    put(submit, "submit", looked_up)


def random_ids() -> None:
    """5: an occurrence's run has an id by chance, nothing keeps it unique."""
    put(fire, "occurrence_id", lambda _, nominal_at: timed_id(nominal_at, getrandbits(80)))


def named_by_host() -> None:
    """23: a node is called by its host, so that two of one host are one."""
    real = node.Scheduler.__init__

    def named(self: Any, *given: Any) -> None:
        real(self, *given)
        self.holder = self.leader._holder = "host"

    put(node.Scheduler, "__init__", named)


def leaves_without_a_word() -> None:
    """Who is asked to leave leaves at once, and hands nothing back."""

    async def stop(self: Any) -> None:
        self._leaving = True
        await end(self._taking, *self._loops)
        await self._exit()

    put(runtime.Worker, "_stop", stop)


def ahead_of_time() -> None:
    """What is due within the next two seconds is fired with what is due."""
    put(fire, "plan", lambda schedule, now, live, limit: timing.plan(schedule, now + 2_000, live, limit))


def consumes_until_an_error() -> None:
    """A worker whose claim failed once goes on beating, and claims no more."""

    async def take_work(self: Any) -> None:
        while not self._leaving:
            await self._round()

    put(runtime.Worker, "_take_work", take_work)


def leads_once() -> None:
    """Who lost the term does not ask for it again."""
    real = leader.Leader._strive

    async def strive(self: Any, store: Store) -> None:
        if self._told in (None, -1) or self.term:
            await real(self, store)

    put(leader.Leader, "_strive", strive)


def around(store: Callable[[Store], Store], *more: Callable[[], None], inside: bool = False) -> Callable[[Any], None]:
    def plant(rig: Any) -> None:
        rig.wrap, rig.inside = store, inside
        for one in more:
            one()

    return plant


def patch(change: Callable[[], None]) -> Callable[[Any], None]:
    return lambda _: change()


class Bug(NamedTuple):
    """A bug, and what is to find it."""

    number: int
    """In the list of docs/chaos.md."""
    plant: Callable[[Any], None]
    caught_by: frozenset[str]
    """Any of these invariants is enough; others may be broken too."""
    kinds: tuple[str, ...] = ()
    """The faults that it takes; none: it shows by itself."""
    ms: int = 5_000
    load: str = ""
    """The only task that clients submit, and less often; none: all of them."""


def bug(number: int, plant: Callable[[Any], None], caught_by: str, *kinds: str, ms: int = 5_000, load: str = "") -> Bug:
    return Bug(number, plant, frozenset(caught_by.split()), kinds, ms, load)


STOPS = "leader stops before a write"
ZOMBIE = "worker stops before a write"
BUGS: dict[str, Bug] = {
    "fence not compared": bug(1, patch(any_report_counts), "I8", ZOMBIE, ms=14_000, load="slow"),
    "term not raised": bug(2, around(OneNumber), "I1", "kill leader"),
    "renewed without a look at the holder": bug(3, around(EveryoneLeads), "I1"),
    "old terms may write": bug(0, around(NoFence), "I1", STOPS, ms=8_000),
    "unique occurrence dropped, run before schedule": bug(
        5, around(FiresFirst, random_ids, inside=True), "I3 I22", "leader dies after a write", ms=10_000
    ),
    "schedule moved on before the run is written": bug(
        6, around(AdvancesFirst, inside=True), "I3 I22", "leader dies after a write", ms=20_000
    ),
    "acknowledged before it is written": bug(8, around(AcknowledgesEarly), "I5", "kill client"),
    "claimed in two steps": bug(9, around(ClaimsInTwoSteps), "I8"),
    "what has ended is rewritten": bug(10, patch(ended_is_rewritten), "I7 I8 I22", ZOMBIE, ms=8_000),
    "cancel as a message": bug(11, patch(cancel_is_a_message), "I11"),
    "tries counted by worker": bug(12, patch(tries_by_worker), "I9"),
    "released too early": bug(13, patch(nobody_waits), "I10", ms=8_000),
    "wall clock in the lease": bug(14, patch(wall_clock_in_lease), "I8", "leader's clock", ms=16_000),
    "few are made up for": bug(17, patch(few_are_made_up_for), "I19", "freeze all schedulers", ms=9_000),
    "no beat, no end": bug(18, patch(unbeaten_is_alive), "I7", "kill all"),
    "key checked outside of the commit": bug(20, patch(key_checked_outside), "I5 I6 I22"),
    "an edit that the leader does not see": bug(0, around(Remembers), "I12"),
    "fired ahead of its time": bug(0, patch(ahead_of_time), "I4"),
    "a term lost is not asked for again": bug(0, patch(leads_once), "I2", "freeze all schedulers", ms=14_000),
    "connected, and consuming no more": bug(0, patch(consumes_until_an_error), "I16", "store unreachable", ms=12_000),
    "errors as the driver has them": bug(0, around(SaysWhatItMet, inside=True), "I24", "a store that wavers"),
    "leaves without handing back": bug(
        0, patch(leaves_without_a_word), "I27", "rolling restart", ms=8_000, load="slow"
    ),
    "identity from the host's name": bug(23, patch(named_by_host), "I1"),
}


def plant(name: str, rig: Any) -> None:
    """Before the first fork."""
    if name:
        BUGS[name].plant(rig)
