"""How runs are posted to a worker's URL: the scheduler's end of `worker/posted.py`.

A URL is the word of whoever holds a worker's key. So none is connected to that names a link-local or metadata address,
no redirect is followed, and nothing of an answer is believed, or shown, that the worker's key has not signed.
"""

from io import BytesIO
from ipaddress import IPv4Network, IPv6Network
from urllib.parse import urlsplit

import aiohttp

from rota.domain.errors import Invalid, RotaError, Unavailable, Unclear
from rota.domain.records import Session
from rota.executors.guard import Guard, is_numeric
from rota.executors.http_client import GuardedResolver
from rota.ports.runtime import Chance, Clock
from rota.worker import wire
from rota.worker.letters import Answer, Letter, Question, head_of, sealed
from rota.worker.posted import EXECUTE, HEAD, SIGNATURE

ANSWER_S, CONNECT_S = 5.0, 3.0
IDLE_S = 3.0
"""A connection unused so long is not used again; the worker may be about to close it."""
LETTER_MS = 30_000
"""A letter is good for so long: as far as a worker's clock may be off."""
ANSWER_BYTES = 64 << 10
PRIVATE = (
    "10.0.0.0/8", "127.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/8", "fd40::/10", "fd80::/9",
    *map(str, IPv4Network("100.64.0.0/10").address_exclude(IPv4Network("100.100.100.200"))),
    *map(str, IPv6Network("fd00::/11").address_exclude(IPv6Network("fd00:ec2::/32"))),
    *map(str, IPv6Network("fd20::/11").address_exclude(IPv6Network("fd20:ce::/32"))),
)  # fmt: skip
"""Where workers may be although that is not public: without the metadata services of clouds that are in there."""


class Poster:
    """A pool of connections. No cookies, no proxy of the environment."""

    def __init__(self, clock: Clock, chance: Chance, guard: Guard | None = None) -> None:
        self._clock, self._chance = clock, chance
        self._guard = guard or Guard(PRIVATE)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                resolver=GuardedResolver(self._guard), use_dns_cache=False, keepalive_timeout=IDLE_S, limit=0
            ),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S, sock_connect=CONNECT_S),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "rota", "Content-Type": "application/json", "Accept-Encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def post(self, session: Session, digest: str, body: bytes) -> wire.Took:
        """What the worker of the session says to this `Work`.

        Raises `Unavailable` where nothing arrived, or the worker refuses it; `Unclear` where it may have arrived.
        """
        name, until = f"{self._chance.bits(128):032x}", self._clock.now() + LETTER_MS
        letter = sealed(Question(name, session.opened_by, session.id, "post", "execute", until), body, digest)
        try:
            said = await self._sent(session.address, letter)
            head = head_of(said)
            if not said.bears(digest) or not isinstance(head, Answer) or head.id != name:
                raise Unclear("it is not signed by the worker's key")
            if head.status == 202:
                return wire.decode(wire.Took, said.body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
            raise Unclear(type(error).__name__) from None
        if head.status == 409:
            raise Unclear("it has come before")
        raise Unavailable(f"the worker refuses it with {head.status}")

    async def _sent(self, address: str, letter: Letter) -> Letter:
        """The answer. Raises `Unavailable` where there was no connection; anything else is unclear."""
        parts = urlsplit(address)
        url = f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}{EXECUTE}"
        headers = {HEAD: letter.head.decode(), SIGNATURE: letter.signature.decode()}
        try:
            if is_numeric(parts.hostname or ""):
                # The connector asks no resolver for what is an address already.
                await self._guard.addresses(parts.hostname or "", parts.port or 0)
            asked = await self._http.post(url, data=BytesIO(letter.body), headers=headers, allow_redirects=False)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL, RotaError) as error:
            raise Unavailable(_told(error)) from None
        async with asked:
            data = await _read(asked)
            return Letter(asked.headers.get(SIGNATURE, "").encode(), asked.headers.get(HEAD, "").encode(), data)

    async def close(self) -> None:
        """Close the pool."""
        await self._http.close()


def _told(error: Exception) -> str:
    """Why nothing was sent, without anything that the other side said."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "its certificate is not trusted here"
    if isinstance(error, Invalid):
        return error.message
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"no connection: {error.os_error.strerror or type(error.os_error).__name__}"
    return "no connection"


async def _read(answer: aiohttp.ClientResponse) -> bytes:
    """An answer of bearable size. Raises `Unclear`."""
    data = bytearray()
    async for part in answer.content.iter_chunked(ANSWER_BYTES):
        data += part
        if len(data) > ANSWER_BYTES:
            raise Unclear("it is too large")
    return bytes(data)
