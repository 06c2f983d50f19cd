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
    from aiohttp import ClientSession


@dataclass(frozen=True, slots=True)
class HttpOptions:
    """What requests may do."""

    allow: tuple[str, ...] = ()
    """Networks, addresses and hosts that may be reached although they are not public."""


class HttpExecutor:
    """Sends requests. The client library is loaded with the first one."""

    kind = "http"

    def __init__(self, options: HttpOptions = HttpOptions(), resolve: Resolve | None = None) -> None:
        self._guard = Guard(options.allow, resolve)
        self._session: ClientSession | None = None

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        from rota.executors.http_client import opened, sent

        self._session = self._session or opened(self._guard)
        return await sent(self._session, self._guard, assignment)

    async def close(self) -> None:
        if self._session:
            await self._session.close()
            self._session = None
