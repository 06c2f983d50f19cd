"""A way to the desk that is slow, or stands still."""

import asyncio
from functools import partial

import aiohttp
import pytest

from rota.domain.errors import Unclear
from rota.ports.loops import wait_for_event
from rota.worker import remote
from rota.worker.remote import _asked
from tests.services.listener import listening


async def test_an_answer_that_goes_on_coming_is_waited_for_and_one_that_stands_still_is_not():
    stop_at = 0

    async def slowly(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"asked")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n")
        for _ in range(stop_at):
            writer.write(b"x")
            await wait_for_event(asyncio.Event(), 0.2)
        await reader.read()

    async with listening(slowly) as port, aiohttp.ClientSession() as http:
        ask = partial(_asked, http, f"http://127.0.0.1:{port}", "held", b"asked", 1.5)
        stop_at = 12
        assert await ask() == (200, b"x" * 12)
        stop_at = 11
        with pytest.raises(Unclear):
            await ask()


@pytest.mark.filterwarnings("ignore:Sending a large body")
async def test_a_desk_that_takes_no_more_of_a_message_is_not_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(remote, "SLOWEST", 1 << 30)

    async def frozen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.Event().wait()

    async with listening(frozen) as port, aiohttp.ClientSession() as http:
        with pytest.raises(Unclear):
            async with asyncio.timeout(20):
                await _asked(http, f"http://127.0.0.1:{port}", "settle", bytes(32 << 20), 0.1)
