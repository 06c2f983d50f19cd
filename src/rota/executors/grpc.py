"""`grpc`: one unary call, `host:port/package.Service/Method`, whose types the server tells by reflection.

The payload becomes the request by the JSON mapping of protobuf, the reply becomes the result. Params: `tls` (false),
`metadata`. The run's id goes along as `idempotency-key`.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rota.domain.run import Outcome
from rota.executors.guard import Guard, Resolve
from rota.ports.desk import Assignment
from rota.ports.executor import Context

if TYPE_CHECKING:
    from rota.executors.grpc_client import GrpcClient


@dataclass(frozen=True, slots=True)
class GrpcOptions:
    """What calls may do."""

    allow: tuple[str, ...] = ()
    """Networks, addresses and hosts that may be reached although they are not public."""
    types_ms: int = 300_000
    """How long what a server told of its types is believed."""


class GrpcExecutor:
    """Makes calls. The client library is loaded with the first one."""

    kind = "grpc"

    def __init__(self, options: GrpcOptions = GrpcOptions(), resolve: Resolve | None = None) -> None:
        self._guard, self._types_ms = Guard(options.allow, resolve), options.types_ms
        self._client: GrpcClient | None = None

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        if self._client is None:
            from rota.executors.grpc_client import GrpcClient

            self._client = GrpcClient(self._guard, self._types_ms)
        return await self._client.run(assignment)

    async def close(self) -> None:
        """A connection lives as long as its call."""
