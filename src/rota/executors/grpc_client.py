"""Making a gRPC call without generated code, to addresses that the guard checked. Loaded with a worker's first call."""

import asyncio
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import grpc
import grpc.aio
from google.protobuf import json_format, message_factory
from google.protobuf.message import DecodeError, Message

from rota.domain.errors import Invalid
from rota.domain.run import End, Outcome, Reason
from rota.executors.grpc_types import NoSuchMethod, Types
from rota.executors.guard import Forbidden, Guard
from rota.executors.outcomes import failure, from_json, refused, to_json
from rota.ports.desk import Assignment

COMMAND = re.compile(
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]{1,253}):(?P<port>[0-9]{1,5})"
    r"/(?P<service>[A-Za-z_][A-Za-z0-9_.]*)/(?P<method>[A-Za-z_][A-Za-z0-9_]*)"
)
KEY = re.compile(r"[0-9a-z_.-]+")
RESERVED = re.compile(r"grpc-.*|x-rota-.*|idempotency-key|.*-bin|te|content-type|user-agent")
VALUE = re.compile(r"[\x20-\x7e]*")
FINAL = frozenset({
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.ALREADY_EXISTS,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
})  # fmt: skip
"""Answers that another try would not change."""
REASONS = {"payload": Reason.BAD_PAYLOAD, "result": Reason.BAD_RESULT}
MESSAGE_LIMIT = 4 << 20
SERVERS_LIMIT = 100
"""Servers whose types are remembered."""


class Target(NamedTuple):
    """What a task calls."""

    host: str
    port: int
    tls: bool
    service: str
    method: str

    @property
    def server(self) -> tuple[str, int, bool]:
        """Where it is."""
        return self[:3]


class GrpcClient:
    """Calls with a connection each: the address is resolved and checked anew, and a moved server is found again."""

    def __init__(self, guard: Guard, types_ms: int) -> None:
        self._guard, self._types_ms = guard, types_ms
        self._types: dict[tuple[str, int, bool], tuple[float, Types]] = {}

    async def run(self, assignment: Assignment) -> Outcome:
        """The outcome of the one call that a task asks for."""
        try:
            target = target_of(assignment)
            metadata = metadata_of(assignment)
            return await self._call(target, metadata, from_json(assignment.payload))
        except Invalid as error:
            return refused(REASONS.get(error.field, Reason.ERROR), error)
        except Forbidden as error:
            return failure(f"refused: {error}", final=True, name="Forbidden")
        except NoSuchMethod as error:
            return failure(str(error), final=True, name="UNIMPLEMENTED")
        except grpc.aio.AioRpcError as error:
            return _failed(error)
        except OSError as error:
            return failure(f"no address: {error}", name=type(error).__name__)
        except (DecodeError, TypeError, ValueError) as error:
            return failure(f"the server's types make no sense: {error}", final=True, name=type(error).__name__)

    async def _call(self, target: Target, metadata: list[tuple[str, str]], payload: Any) -> Outcome:
        addresses = await self._guard.addresses(target.host.strip("[]"), target.port)
        async with _channel(target, addresses) as channel:
            try:
                types = self._types_of(target)
                method = await types.method(channel, target.service, target.method)
                if method.client_streaming or method.server_streaming:
                    return failure(f"{target.method} streams; only unary calls can be tasks", final=True)
                request = _request(message_factory.GetMessageClass(method.input_type)(), payload, types)
                path = f"/{target.service}/{target.method}"
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                data = await call(request, metadata=metadata)
                return _reply(message_factory.GetMessageClass(method.output_type)(), data, types)
            except (Invalid, NoSuchMethod, grpc.aio.AioRpcError):
                # The server may have other types by now than those remembered.
                self._types.pop(target.server, None)
                raise

    def _types_of(self, target: Target) -> Types:
        now = asyncio.get_running_loop().time()
        until, types = self._types.get(target.server, (0.0, Types()))
        if until <= now:
            if len(self._types) >= SERVERS_LIMIT:
                self._types.clear()
            types = Types()
            self._types[target.server] = (now + self._types_ms / 1000, types)
        return types


def target_of(assignment: Assignment) -> Target:
    """What a task's command names. Raises `Invalid`."""
    command, params = assignment.task.command, assignment.task.params
    found = COMMAND.fullmatch(command)
    if not found or not 0 < int(found["port"]) < 65_536:
        raise Invalid("command", f"{command[:200]!r} is not of the form host:port/package.Service/Method")
    return Target(found["host"], int(found["port"]), params.get("tls") is True, found["service"], found["method"])


def metadata_of(assignment: Assignment) -> list[tuple[str, str]]:
    """The task's metadata and the run's id. Raises `Invalid`."""
    given = assignment.task.params.get("metadata", {})
    if not isinstance(given, Mapping):
        raise Invalid("params.metadata", "an object of names and texts is wanted")
    for key, value in given.items():
        if not isinstance(key, str) or not KEY.fullmatch(key) or RESERVED.fullmatch(key):
            raise Invalid("params.metadata", f"{str(key)[:60]!r} cannot be set by a task: use a-z, 0-9 and _ . -")
        if not isinstance(value, str) or not VALUE.fullmatch(value):
            raise Invalid(f"params.metadata.{key}", "printable ASCII text is wanted")
    run = assignment.run
    own = [("idempotency-key", run.id), ("x-rota-run", run.id), ("x-rota-attempt", str(run.attempt))]
    return [*given.items(), *own]


def _channel(target: Target, addresses: list[str]) -> grpc.aio.Channel:
    """A channel to these addresses, of the first one's family; the library resolves nothing."""
    six = ":" in addresses[0]
    family = [address for address in addresses if (":" in address) is six]
    where = ",".join(f"[{address}]:{target.port}" if six else f"{address}:{target.port}" for address in family)
    options = [
        ("grpc.default_authority", f"{target.host}:{target.port}"),
        ("grpc.enable_http_proxy", 0),
        ("grpc.enable_retries", 0),
        ("grpc.max_receive_message_length", MESSAGE_LIMIT),
        ("grpc.use_local_subchannel_pool", 1),
    ]
    url = f"ipv6:{where}" if six else f"ipv4:{where}"
    if not target.tls:
        return grpc.aio.insecure_channel(url, options)
    options.append(("grpc.ssl_target_name_override", target.host.strip("[]")))
    return grpc.aio.secure_channel(url, grpc.ssl_channel_credentials(), options)


def _request(message: Message, payload: Any, types: Types) -> bytes:
    if payload is not None and not isinstance(payload, dict):
        raise Invalid("payload", f"{message.DESCRIPTOR.full_name} needs an object")
    try:
        json_format.ParseDict(payload or {}, message, descriptor_pool=types.pool)
    except json_format.ParseError as error:
        raise Invalid("payload", f"it is no {message.DESCRIPTOR.full_name}: {error}") from None
    return message.SerializeToString()


def _reply(message: Message, data: bytes, types: Types) -> Outcome:
    try:
        message.ParseFromString(data)
        fields = json_format.MessageToDict(message, descriptor_pool=types.pool)
    except (DecodeError, json_format.Error, TypeError, ValueError) as error:
        raise Invalid("result", f"the reply is no {message.DESCRIPTOR.full_name}: {error}") from None
    return Outcome(End.SUCCESS, to_json(fields))


def _failed(error: grpc.aio.AioRpcError) -> Outcome:
    code = error.code()
    text = f"{code.name}: {error.details() or 'no details'}"
    return failure(text, final=code in FINAL, name=code.name)
