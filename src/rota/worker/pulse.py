"""The pulse: the beats of a session.

The reply brings what the worker must know: whether the session is still open, whose cancel was asked, what capacity
people want, and whether the store's idea of what the session holds is the worker's.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial

from rota.domain.errors import Barred
from rota.domain.facts import Beaten, Trouble
from rota.domain.records import Load
from rota.ports.desk import Desk
from rota.ports.loops import Backoff, keep
from rota.ports.runtime import Clock, Emit
from rota.ports.side import Side
from rota.ports.store import BeatReply, Watch

Listen = Callable[[Sequence[str]], Watch]

Connect = Callable[[], AbstractAsyncContextManager[tuple[Desk, Listen]]]
"""Opens a desk and an ear of its own, in the loop that calls it."""

SAY_MS = 10_000
"""How often a beat takes along what the worker does: that is written, and changes nearly always."""


class Pulse(Side):
    """Beats every `beat_ms`, and at once when a hint names the session."""

    def __init__(
        self,
        session: str,
        beat_ms: int,
        connect: Connect,
        heard: Callable[[BeatReply | Barred, int], None],
        clock: Clock,
        emit: Emit | None,
        load: Callable[[], Load] | None = None,
    ) -> None:
        super().__init__("rota-pulse", partial(keep, "pulse", self._connected, emit), clock)
        self._session = session
        self._beat_ms = beat_ms
        self._connect = connect
        self._heard = heard
        self._emit = emit
        self._load = load

    async def _connected(self) -> None:
        # No wait is longer than a beat: an outage must not cost more than the time that it lasts.
        backoff = Backoff("pulse", self._emit, self._beat_ms / 1000)
        async with self._connect() as (desk, listen):
            ear = listen([f"session:{self._session}"])
            hinted, said_at = False, -SAY_MS
            try:
                while True:
                    asked = self._clock.monotonic()
                    said = None
                    try:
                        if self._load and asked - said_at >= SAY_MS:
                            said, said_at = self._load(), asked
                        reply: BeatReply | Barred = await desk.beat(self._session, said)
                    except Barred as error:
                        reply = error
                    except Exception as error:
                        await backoff.failed(error)
                        continue
                    backoff.reset()
                    self._tell_of_stall()
                    if isinstance(reply, BeatReply):
                        if self._emit:
                            self._emit(Beaten(self._clock.monotonic() - asked))
                        reply = reply._replace(hinted=hinted or reply.hinted)
                    self.tell(self._heard, reply, asked)
                    hinted = bool(await ear.wait(self._beat_ms / 1000))
            finally:
                ear.close()

    def _tell_of_stall(self) -> None:
        if self.stalled_ms >= self._beat_ms and self._emit:
            stall = f"blocked for {self.stalled_ms} ms by {self.culprit()}"
            self._emit(Trouble("worker loop", RuntimeError(stall)))
