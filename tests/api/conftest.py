import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from rota.api.app import Options, make_routes
from rota.domain.access import Actor, Grant
from rota.domain.lane import lane
from rota.engine.engine import Engine
from rota.engine.sessions import enter
from rota.ports.store import Want
from rota.testing.factories import make_session
from rota.wiring import make_door, opened

ADMIN = (Grant("admin", "*"),)
SAMPLE = {
    "name": "nightly",
    "description": "The figures of the day",
    "task_type": "batch",
    "executor": "python",
    "command": "process_data.py",
    "schedule": "0 2 * * *",
    "priority": "normal",
    "retry_count": 3,
    "timeout_seconds": 3600,
}


def known_as(app: ASGIApp, grants: tuple[Grant, ...], name: str = "user:anna") -> ASGIApp:
    """The routes, asked by one actor."""

    async def asked(scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["actor"] = Actor(name, grants)
        await app(scope, receive, send)

    return asked


class Api:
    """A client of the routes. Every answer of trouble is checked to be a problem, and none is the server's fault."""

    def __init__(self, app: ASGIApp, grants: tuple[Grant, ...]) -> None:
        transport = httpx.ASGITransport(known_as(app, grants), raise_app_exceptions=False)
        self.http = httpx.AsyncClient(transport=transport, base_url="http://rota")

    async def __call__(self, method: str, path: str, want: int = 200, body: Any = None, **extra: Any) -> Any:
        if isinstance(body, bytes):
            extra |= {"content": body, "headers": {"content-type": "application/json", **extra.pop("headers", {})}}
        elif body is not None:
            extra["json"] = body
        answer = await self.http.request(method, httpx.URL(path).copy_merge_params(extra.pop("params", {})), **extra)
        assert answer.status_code == want, answer.text
        self.headers = answer.headers
        if answer.status_code >= 400:
            problem = answer.json()
            assert answer.headers["content-type"] == "application/problem+json"
            assert problem["status"] == want
            assert problem["detail"]
            assert "Traceback" not in answer.text
            return problem
        return json.loads(answer.content) if answer.content else None


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    async with opened("sqlite://") as made:
        yield made


@pytest.fixture
async def client(engine: Engine) -> AsyncIterator[Callable[..., Api]]:
    async with AsyncExitStack() as stack:
        door = make_door(engine, b"secret" * 6)
        app = make_routes(engine, Options(b"secret" * 6), door)
        stack.push_async_callback(door.close)
        stack.push_async_callback(app.state.feed.close)

        def made(*grants: Grant) -> Api:
            api = Api(app, grants or ADMIN)
            stack.push_async_callback(api.http.aclose)
            return api

        yield made


@pytest.fixture
def api(client: Callable[..., Api]) -> Api:
    return client()


async def hold(engine: Engine, queue: str = "default", kind: str = "script", number: int = 1) -> Any:
    """What a worker's session of that queue takes now."""
    name = lane("main", queue, kind)
    session = make_session(number, queues=(queue,), executors=(kind,), lanes=(name,))
    await enter(engine, session)
    (claimed,) = await engine.store.claim([Want(session.id, session.worker, 7, 10, (name,))], engine.clock.now())
    return claimed.runs
