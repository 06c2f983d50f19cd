"""A desk that is asked through a broker: questions to the inbox that the schedulers share, answers to one's own.

The broker is trusted with nothing: letters are signed by the worker's credential, which itself never travels, and an
answer counts once, for the question that it is of.
"""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from rota.domain.errors import Barred, Invalid, RotaError, Unavailable, Unclear
from rota.ports.carrier import DESK, Carrier
from rota.ports.loops import Backoff, end
from rota.ports.runtime import Emit
from rota.worker.letters import Answer, Question, head_of, parted, read_key, sealed
from rota.worker.remote import DeskClock, RemoteDesk

WAIT_MS = 5_000
"""How long a claim waits at the desk: what it brings for a worker that died is lost until its session ends."""
ANSWER_S = 4.0
"""Nothing tells that a question was lost, or that who had it has died: it is asked again so soon."""


class Post:
    """Sends questions and sorts the answers. `place`: what the broker is called in errors.

    Raises `Invalid` for a token that is no worker's key.
    """

    def __init__(self, carrier: Carrier, place: str, token: str, clock: DeskClock, emit: Emit | None) -> None:
        self.carrier = carrier
        self.place = place
        self._key, self._digest = read_key(token)
        self._clock = clock
        self._emit = emit
        self._asked: dict[str, asyncio.Future[tuple[int, bytes]]] = {}
        self.inbox = f"worker-{secrets.token_hex(16)}"

    async def ask(self, call: str, message: bytes, within_s: float) -> tuple[int, bytes]:
        """`remote.Ask`."""
        status, body = await self._answer(call, message, within_s)
        # 408: not of its time, by a clock that this one follows from now on; nothing was done.
        return await self._answer(call, message, within_s) if status == 408 else (status, body)

    async def _answer(self, call: str, message: bytes, within_s: float) -> tuple[int, bytes]:
        until = self._clock.now() + round(within_s * 1_000)
        head = Question(secrets.token_hex(16), self._key, DESK, self.inbox, call, until)
        answer: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._asked[head.id] = answer
        try:
            async with asyncio.timeout(within_s):
                with suppress(Unclear):  # it may have been sent: whoever has it answers
                    if await self.carrier.send([(DESK, sealed(head, message, self._digest).joined())]) == [False]:
                        raise Unavailable(f"{self.place} takes no questions yet; they are asked again")
                return await answer
        except Barred as error:
            # The broker's word says nothing of the worker's key: it may be told its users later than it begins.
            raise Unavailable(str(error)) from None
        except TimeoutError:
            raise Unclear(
                f"no answer through {self.place}; does a scheduler listen there, and know this key?"
            ) from None
        finally:
            del self._asked[head.id]

    async def listen(self) -> None:
        """Take answers until cancelled."""
        backoff = Backoff("inbox", self._emit, 1.0)
        while True:
            try:
                for data in await self.carrier.receive(self.inbox):
                    self._take(data)
                backoff.reset()
            except RotaError as error:
                await backoff.failed(Unavailable(str(error)))  # also where the broker does not let it in

    def _take(self, data: bytes) -> None:
        """An answer that is awaited and ours; anything else might be of anybody."""
        try:
            head = head_of(letter := parted(data))
        except Invalid:
            return
        asked = self._asked.get(head.id)
        if asked is None or asked.done() or not isinstance(head, Answer) or not letter.bears(self._digest):
            return
        self._clock.follow(head.at)
        asked.set_result((head.status, letter.body))


@asynccontextmanager
async def carried(post: Post, clock: DeskClock) -> AsyncIterator[RemoteDesk]:
    """A desk behind a broker, by a connection and an inbox of its own."""
    try:
        await post.carrier.open()
        await post.carrier.own(post.inbox)
        listening = asyncio.create_task(post.listen())
        try:
            yield RemoteDesk(post.ask, post.place, clock, WAIT_MS, ANSWER_S)
        finally:
            await end(listening)
    finally:
        await post.carrier.close()
