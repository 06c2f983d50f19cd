"""Leadership: a term with a trust window.

What protects the data is not this belief but the term on every write: the store refuses an old one. The window keeps
the belief honest: it ends, by the local monotonic clock, before the lease can, counted from when the renewal was sent.
An unclear reply, an error or a blocked main loop means "not the leader" until the store has said otherwise. Whose
duty hangs resigns, and lets whoever stands by go first.
"""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from rota.domain.facts import LeaderChanged, Trouble
from rota.ports.loops import Backoff, keep
from rota.ports.runtime import Clock, Emit
from rota.ports.side import Side
from rota.ports.store import Hint, Store, Term
from rota.scheduler.progress import Progress

NAME = "scheduler"
NEWS = "lead"
"""Topic of the hint that the term is free."""
EAGER = 3
"""Who does not lead asks so many times as often as the leader renews: what is between two asks nobody leads."""

Connect = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens a store connection of its own, in the loop that calls it."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A term and until when (monotonic ms) it may be believed."""

    term: Term
    trusted_until: int


class Leader(Side):
    """Strives for the term and keeps it. `term` is None whenever this node must not act.

    Stopped it resigns, so that another can take over at once.
    """

    def __init__(
        self,
        holder: str,
        times: tuple[int, int],
        connect: Connect,
        clock: Clock,
        emit: Emit | None,
        changed: Callable[[], None],
    ) -> None:
        super().__init__("rota-leader", partial(keep, "lead", self._connected, emit), clock)
        self._holder = holder
        self._ttl_ms, self._renew_ms = times
        self._connect = connect
        self._emit = emit
        self._changed = changed
        self._lease: Lease | None = None
        self._told: int | None = None
        self.progress = Progress()
        self._looked_at = clock.monotonic()
        self._hung = ""
        """The duty that was found to hang."""
        self._rests_until = self._looked_at

    @property
    def term(self) -> Term | None:
        """The term, while it may be trusted."""
        lease = self._lease
        return lease.term if lease and self._clock.monotonic() < lease.trusted_until else None

    def doubt(self, term: Term) -> None:
        """The store called this term stale: act no more until another one is granted."""
        lease = self._lease
        if lease and lease.term == term:
            self._lease = None

    async def _connected(self) -> None:
        backoff = Backoff("lead", self._emit, self._renew_ms / 1000)
        async with self._connect() as store:
            ear = store.watch([NEWS])
            try:
                while True:
                    try:
                        await self._strive(store)
                    except Exception as error:
                        self._lease = None
                        await backoff.failed(error)
                        continue
                    backoff.reset()
                    await ear.wait(self._renew_ms / (1 if self._lease else EAGER) / 1000)
            finally:
                ear.close()
                self._lease = None
                await self._resign(store)

    async def _strive(self, store: Store) -> None:
        if self.stalled_ms > self._ttl_ms // 2:
            # A loop that cannot hear cannot do its duties: let the term lapse for somebody who can.
            self._lease = None
            return
        sent = self._clock.monotonic()
        if self._hung and self._lease:
            await self._give_up(store, self._lease.term.number)
        if sent < self._rests_until:
            return
        lead = await store.lead(NAME, self._holder, self._ttl_ms)
        trusted_until = sent + self._ttl_ms - self._ttl_ms // 5
        self._lease = Lease(Term(NAME, lead.number), trusted_until) if lead.mine else None
        self.tell(self._tell, lead.holder, lead.number, lead.mine)

    async def _give_up(self, store: Store, number: int) -> None:
        """Somebody else goes first. Alone this node leads again after a while, the step that hung begun anew."""
        hung, self._lease = self._hung, None
        self._rests_until = self._clock.monotonic() + self._ttl_ms
        if self._emit:
            self._emit(Trouble("lead", TimeoutError(f"duty {hung} has waited too long for one answer: it resigns")))
        self.tell(self.progress.cut, hung)
        self.tell(self._tell, self._holder, number, False)
        await self._resign(store)

    def _tell(self, holder: str, number: int, mine: bool) -> None:
        passed_ms, self._looked_at = self._clock.monotonic() - self._looked_at, self._clock.monotonic()
        if not mine:
            self.progress.forget()
        self._hung = self.progress.look(passed_ms) if mine else ""
        told, self._told = self._told, number if mine else -1
        if told != self._told and self._emit:
            self._emit(LeaderChanged(holder, number, mine))
        # Told or not: after a doubt the same term is granted again, and duties wait for it.
        self._changed()

    async def _resign(self, store: Store) -> None:
        try:
            await store.lead(NAME, self._holder, 0)
            await store.commit([], None, [Hint(NEWS)])
        except Exception as error:
            if self._emit:
                self._emit(Trouble("resign", error))
