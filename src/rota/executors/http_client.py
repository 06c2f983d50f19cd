"""Sending a request to addresses that the guard checked, hop by hop. Loaded with the first request of a worker."""

import socket

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from rota.domain.errors import Invalid
from rota.domain.run import Outcome, Reason
from rota.executors.guard import Forbidden, Guard, is_numeric
from rota.executors.http_answer import outcome_of_answer, read
from rota.executors.http_request import Request, request_of
from rota.executors.outcomes import failure, refused
from rota.ports.desk import Assignment

REDIRECTS = frozenset({301, 302, 303, 307, 308})


class GuardedResolver(AbstractResolver):
    """Gives the client's connector the addresses that the guard checked; it connects to these and no others."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._guard.addresses(host, port)
        ]

    async def close(self) -> None:
        """Nothing is held."""


class HttpClient:
    """One pool of connections. No cookies, no proxy from the environment, no credentials from a netrc file."""

    def __init__(self, guard: Guard, redirects: int, connect_ms: int) -> None:
        self._guard, self._redirects = guard, redirects
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(resolver=GuardedResolver(guard), use_dns_cache=False, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect_ms / 1000),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "rota"},
            skip_auto_headers=("Content-Type",),
            auto_decompress=False,
            trust_env=False,
        )

    async def run(self, assignment: Assignment) -> Outcome:
        """The outcome of the one request that a task asks for, redirects followed."""
        try:
            return await self._follow(request_of(assignment))
        except Invalid as error:
            return refused(Reason.ERROR, error)
        except Forbidden as error:
            return failure(f"refused: {error}", final=True, name="Forbidden")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            final = isinstance(error, aiohttp.InvalidURL)
            text = str(error) or type(error).__name__
            return failure(f"no answer: {text}", final=final, name=type(error).__name__)
        except ValueError as error:
            return failure(f"no such request can be sent: {error}", final=True, name="ValueError")

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def _follow(self, request: Request) -> Outcome:
        for _ in range(self._redirects + 1):
            await self._check_literal(request)
            async with self._session.request(
                request.method, request.url, data=request.body or None, headers=request.headers, allow_redirects=False
            ) as response:
                location = response.headers.get("Location", "")
                moves = response.status in REDIRECTS and location and not request.succeeds(response.status)
                if not moves:
                    return outcome_of_answer(request, await read(response))
                request = request.moved(response.status, location)
        return failure(f"more than {self._redirects} redirects, the last to {request.shown}", final=True)

    async def _check_literal(self, request: Request) -> None:
        """The connector asks no resolver for what is an address already."""
        host = request.url.raw_host or ""
        if is_numeric(host):
            await self._guard.addresses(host, request.url.port or 0)
