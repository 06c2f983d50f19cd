"""A whole built platform in this process: the guarded API over a store in memory, and a key of each role.

Requests are bytes and answers are bytes, as on a wire, but there is no wire: one takes about a millisecond. Everything
runs in a loop of its own, so that tests which cannot await, those of generated requests, use it too.
"""

import asyncio
import json
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote_to_bytes, urlsplit

import requests
from schemathesis.core.transport import Response
from schemathesis.generation.case import Case
from starlette.types import Message

from rota.api.app import Options, make_app
from rota.api.door import Door
from rota.api.feed import Feed
from rota.api.places import GuardOptions
from rota.domain.access import ANY, Grant
from rota.domain.lane import lane
from rota.domain.people import Kind, Token, User
from rota.domain.records import Audit, Queue, Session
from rota.domain.run import Run
from rota.domain.schedule import Schedule
from rota.domain.task import Task
from rota.domain.triggers import Interval
from rota.engine import people
from rota.engine.control import pause_queue
from rota.engine.define import create_task
from rota.engine.sessions import enter
from rota.engine.submit import Order, submit
from rota.executors.forms import FORMS
from rota.identity import Identity
from rota.observe.metrics import Metrics
from rota.ports.store import Line, Page
from rota.testing.factories import make_session, make_task
from tests.identity.support import NO_RATES, PASSWORD, ROOT, SECRET
from tests.unit.engine.support import House, opened

T = TypeVar("T")

ROLES = ("nobody", "worker", "viewer", "operator", "developer", "admin")
"""Who asks, the weakest first; `nobody` shows no credential."""
KINDS: tuple[Any, ...] = (Task, Schedule, Run, Session, Queue, User, Token)
"""What nobody may change without a right to."""
HOST = "http://localhost"
PARTS = ("method", "url", "headers", "params", "data", "json", "cookies", "files")
STREAM_S = 0.02
"""A listener to a stream goes away so soon."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, list[str]]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def fields(self) -> list[str]:
        """Of a refusal, what was wrong; nothing of what is none."""
        return [one["field"] for one in self.json["errors"]] if self.status >= 400 else []


class Platform:
    """The app, who may ask, and what lies in the store."""

    sent = 0
    """Requests, of all platforms together."""

    def __init__(self, runner: asyncio.Runner, house: House, door: Door, app: Any) -> None:
        self.house = house
        self.door = door
        self.app = app
        self.keys: dict[str, str] = {}
        self._loop = runner.get_loop()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run_until_complete(work)

    async def key(self, name: str, *grants: Grant, **fields: Any) -> str:
        made, text = await self.door.mint(replace(Token("", Kind.KEY, name, grants=grants), **fields), ROOT)
        self.keys[name] = text
        return made.id

    def call(self, case: Case[Any], role: str) -> Response:
        """A generated request as this role sends it."""
        kwargs = case.as_transport_kwargs(base_url=HOST)
        kwargs["headers"] = {**(kwargs.get("headers") or {}), **self._shown(role)}
        prepared = requests.Request(**{name: kwargs[name] for name in PARTS if name in kwargs}).prepare()
        body = prepared.body or b""
        answer = self.ask(
            str(prepared.method),
            str(prepared.url),
            body if isinstance(body, bytes) else str(body).encode(),
            prepared.headers,
        )
        return Response(answer.status, answer.headers, answer.body, prepared, 0.0, False)

    def _shown(self, role: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.keys[role]}"} if role in self.keys else {}

    def say(self, role: str, method: str, path: str, body: Any = None) -> Answer:
        """A request of this role, with JSON in its body; what comes back is never the server's fault, nor says how."""
        sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        answer = self.ask(method, HOST + path, sent, {"content-type": "application/json"} if sent else {}, role)
        assert answer.status < 500, (method, path, answer)
        assert b"Traceback" not in answer.body
        return answer

    def ask(
        self, method: str, url: str, body: bytes = b"", headers: Mapping[str, str | bytes] = {}, role: str = ""
    ) -> Answer:
        """One request, as it is."""
        Platform.sent += 1
        return self.run(self._asked(method, url, body, {**headers, **self._shown(role)}))

    async def _asked(self, method: str, url: str, body: bytes, headers: Mapping[str, str | bytes]) -> Answer:
        parts = urlsplit(url)
        raw = parts.path.encode("latin-1")
        given = [(name.lower().encode("latin-1"), _bytes(value)) for name, value in headers.items()]
        given += [(b"host", b"localhost"), (b"content-length", str(len(body)).encode())]
        scope = {
            "type": "http", "http_version": "1.1", "method": method, "scheme": "http", "raw_path": raw,
            "path": unquote_to_bytes(raw).decode("utf-8", "replace"), "query_string": parts.query.encode("latin-1"),
            "headers": list(dict(given).items()), "client": ("127.0.0.1", 5), "server": ("localhost", 80),
            "root_path": "", "asgi": {"version": "3.0", "spec_version": "2.3"},
        }  # fmt: skip
        sent: list[Message] = []
        gone, first = asyncio.Event(), True

        async def receive() -> Message:
            nonlocal first
            if first:
                first = False
                return {"type": "http.request", "body": body, "more_body": False}
            await gone.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if message["type"] == "http.response.start" and b"event-stream" in dict(message["headers"]).get(
                b"content-type", b""
            ):
                self._loop.call_later(STREAM_S, gone.set)

        await self.app(scope, receive, send)
        told: dict[str, list[str]] = {}
        for name, value in sent[0]["headers"]:
            told.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
        return Answer(sent[0]["status"], told, b"".join(one.get("body", b"") for one in sent[1:]))

    def kept(self) -> dict[tuple[str, str], int]:
        """What there is, in which version: what was changed differs."""
        return self.run(self._kept())

    async def _kept(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        for kind in KINDS:
            page: Page[Any] = await self.house.store.find(kind, limit=100_000)
            found |= {(kind.__name__, str(held.record.id)): held.version for held in page.items}
        return found

    def deeds(self) -> list[Audit]:
        return self.run(self.house.all(Audit))


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8")


async def _things(house: House) -> None:
    """A task with all that belongs to one, in `main` and, under the same names, in `far`."""
    for number, space in enumerate(("main", "far"), 1):
        task = make_task(number, namespace=space, name="report", executor="python", payload=b'{"far": 1}')
        schedule = Schedule(space, "report", "report", Interval(60_000))
        await create_task(house.engine, task, [schedule], "ann")
        line = lane(space, "default", "python")
        await enter(house.engine, make_session(number, id=f"{number:032d}", lanes=(line,)))
        receipts = await submit(house.engine, [Order("report", space) for _ in range(3)])
        await house.store.logs.append([Line(receipts[0].id, 1, house.clock.now(), "stdout", "info", f"of {space}")])
        await pause_queue(house.engine, space, "default", f"{space} rests", "ann")


@contextmanager
def built(**guard: Any) -> Iterator[Platform]:
    """A platform with things in two namespaces; each role has a key, over `main` alone but for the admin's."""
    with asyncio.Runner() as runner:
        loop, stack = runner.get_loop(), AsyncExitStack()
        try:
            yield loop.run_until_complete(_built(runner, stack, guard))
        finally:
            loop.run_until_complete(stack.aclose())


async def _built(runner: asyncio.Runner, stack: AsyncExitStack, guard: dict[str, Any]) -> Platform:
    house = await stack.enter_async_context(opened())
    rates = guard.get("rates", NO_RATES)
    door, feed = Door(house.engine, Identity(SECRET), rates), Feed(house.engine.store.watch, house.engine.emit)
    options = Options(SECRET, GuardOptions(**{"rates": NO_RATES} | guard), feed, Metrics())
    made = Platform(runner, house, door, make_app(house.engine, door, options))
    stack.push_async_callback(feed.close)
    house.engine.forms = FORMS
    await _things(house)
    for role in ROLES[1:]:
        await made.key(role, Grant(role, ANY if role == "admin" else "main"))
    await people.add_user(house.engine, User("anna", (Grant("viewer"),), await door.hashed(PASSWORD)), ROOT)
    return made
