"""The desk behind a broker: letters to the inbox that all nodes share are the same calls as over HTTP.

What lies in a broker may be of anybody, late or twice: a letter counts if a worker's key has signed it, once,
and in its time. Answers that nobody can get any more are undone: their runs go to others at once, unburnt.
"""

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from rota.api.desk import CALLS, Asker, Desk
from rota.api.door import Door
from rota.api.problems import refusal
from rota.domain.access import Actor
from rota.domain.errors import Invalid, RotaError, Unavailable, Unclear
from rota.domain.facts import Trouble
from rota.domain.people import Token
from rota.domain.records import Session
from rota.domain.run import End, Fence, Outcome
from rota.engine.audit import origin
from rota.engine.engine import Engine
from rota.engine.sessions import enter, leave
from rota.engine.settle import settle
from rota.ports.carrier import DESK, Carrier
from rota.ports.desk import Settlement
from rota.ports.loops import Backoff, end, keep
from rota.worker import wire
from rota.worker.letters import MOST_AHEAD_MS, Answer, Question, head_of, parted, sealed

LETTER_BYTES = 5 << 20
MOST = 4_096
"""Questions under way at once; more are left unanswered, and asked again."""
LATE_MS = 5_000
"""The clocks of two nodes may differ by so much."""
CANARY_S = 1.0
CANARY_WAIT_S = 3.0
MARGIN_MS = 2_000
"""By so much a worker may be ahead of this node, and stop waiting earlier."""
FINISH_S = 1.0
TELL_MS = 60_000
"""So often, at most, is told of letters that count for nothing."""


class Out(NamedTuple):
    """An answer on its way, and what it is, should it not arrive."""

    question: Question
    data: bytes
    status: int
    body: bytes


class CarriedDesk:
    """Serves workers through a broker. `kind`: what the broker is called, in sessions and errors."""

    def __init__(self, engine: Engine, door: Door, connect: Callable[[], Carrier], kind: str) -> None:
        self._engine = engine
        self._door = door
        self._connect = connect
        self._kind = kind
        self._closed = asyncio.Event()
        self._desk = Desk(engine, self._closed)
        self._going: set[asyncio.Task[None]] = set()
        self._seen: dict[str, int] = {}
        """Ids of questions, until when each might come again."""
        self._out: asyncio.Queue[Out] = asyncio.Queue()
        self._told_at: dict[type[RotaError], int] = {}
        self._canary, self._inbox = "", f"canary-{secrets.token_hex(16)}"

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve while the block lasts."""
        serving = asyncio.create_task(keep("desk", self._serve, self._engine.emit))
        try:
            yield
        finally:
            self._closed.set()  # who waits is let go
            await end(serving)
            await end(*self._going)
            if self._canary:
                with suppress(RotaError):
                    await leave(self._engine, self._canary, "stopped")

    async def _serve(self) -> None:
        carrier, emit = self._connect(), self._engine.emit
        try:
            await carrier.open()
            sending = asyncio.create_task(keep("desk", lambda: self._send(carrier), emit))
            singing = asyncio.create_task(keep("canary", lambda: self._sing(carrier), emit))
            try:
                await self._receive(carrier)
            finally:
                if self._closed.is_set():
                    await self._finish()
                await end(sending, singing)
        finally:
            await carrier.close()

    async def _finish(self) -> None:
        """Nobody is left waiting for an answer that is ready."""
        with suppress(TimeoutError):
            async with asyncio.timeout(FINISH_S):
                if self._going:
                    await asyncio.wait(list(self._going))
                await self._out.join()

    async def _receive(self, carrier: Carrier) -> None:
        backoff = Backoff("desk", self._engine.emit, 1.0)
        while True:
            try:
                for data in await carrier.receive(DESK):
                    await self._take(data)
                backoff.reset()
            except RotaError as error:
                await backoff.failed(error)

    async def _take(self, data: bytes) -> None:
        """Judge a letter by its signature first, one at a time; then its time, and whether it came before."""
        try:
            head, asked, token = await self._opened(data)
        except RotaError as error:
            return self._tell(error)
        if self._is_repeated(head, self._engine.clock.now()):
            return
        if len(self._going) >= MOST:
            return self._tell(Unavailable(f"{MOST} questions are under way; more are not answered"))
        task = asyncio.create_task(self._answer(head, asked, token))
        self._going.add(task)
        task.add_done_callback(self._going.discard)

    async def _answer(self, head: Question, asked: bytes, token: Token) -> None:
        now = self._engine.clock.now()
        if now - LATE_MS <= head.until <= now + MOST_AHEAD_MS:
            status, body = await self._asked(head.call, asked, token)
        else:
            status, body = 408, b""  # with the time, which the asker follows
        answer = sealed(Answer(head.id, status, self._engine.clock.now()), body, token.digest)
        self._out.put_nowait(Out(head, answer.joined(), status, body))

    async def _opened(self, data: bytes) -> tuple[Question, bytes, Token]:
        """A question to this desk, its message, and the key that signed it. Raises `Invalid` for any other letter."""
        if len(data) > LETTER_BYTES:  # over HTTP it would be too large as well
            raise Invalid("letter", f"has {len(data)} bytes; {LETTER_BYTES} are the most")
        letter = parted(data)
        head = head_of(letter)
        if not isinstance(head, Question) or head.to != DESK or head.call not in CALLS:
            raise Invalid("head", "is no question for this desk")
        token = await self._door.key(head.key)
        if token is None or not letter.bears(token.digest):
            raise Invalid("signature", "is of no key that is known here")
        return head, letter.body, token

    def _tell(self, error: RotaError) -> None:
        """Of each kind of trouble one, for whoever can write to the broker can make any number."""
        now, kind = self._engine.clock.monotonic(), type(error)
        if now - self._told_at.get(kind, -TELL_MS) >= TELL_MS:
            self._told_at[kind] = now
            self._engine.tell(Trouble(f"a letter through {self._kind}", error))

    def _is_repeated(self, head: Question, now: int) -> bool:
        while self._seen and (oldest := next(iter(self._seen.items())))[1] < now - LATE_MS:
            del self._seen[oldest[0]]
        repeated = head.id in self._seen
        self._seen[head.id] = min(head.until, now + MOST_AHEAD_MS)
        return repeated

    async def _asked(self, call: str, body: bytes, token: Token) -> tuple[int, bytes]:
        """What is answered to who has that key: status, as over HTTP, and body."""
        actor = await self._door.let_in(token, self._kind)
        if actor is None:
            return 401, b""

        async def still() -> Actor | None:
            known = await self._door.key(token.id)
            return await self._door.let_in(known, self._kind) if known else None

        origin.set(self._kind)  # for what this task does: it answers one question
        try:
            return 200, await self._desk.answer(call, body, Asker(actor, still, self._kind))
        except Exception as error:
            told = refusal(error)
            return told.status_code, bytes(told.body)

    async def _send(self, carrier: Carrier) -> None:
        """All answers that are ready, in one batch."""
        out = [await self._out.get()]
        while not self._out.empty():
            out.append(self._out.get_nowait())
        try:
            there = await self._sent(carrier, out)
        except Unclear as error:
            self._tell(error)
            there = [True] * len(out)  # they may be: who asked will say what it holds
        except RotaError as error:
            self._tell(error)
            there = [False] * len(out)
        finally:
            for _ in out:
                self._out.task_done()
        await self._take_back([one for one, arrived in zip(out, there, strict=True) if not arrived])

    async def _sent(self, carrier: Carrier, out: list[Out]) -> list[bool]:
        """In one batch; one that cannot be sent keeps none of the others."""
        try:
            return await carrier.send([(one.question.reply, one.data) for one in out])
        except Invalid as error:
            self._tell(error)
            if len(out) == 1:
                return [False]
            half = len(out) // 2
            return await self._sent(carrier, out[:half]) + await self._sent(carrier, out[half:])

    async def _take_back(self, lost: list[Out]) -> None:
        """What a worker was to get by its claim goes to others, as long as it waits for that: later it may have asked
        what it holds, and begun.
        """
        gone = Outcome(End.RETURNED, reason="undelivered: its worker had gone before it was told")
        fences: list[Fence] = []
        for question, _, status, body in lost:
            if question.call == "claim" and status == 200 and self._engine.clock.now() + MARGIN_MS <= question.until:
                fences += [wire.received(given.run).fence for given in wire.decode(wire.Work, body).runs]
        if fences:
            await settle(self._engine, [Settlement(fence, gone) for fence in fences])

    async def _sing(self, carrier: Carrier) -> None:
        """A canary: a session that beats by what has gone through the broker and come back. While none of a kind beats,
        no worker behind that broker is judged by its silence.
        """
        await carrier.own(inbox := self._inbox)
        while True:
            note = secrets.token_bytes(16)
            async with asyncio.timeout(CANARY_WAIT_S):
                if not all(await carrier.send([(inbox, note)])):
                    raise Unavailable(f"{self._kind} has lost an inbox")
                while note not in await carrier.receive(inbox):
                    pass
            if not self._canary or not (await self._engine.store.beat([self._canary]))[0].open:
                self._canary = await self._enter()
            await asyncio.sleep(CANARY_S)

    async def _enter(self) -> str:
        engine = self._engine
        now = engine.clock.now()
        host, name = os.uname().nodename, f"desk@{self._kind}"
        canary = Session(engine.new_id(now), name, host, os.getpid(), (), (), (), opened_at=now, address=self._kind)
        await enter(engine, canary)
        return canary.id
