"""The desk across a network: the calls of `rota.ports.desk`, by HTTP to the API of a scheduler or by another way.

Nothing is sent twice in here: a call without an answer raises, and the runtime sends outcomes again until they are
confirmed, and asks what it holds where a claim may have happened. Fences and tokens make that right.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import TypeVar

import aiohttp
import msgspec

from rota.domain.errors import Barred, Incompatible, Invalid, Refused, RotaError, TooLarge, Unavailable, Unclear
from rota.domain.records import Load, Session
from rota.domain.run import Run
from rota.domain.states import Verdict
from rota.ports.desk import Assignment, Progress, Settlement, Taken
from rota.ports.loops import wait_for_event
from rota.ports.runtime import Clock
from rota.ports.store import BeatReply, Line, Want
from rota.servers.address import is_http
from rota.worker import wire

T = TypeVar("T")

Ask = Callable[[str, bytes, float], Awaitable[tuple[int, bytes]]]
"""Asks one call, with a message, for so many seconds: status as in HTTP, and body of the answer. Raises `RotaError`."""

ANSWER_S = 10.0
BEAT_S = 3.0
"""An answer to a beat may take so long, beside the time that it was asked to wait."""
IDLE_S = 3.0
"""A connection unused so long is not used again; the other side may be about to close it."""
PAUSE_S = 0.05
"""Between two claims that brought nothing: a desk that does not wait is not asked without end."""
MESSAGE_BYTES = 1 << 20
"""About so much goes into one message."""
SLOWEST = 32 << 10
"""Bytes of a message that go up within a second, at least."""
SKEW_MS = 1_000
"""The desk's clock is followed where one's own differs by more."""


@dataclass(frozen=True, slots=True)
class Server:
    """Where the scheduler's API is, and what lets this worker in. Raises `Invalid`."""

    url: str
    token: str
    ca: str = ""
    """File of the authorities (PEM) that its certificate is checked against; empty: those of this machine."""

    def __post_init__(self) -> None:
        if not is_http(self.url):
            raise Invalid("scheduler", f"{self.url!r:.80} is no address; write one such as https://rota.example:8080")
        if not self.token or not self.token.isascii() or not self.token.isprintable():
            raise Invalid("token", "is missing; `rota tokens add NAME --grant worker` makes one; give it by ROTA_TOKEN")

    def tls(self) -> ssl.SSLContext | bool:
        """How its certificate is checked: always, by name too. Raises `Invalid` for a file that cannot be read."""
        try:
            return ssl.create_default_context(cafile=self.ca) if self.ca else True
        except OSError as error:
            raise Invalid("ca", f"{self.ca} holds no certificates: {error}") from None


class DeskClock:
    """This machine's clocks; the time of day as the desk has it, where they differ: deadlines are the desk's words."""

    def __init__(self, own: Clock) -> None:
        self._own = own
        self._ahead = 0

    def now(self) -> int:
        return self._own.now() + self._ahead

    def monotonic(self) -> int:
        return self._own.monotonic()

    def follow(self, at: int) -> None:
        """The desk says that it is now `at`, in an answer that is small, and so quick on a slow way too."""
        ahead = at - self._own.now()
        self._ahead = ahead if abs(ahead) > SKEW_MS else 0


class RemoteDesk:
    """`ports.desk.Desk` of who can be asked; `listen` gives the ears that go with it.

    `place`: what it is called in errors. `wait_ms`: how long a claim may wait there for work. `answer_s`: after how
    long an answer, beside what it waits for, will not come any more.
    """

    def __init__(
        self,
        ask: Ask,
        place: str,
        clock: DeskClock,
        wait_ms: int = wire.LONGEST_CLAIM_MS,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._ask = ask
        self._place = place
        self._clock = clock
        self._wait_ms = wait_ms
        self._answer_s = answer_s
        self._polling = ""
        self._releasing: asyncio.Task[None] | None = None
        self.idle = False
        """Whether the last claim brought nothing."""
        self.patience_s = 0.0
        """How long the next beat may wait for its answer."""

    def listen(self, topics: Sequence[str]) -> "_Ear":
        """The ear of who claims, or of who beats."""
        return _Ear(self, topics[0].startswith("session:"))

    async def enter(self, session: Session) -> None:
        self._clock.follow((await self._call("enter", wire.entering(session), wire.Entered)).at)

    async def leave(self, session: str, reason: str) -> None:
        await self._call("leave", wire.Leave(session, reason), wire.Entered)

    async def claim(self, want: Want) -> Taken:
        self._polling, self.idle = want.session, False
        ask = wire.Ask(want.session, want.token, want.limit, want.exclude[-wire.BATCH :], self._wait_ms)
        try:
            said = await self._call("claim", ask, wire.Work, self._wait_ms / 1_000 + self._answer_s)
        finally:
            self._polling = ""
        self.idle = not said.runs
        taken = wire.taken(said)
        more = await self.given(want.session, said.rest)
        return taken._replace(assignments=taken.assignments + more.assignments)

    async def beat(self, session: str, load: Load | None = None) -> BeatReply:
        wait_s, self.patience_s = self.patience_s, 0.0
        wait_ms = min(round(wait_s * 1_000), wire.LONGEST_BEAT_MS)
        beat = wire.Beat(session, wait_ms, wire.Told(*load) if load else None)
        said = await self._call("beat", beat, wire.Beaten, wait_s + BEAT_S)
        self._clock.follow(said.at)
        return BeatReply(*[getattr(said.reply, name) for name in BeatReply._fields])

    async def held(self, session: str) -> list[Run]:
        return list(map(wire.received, await self._call("held", wire.Held(session), wire.Holding)))

    async def given(self, session: str, runs: Sequence[str]) -> Taken:
        found: list[Assignment] = []
        left = tuple(runs)
        while left:
            said = await self._call("held", wire.Held(session, left[: wire.GIVEN]), wire.Work)
            found += wire.taken(said).assignments
            left = said.rest + left[wire.GIVEN :]
        return Taken(tuple(found), False, True)

    async def report(self, progress: Sequence[Progress], lines: Sequence[Line]) -> list[Verdict]:
        news, said = _parts(progress, lambda one: 2 * len(one.progress)), _parts(lines, lambda one: 2 * len(one.text))
        verdicts: list[Verdict] = []
        for some, told in zip_longest(news, said, fillvalue=()):
            verdicts += await self._call("report", wire.report(tuple(some), tuple(told)), wire.Judged)
        return verdicts

    async def settle(self, settlements: Sequence[Settlement]) -> list[Verdict]:
        verdicts: list[Verdict] = []
        for part in _parts(settlements, lambda one: 2 * len(one.outcome.result or b"") + 2 * len(one.outcome.error)):
            verdicts += await self._call("settle", wire.Settle(tuple(map(wire.ended, part))), wire.Judged)
        return verdicts

    def release(self) -> None:
        """Let a claim that waits at the desk come back at once, with what it has got."""
        if self._polling:
            self._releasing = asyncio.create_task(self._release(self._polling))

    async def _release(self, session: str) -> None:
        with suppress(RotaError):  # then it comes back by itself
            await self._call("claim", wire.Ask(session, 0, 0), wire.Work)

    async def _call(self, call: str, message: wire.Message, answer: type[T], within_s: float = 0) -> T:
        status, data = await self._ask(call, wire.encode(message), within_s or self._answer_s)
        if status != 200:
            raise self._trouble(status, data)
        try:
            return wire.decode(answer, data)
        except Invalid as error:
            raise Incompatible(f"{self._place} answers what this worker cannot read: {error}") from None

    def _trouble(self, status: int, data: bytes) -> RotaError:
        """What an answer of trouble means to a worker."""
        detail, field = _problem(data)
        match status:
            case 401:
                remedy = "it is unknown, expired or revoked: `rota tokens add NAME --grant worker` makes another"
                return Barred(f"{self._place} does not accept this worker's token; {remedy}")
            case 403:
                return Barred(f"{self._place} refuses this worker: {detail}")
            case 413:
                return TooLarge(field, detail)
            case 422 if field != "v":
                return Invalid(field, detail)
            case 409:
                return Refused(detail)
            case _ if status in (408, 429) or status >= 500:  # whatever proxies call it
                return Unavailable(f"{self._place}: {detail}")
        return Incompatible(f"{self._place} is no desk for this worker: {status} {detail}")


def _problem(data: bytes) -> tuple[str, str]:
    """Detail, without its field, and first field of a problem; of an answer that is none, its beginning."""
    try:
        found = msgspec.json.decode(data)
        errors = found.get("errors") or [{"field": ""}]
        field = str(errors[0]["field"])
        return str(found["detail"])[:500].removeprefix(f"{field}: "), field
    except (ValueError, LookupError, TypeError, AttributeError):
        return repr(data[:80].decode(errors="replace")), ""


def _parts(items: Sequence[T], size: Callable[[T], int]) -> Iterator[list[T]]:
    """In messages of bearable size, in order."""
    part: list[T] = []
    total = 0
    for item in items:
        total += (own := size(item))
        if part and (total > MESSAGE_BYTES or len(part) == wire.BATCH):
            yield part
            part, total = [], own
        part.append(item)
    if part:
        yield part


class _Ear:
    """Hears nothing: a claim waits for work at the desk, a beat for news of its session, and the answer tells."""

    def __init__(self, desk: RemoteDesk, beats: bool) -> None:
        self._desk = desk
        self._beats = beats
        self._woken = asyncio.Event()

    async def wait(self, seconds: float | None) -> Mapping[str, int]:
        if self._beats:
            self._desk.patience_s = seconds or 0.0
        elif self._desk.idle:
            await wait_for_event(self._woken, PAUSE_S)
        self._woken.clear()
        return {}

    def wake(self) -> None:
        self._woken.set()
        self._desk.release()

    def close(self) -> None:
        """Nothing is held."""


async def _asked(
    http: aiohttp.ClientSession, server: str, call: str, message: bytes, within_s: float
) -> tuple[int, bytes]:
    """`Ask` by HTTP."""
    url, upload_s = f"{server}/api/worker/{call}", len(message) / SLOWEST
    # What is large may be long under way: as long as more of it comes, there is an answer.
    within = aiohttp.ClientTimeout(sock_read=within_s + upload_s)
    try:
        async with asyncio.timeout(within_s + upload_s):
            found = await http.post(url, data=message, timeout=within, allow_redirects=False)
        async with found:
            return found.status, await found.read()
    except aiohttp.ClientConnectorCertificateError as error:
        trouble = f"shows a certificate that is not trusted here: {error.certificate_error}"
        raise Unavailable(f"{server} {trouble}; name its authority by --ca") from None
    except aiohttp.ClientConnectorError as error:
        number = error.os_error.errno or 0
        said = os.strerror(number) if number > 0 else str(error)
        raise Unavailable(f"{server} cannot be reached: {said}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise Unclear(f"no answer from {server}: {type(error).__name__} {error}".rstrip()) from None


@asynccontextmanager
async def reached(server: Server, clock: DeskClock) -> AsyncIterator[RemoteDesk]:
    """A desk with connections of its own, kept alive. No proxy of the environment, no cookies."""
    http = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(ssl=server.tls(), keepalive_timeout=IDLE_S, limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={
            "Authorization": f"Bearer {server.token}",
            "Content-Type": "application/json",
            "User-Agent": "rota-worker",
        },
        trust_env=False,
    )
    async with http:
        url = server.url.rstrip("/")
        yield RemoteDesk(partial(_asked, http, url), url, clock)
