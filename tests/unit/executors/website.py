"""A web server for the tests of the `http` executor, on addresses of this machine."""

from collections.abc import Callable
from contextlib import asynccontextmanager

import msgspec
from aiohttp import web

from rota.domain.run import End
from rota.executors.outgoing import Outgoing
from tests.services.listener import listening
from tests.unit.executors.support import assigned, outcome

PRIVATE = "127.0.0.1"
SERVER = "127.0.0.2"
OTHER = "127.0.0.3"
"""The guard lets through what these tests call servers; 127.0.0.1 stands for what it must keep out."""
ALLOWED = (SERVER, OTHER)


class Site:
    """A server on all of these addresses: what came in, and what to answer."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[web.BaseRequest], web.Response] = lambda request: web.json_response({"ok": True})
        self.port = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return self.answer(request)

    def url(self, path: str = "/", host: str = SERVER) -> str:
        return f"http://{host}:{self.port}{path}"


@asynccontextmanager
async def serving():
    found = Site()
    runner = web.ServerRunner(web.Server(found), shutdown_timeout=1)
    await runner.setup()
    # All of this machine's at once: a port that is free on one of them need not be so on the next.
    await web.TCPSite(runner, "0.0.0.0", 0).start()
    found.port = runner.addresses[0][1]
    yield found
    await runner.cleanup()


@asynccontextmanager
async def raw(answer: bytes, endless: bytes = b""):
    """A server that says exactly this, then `endless` again and again."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            while endless:
                writer.write(endless)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    async with listening(serve, SERVER) as port:
        yield f"http://{SERVER}:{port}/"


async def sent(command, payload=None, allow=ALLOWED, resolve=None, **params):
    executor = Outgoing("http", allow, resolve)
    try:
        end, _ = await outcome(executor, assigned(command, payload, executor="http", params=params))
        return end
    finally:
        await executor.close()


def value(end):
    assert end.end is End.SUCCESS, end
    return msgspec.json.decode(end.result)
