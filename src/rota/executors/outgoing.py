"""`http` and `grpc`: calls of other programs, to addresses that the guard lets through. They carry the run's id as
idempotency key, so that a receiver can tell a repetition, and never any credential of Rota itself.

`http`: one request to a URL, the payload as its JSON body; the answer's status decides. Params: `method` (POST),
`headers`, `success` (status codes and ranges such as "200-299", which is the default). GET and HEAD send no body.

`grpc`: one unary call, `host:port/package.Service/Method`, whose types the server tells by reflection. The payload
becomes the request by the JSON mapping of protobuf, the reply becomes the result. Params: `tls` (false), `metadata`.
"""

from typing import TYPE_CHECKING, Literal

from rota.domain.errors import Invalid
from rota.domain.run import Outcome
from rota.executors.guard import Guard, Resolve
from rota.executors.outcomes import refused
from rota.ports.desk import Assignment
from rota.ports.executor import Context

if TYPE_CHECKING:
    from rota.executors.grpc_client import GrpcClient
    from rota.executors.http_client import HttpClient


class Outgoing:
    """Makes calls of one kind. The client's library is loaded with the first one."""

    def __init__(
        self, kind: Literal["http", "grpc"], allow: tuple[str, ...] = (), resolve: Resolve | None = None
    ) -> None:
        """`allow`: networks, addresses and hosts that may be reached although they are not public."""
        self.kind: str = kind
        self._guard = Guard(allow, resolve)
        self._client: HttpClient | GrpcClient | None = None

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        self._client = self._client or self._opened()
        try:
            return await self._client.run(assignment)
        except Invalid as error:
            return refused(error)

    async def close(self) -> None:
        client, self._client = self._client, None
        if client:
            await client.close()

    def _opened(self) -> "HttpClient | GrpcClient":
        if self.kind == "http":
            from rota.executors.http_client import HttpClient

            return HttpClient(self._guard)
        from rota.executors.grpc_client import GrpcClient

        return GrpcClient(self._guard)
