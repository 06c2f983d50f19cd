"""What is posted to a worker's own URL: runs that the leader has placed at its session, so that they start at once.

Each post is a letter signed by the worker's credential (`worker/letters.py`): for this session, for a short time, and
once. What does not get here is found by the worker as ever, see `Worker._reconcile`; so a post may be lost, and one
that is doubtful is refused. Answers are signed as well, once it is proved who asks.
"""

import asyncio
from http import HTTPStatus
from typing import Any

import msgspec
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rota.domain.errors import Invalid
from rota.ports.runtime import Clock
from rota.worker import wire
from rota.worker.letters import MOST_AHEAD_MS, Answer, Letter, Question, head_of, read_key, sealed
from rota.worker.runtime import Worker

EXECUTE, HEALTH = "/api/task/execute", "/health"
HEAD, SIGNATURE = "Rota-Letter", "Rota-Signature"
BODY_BYTES = 4 << 20
READ_S = 10.0
"""A body may take so long to come."""
MOST_READING = 16
"""Bodies that are read at once; of these nobody knows yet who sends them."""
MOST_REMEMBERED = 10_000
JSON = "application/json"


class _No(Exception):
    """The answer is this status; nothing was begun."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class Post:
    """An ASGI app, for a worker that is told once it is there. Raises `Invalid` for a token that can sign nothing."""

    def __init__(self, token: str, clock: Clock) -> None:
        self._key, self._digest = read_key(token)
        self._clock = clock
        self.worker: Worker | None = None
        self._reading = 0
        self._seen: dict[str, int] = {}
        """Letters by id, and until when they have to be remembered."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request, question, kind = Request(scope, receive), None, JSON
        try:
            if _asks_for_health(request):
                status, body = 200, b'{"status":"ok"}'
            else:
                question, asked = await self._proved(request)
                ran = await self._checked(question).take(_work(asked))
                status, body = 202, wire.encode(wire.Took(tuple(ran)))
        except _No as no:
            status, body, kind = no.status, _problem(no), "application/problem+json"
        headers = {"Content-Type": kind}
        if question:
            letter = sealed(Answer(question.id, status, self._clock.now()), body, self._digest)
            headers |= {HEAD: letter.head.decode(), SIGNATURE: letter.signature.decode()}
        await Response(body, status, headers)(scope, receive, send)

    async def _proved(self, request: Request) -> tuple[Question, bytes]:
        """The question and its body. Raises `_No` where the worker's credential has not signed them."""
        if request.headers.get("content-type", "").partition(";")[0].strip() != JSON:
            raise _No(415, f"write {JSON}")
        letter = Letter(request.headers.get(SIGNATURE, "").encode(), request.headers.get(HEAD, "").encode(), b"")
        try:
            head = head_of(letter)
        except Invalid as error:
            raise _No(401, f"{HEAD} is no head of a letter: {error.message}") from None
        if not isinstance(head, Question) or head.key != self._key:
            raise _No(401, "this letter is not of the credential of this worker")
        letter = letter._replace(body=await self._read(request))
        if not letter.bears(self._digest):
            raise _No(401, f"{SIGNATURE} is not that of the credential of this worker")
        return head, letter.body

    async def _read(self, request: Request) -> bytes:
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > BODY_BYTES:
            raise _No(413, f"a body has at most {BODY_BYTES} bytes")
        if self._reading >= MOST_READING:
            raise _No(503, f"{MOST_READING} bodies are being read; come again")
        self._reading += 1
        try:
            async with asyncio.timeout(READ_S):
                return await _whole(request)
        except TimeoutError:
            raise _No(408, f"the body did not come within {READ_S:.0f} s") from None
        finally:
            self._reading -= 1

    def _checked(self, question: Question) -> Worker:
        """The worker that it is for. Raises `_No` for one of another time or place, and for a repeated one."""
        now, worker = self._clock.now(), self.worker
        if worker is None or question.to != worker.session:
            raise _No(403, "this letter is for another session")
        if question.call != "execute":
            raise _No(403, "this letter is for another call")
        if not now < question.until <= now + MOST_AHEAD_MS:
            raise _No(408, "this letter is too old, or for too far ahead; do the clocks agree?")
        if len(self._seen) >= MOST_REMEMBERED:
            self._seen = {one: until for one, until in self._seen.items() if until >= now}
        if question.id in self._seen:
            raise _No(409, "this letter has come before")
        if len(self._seen) >= MOST_REMEMBERED:
            raise _No(429, "too many letters in too short a time")
        self._seen[question.id] = question.until
        return worker


def _asks_for_health(request: Request) -> bool:
    """Whether it does, or is a post. Raises `_No` for anything else."""
    path = request.scope["path"]
    if path not in (EXECUTE, HEALTH):
        raise _No(404, f"there is nothing at this path; runs are posted to {EXECUTE}")
    if request.method != ("POST" if path == EXECUTE else "GET"):
        raise _No(405, "this path has no such method")
    return bool(path == HEALTH)


def _work(body: bytes) -> Any:
    """What was posted. Raises `_No` for what is malformed."""
    try:
        found = wire.taken(wire.decode(wire.Work, body))
    except Invalid as error:
        raise _No(422, str(error)) from None
    except IndexError:
        raise _No(422, "runs: one names a task that is not there") from None
    for run, task, _, _ in found.assignments:
        of = (run.namespace, run.task, run.revision) == (task.namespace, task.name, task.revision)
        if not of or not run.lane.startswith(f"{task.namespace}/{run.queue}/{task.executor}/"):
            raise _No(422, f"runs: {run.id} is not of the task that it names")
    return found


async def _whole(request: Request) -> bytes:
    """A body. Raises `_No` for one that is too large or breaks off."""
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            if len(body) > BODY_BYTES:
                raise _No(413, f"a body has at most {BODY_BYTES} bytes")
    except ClientDisconnect:
        raise _No(400, "the body broke off") from None
    return bytes(body)


def _problem(no: _No) -> bytes:
    title = HTTPStatus(no.status).phrase
    problem = {"type": "about:blank", "title": title, "status": no.status, "detail": str(no), "errors": []}
    return msgspec.json.encode(problem)
