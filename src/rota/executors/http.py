"""`http`: one request to a URL, the payload as its JSON body; the answer's status decides.

Params: `method` (POST), `headers`, `success` (status codes and ranges such as "200-299", which is the default). The
request carries the run's id as Idempotency-Key, so that a receiver can tell a repetition, and never any credential of
Rota itself. GET and HEAD send no body.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rota.domain.run import Outcome
from rota.executors.guard import Guard, Resolve
from rota.ports.desk import Assignment
from rota.ports.executor import Context

if TYPE_CHECKING:
    from rota.executors.http_client import HttpClient


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What requests may do."""

    allow: tuple[str, ...] = ()
    """Networks, addresses and hosts that may be reached although they are not public."""
    redirects: int = 5
    connect_ms: int = 10_000


class HttpExecutor:
    """Sends requests. The client library is loaded with the first one."""

    kind = "http"

    def __init__(self, options: HttpOptions = HttpOptions(), resolve: Resolve | None = None) -> None:
        self._options = options
        self._guard = Guard(options.allow, resolve)
        self._client: HttpClient | None = None

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        if self._client is None:
            from rota.executors.http_client import HttpClient

            self._client = HttpClient(self._guard, self._options.redirects, self._options.connect_ms)
        return await self._client.run(assignment)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
            self._client = None
