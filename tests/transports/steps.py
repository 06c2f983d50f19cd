"""Small steps with carriers whose broker is in trouble."""

import asyncio
from contextlib import asynccontextmanager, suppress

from rota.domain.errors import StoreError, Unclear
from rota.transports import connect


@asynccontextmanager
async def carried(url):
    """An open carrier."""
    carrier = connect(url)
    await carrier.open()
    try:
        yield carrier
    finally:
        await carrier.close()


class Listener:
    """Receives from an inbox whatever happens, as whoever uses a carrier does."""

    def __init__(self, carrier, inbox):
        self.carrier, self.inbox = carrier, inbox
        self.found = []
        self.refusals = []
        self.task = asyncio.create_task(self._listen())

    async def _listen(self):
        while True:
            try:
                self.found += await self.carrier.receive(self.inbox)
            except StoreError as error:
                self.refusals.append(error)

    async def close(self):
        self.task.cancel()
        await asyncio.wait([self.task])


@asynccontextmanager
async def listening(carrier, *inboxes):
    listeners = [Listener(carrier, inbox) for inbox in inboxes]
    try:
        yield listeners
    finally:
        for one in listeners:
            await one.close()


async def come_through(sender, listener, body, seconds=30):
    """Send until it is received, as whoever asks asks again."""
    async with asyncio.timeout(seconds):
        while body not in listener.found:
            with suppress(StoreError, Unclear):
                await sender.send([(listener.inbox, body)])
            await asyncio.wait([listener.task], timeout=0.05)
