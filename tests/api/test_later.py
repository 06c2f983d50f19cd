"""The routes, which are made when somebody first asks."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx
import pytest

from rota.api.app import Later


async def plain(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"made"})


async def asked(app) -> str:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as http:
        return (await http.get("/")).text


async def test_they_are_made_once_for_all_who_ask_at_once():
    made = []

    def make():
        made.append(1)
        return plain

    app = Later(make)
    assert await asyncio.gather(*(asked(app) for _ in range(20))) == ["made"] * 20
    assert made == [1]


async def test_what_failed_once_is_tried_again_by_whoever_asks_next():
    answers = [OSError("the disk does not answer"), plain]

    def make():
        found = answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found

    app = Later(make)
    with pytest.raises(OSError, match="disk"):
        await asked(app)
    assert await asked(app) == "made"


async def test_tasks_that_fill_the_threads_of_the_loop_do_not_hold_them_up():
    """`asyncio.to_thread` in a task of `rota up` takes from the same loop."""
    over = Event()
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(1))
    busy = asyncio.create_task(asyncio.to_thread(over.wait))
    try:
        async with asyncio.timeout(10):
            assert await asked(Later(lambda: plain)) == "made"
    finally:
        over.set()
        await busy
