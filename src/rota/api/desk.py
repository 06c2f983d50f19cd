"""The desk for remote workers: the calls of `rota.ports.desk` in the words of `rota.worker.wire`, by request or letter.

Who asks is known already; here is seen to it that each speaks for its own sessions, and takes what its key is for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from rota.api.crew import Crew, credential, is_current, may_take
from rota.api.waiting import Waiting
from rota.domain.access import Actor
from rota.domain.errors import Forbidden, Invalid, TooLarge
from rota.domain.lane import queue_of
from rota.domain.payload import check_payload
from rota.domain.records import VALUE_LIMIT, Load, Session
from rota.domain.run import End, Fence, Run
from rota.domain.states import Verdict
from rota.engine.claim import given
from rota.engine.engine import Engine, every
from rota.engine.report import report
from rota.engine.sessions import beat, leave
from rota.engine.settle import settle
from rota.ports.desk import Progress, Settlement
from rota.ports.store import Line, Versioned, Want, Where
from rota.servers.address import is_http
from rota.worker import wire


class Asker(NamedTuple):
    """Who asks."""

    actor: Actor
    still: Callable[[], Awaitable[Actor | None]]
    """Who that is now; None once the credential opens nothing any more."""
    carrier: str = ""
    """What the broker is called that is between; empty: none is."""

    def check_lanes(self, lanes: Iterable[str]) -> None:
        """Raises `Forbidden` where the credential is not for all of these any more."""
        if not may_take(self.actor, lanes):
            raise Forbidden(f"{self.actor.name} may not work on these queues any more")


class Desk:
    """Answers calls. `closed` ends all waiting."""

    def __init__(self, engine: Engine, closed: asyncio.Event) -> None:
        self._engine = engine
        self.crew = Crew(engine)
        self.waiting = Waiting(engine, closed)

    async def answer(self, call: str, message: bytes, asker: Asker) -> bytes:
        """The answer to one of CALLS. Raises `RotaError`, `Invalid` for a message that is none."""
        kind, answered = CALLS[call]
        return wire.encode(await answered(self, asker, wire.decode(kind, message)))

    async def _enter(self, asker: Asker, said: wire.Enter) -> wire.Entered:
        """Open a session, on queues that the credential is for."""
        if len(wire.encode(said)) > VALUE_LIMIT:
            raise TooLarge("lanes", f"are too many: a session has {VALUE_LIMIT} bytes; name fewer queues or labels")
        if not may_take(asker.actor, said.lanes):
            queues = ", ".join(sorted({queue_of(lane) for lane in said.lanes})[:5])
            raise Forbidden(
                f"{asker.actor.name} may not work on all of {queues}; its grants name namespaces and queues"
            )
        if said.address:
            check_url(said.address)
        now = self._engine.clock.now()
        fields = {name: getattr(said, name) for name in wire.Enter.__struct_fields__}
        fields["address"] = asker.carrier or said.address
        await self.crew.open(Session(**fields, opened_at=now, opened_by=credential(asker.actor)))
        return wire.Entered(now)

    async def _leave(self, asker: Asker, said: wire.Leave) -> wire.Entered:
        """Close a session."""
        if await self.crew.own(asker.actor, said.session):
            await leave(self._engine, said.session, said.reason)
        return wire.Entered(self._engine.clock.now())

    async def _claim(self, asker: Asker, said: wire.Ask) -> wire.Work:
        """Ready runs, or none for a while: who waits here is asked for together with all others."""
        session = await self.crew.own(asker.actor, said.session, anew=True)
        if session is None:
            return wire.Work(self._engine.clock.now(), False, False, 0)
        asker.check_lanes(lanes := session.lanes)

        async def still() -> bool:
            actor = await asker.still()
            return actor is not None and may_take(actor, lanes)

        want = Want(session.id, session.worker, said.token, min(said.limit, wire.GIVEN), lanes, said.exclude)
        taken = await self.waiting.claim(want, still, said.wait_ms / 1_000)
        return wire.work(taken, self._engine.clock.now())

    async def _beat(self, asker: Asker, said: wire.Beat) -> wire.Beaten:
        """A sign of life. It may wait for its answer, so that a cancel is told at once; it counts as of the answer."""
        session = await self.crew.own(asker.actor, said.session)
        hinted = bool(session and said.wait_ms) and await self.waiting.rest(said.session, said.wait_ms / 1_000)
        load = Load(*[getattr(said.load, name) for name in Load._fields]) if session and said.load else None
        reply = (await beat(self._engine, said.session, load))._replace(hinted=hinted)
        return wire.Beaten(self._engine.clock.now(), wire.Reply(*reply))

    async def _held(self, asker: Asker, said: wire.Held) -> Any:
        """The running runs of a session, or some of them as if it had just claimed them."""
        session = await self.crew.own(asker.actor, said.session, anew=bool(said.runs))
        if said.runs:
            asker.check_lanes(session.lanes if session else ())
            taken = await given(self._engine, session.id if session else "", said.runs)
            return wire.work(taken, self._engine.clock.now())
        runs = await every(self._engine, Run, Where(session=session.id)) if session else []
        return [wire.sent(one.record) for one in runs]

    async def _report(self, asker: Asker, said: wire.Report) -> list[Verdict]:
        """News and output of running attempts; lines of attempts that nobody holds any more are dropped."""
        named = [(one.run, one.attempt) for one in said.progress] + [(one.run, one.attempt) for one in said.lines]
        runs = await self.crew.check_held(asker.actor, named)
        now = self._engine.clock.now()
        current = {run: one.record for run, one in runs.items()}
        lines = [
            Line(one.run, one.attempt, _between(one.at, current[one.run], now), one.stream, one.level, one.text)
            for one in said.lines
            if one.run in current and is_current(current[one.run], one.attempt)
        ]
        return await report(self._engine, [_news(one, current.get(one.run), now) for one in said.progress], lines)

    async def _settle(self, asker: Asker, said: wire.Settle) -> list[Verdict]:
        """Ends of attempts. A repeated one is told so, one under another fence changes nothing."""
        runs = await self.crew.check_held(asker.actor, [(one.run, one.attempt) for one in said.settlements])
        now = self._engine.clock.now()
        ends = [_end(at, one, runs.get(one.run), now) for at, one in enumerate(said.settlements)]
        return await settle(self._engine, ends)


CALLS: dict[str, tuple[Any, Callable[[Desk, Asker, Any], Awaitable[Any]]]] = {
    "enter": (wire.Enter, Desk._enter),
    "leave": (wire.Leave, Desk._leave),
    "claim": (wire.Ask, Desk._claim),
    "beat": (wire.Beat, Desk._beat),
    "held": (wire.Held, Desk._held),
    "report": (wire.Report, Desk._report),
    "settle": (wire.Settle, Desk._settle),
}
"""What each is asked with, and what answers it."""
WAITING = frozenset({"claim", "beat"})
"""Those that may wait with their answer."""


def _news(said: wire.Said, run: Run | None, now: int) -> Progress:
    fence = Fence(said.run, said.attempt, said.token)
    return Progress(fence, said.started_at and _between(said.started_at, run, now), said.progress)


def _end(at: int, said: wire.Ended, held: Versioned[Run] | None, now: int) -> Settlement:
    """Raises `Invalid` for what no honest worker says: what is no JSON, or a loss, which only the scheduler sees, save
    that of the child process of a last try.
    """
    end = wire.settlement(said)
    if held is None:
        return end
    if said.end is End.LOST and not held.record.isolated:
        raise Invalid(f"settlements[{at}].end", "a worker cannot say of itself that it is lost")
    # One that is too large ends as a failure that says so.
    if said.result is not None and said.result != b"null" and len(said.result) <= VALUE_LIMIT:
        check_payload(said.result, f"settlements[{at}].result")
    started_at = said.started_at and _between(said.started_at, held.record, now)
    return end._replace(outcome=end.outcome._replace(started_at=started_at), held=held)


def _between(moment: int, run: Run | None, now: int) -> int:
    """The moment, if it can be: a worker's clock may say anything."""
    return min(max(moment, run.claimed_at or 0 if run else 0), now)


def check_url(url: str) -> None:
    """Raises `Invalid` for what is no URL of HTTP, or says more than where."""
    if not is_http(url):
        raise Invalid("url", f"{url!r:.60} is no worker's URL; write one such as http://10.0.0.7:9000")
    if len(url) > 500:
        raise TooLarge("url", "is over 500 characters")
