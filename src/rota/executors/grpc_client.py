"""A gRPC call without generated code, to addresses that the guard checked. Loaded with the first call of a worker.

The server tells its types by reflection: v1 where it speaks that, v1alpha otherwise.
"""

import asyncio
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from typing import Any

import grpc
import grpc.aio
from google.protobuf import json_format
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

# The two versions differ in the name of their package alone, so the messages of one serve both.
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from rota.domain.errors import Invalid
from rota.domain.run import End, Outcome
from rota.executors.forms import METADATA, Target
from rota.executors.forms import grpc as target_of
from rota.executors.guard import Guard
from rota.executors.outcomes import failure, from_json, marks, to_json
from rota.ports.desk import Assignment

FINAL = frozenset({
    "INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "UNAUTHENTICATED", "FAILED_PRECONDITION",
    "OUT_OF_RANGE", "UNIMPLEMENTED",
})  # fmt: skip
"""Answers that another try would not change."""
MESSAGE_LIMIT = 4 << 20
REFLECTION = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))
UNWRITTEN = "Internal error from Core"
"""What the library says, in place of the server, of a call that was over before it had written."""
TYPES_S = 300
"""How long what a server told of its types is believed."""
FILES_LIMIT, TYPES_LIMIT = 500, 8 << 20
"""Files of types, and bytes of them, that are taken from one server."""


class NoSuchMethod(LookupError):
    """The server has no such service, the service no such unary method, or it does not tell."""


class GrpcClient:
    """Calls with a connection each: the address is resolved and checked anew, and a moved server is found again."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._methods: dict[Target, MethodDescriptor] = {}

    async def run(self, assignment: Assignment) -> Outcome:
        """The outcome of the one call that a task asks for. Raises `Invalid`."""
        try:
            return await self._call(target_of(assignment.task), assignment)
        except (NoSuchMethod, DecodeError) as error:
            return failure(str(error), name="UNIMPLEMENTED", final=True)
        except grpc.aio.AioRpcError as error:
            name = error.code().name
            return failure(f"{name}: {error.details() or 'no details'}", name=name, final=name in FINAL)
        except OSError as error:
            return failure(f"no address: {error}", name=type(error).__name__)

    async def _call(self, target: Target, assignment: Assignment) -> Outcome:
        metadata = METADATA.of(assignment.task) | marks(assignment.run)
        payload = from_json(assignment.payload)
        addresses = await self._guard.addresses(target.host.strip("[]"), target.port)
        async with _channel(target, addresses) as channel:
            try:
                method = await self._method(channel, target)
                path = f"/{target.service}/{target.method}"
                call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
                data = await call(_request(method, payload), metadata=list(metadata.items()))
                return Outcome(End.SUCCESS, to_json(_reply(method, data)))
            except (Invalid, grpc.aio.AioRpcError):
                # The server may have other types by now than those remembered.
                self._methods.pop(target, None)
                raise

    async def _method(self, channel: grpc.aio.Channel, target: Target) -> MethodDescriptor:
        found = self._methods.get(target)
        if found is None:
            found = self._methods[target] = await method_of(channel, target.service, target.method)
            asyncio.get_running_loop().call_later(TYPES_S, self._methods.pop, target, None)
        return found

    async def close(self) -> None:
        """A connection lives as long as its call."""


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


def _request(method: MethodDescriptor, payload: Any) -> bytes:
    message = GetMessageClass(method.input_type)()
    if payload is not None and not isinstance(payload, dict):
        raise Invalid("payload", f"{method.input_type.full_name} needs an object")
    try:
        json_format.ParseDict(payload or {}, message, descriptor_pool=method.input_type.file.pool)
        return message.SerializeToString()
    except Exception as error:  # the library lets slip whatever its parts raise
        raise Invalid("payload", f"it is no {method.input_type.full_name}: {_said(error)}") from None


def _reply(method: MethodDescriptor, data: bytes) -> dict[str, Any]:
    message = GetMessageClass(method.output_type)()
    try:
        message.ParseFromString(data)
        return json_format.MessageToDict(message, descriptor_pool=method.output_type.file.pool)
    except Exception as error:
        raise Invalid("result", f"the reply is no {method.output_type.full_name}: {_said(error)}") from None


def _said(error: Exception) -> str:
    return str(error) if isinstance(error, json_format.Error) else f"{type(error).__name__}: {error}"


async def method_of(channel: grpc.aio.Channel, service: str, method: str) -> MethodDescriptor:
    """A method with its types. Raises `NoSuchMethod` or `grpc.aio.AioRpcError`."""
    files: dict[str, FileDescriptorProto] = {}
    await _learn(files, channel, ServerReflectionRequest(file_containing_symbol=service))
    while missing := {name for file in files.values() for name in file.dependency} - files.keys():
        await _learn(files, channel, ServerReflectionRequest(file_by_filename=missing.pop()))
    try:
        # The stubs call it an object without methods.
        found: MethodDescriptor = pool_of(files).FindServiceByName(service).methods_by_name[method]
    except (KeyError, TypeError) as error:
        raise NoSuchMethod(f"service {service} has no method {method}: {error}") from None
    if found.client_streaming or found.server_streaming:
        raise NoSuchMethod(f"{method} streams; only unary calls can be tasks")
    return found


def pool_of(files: Mapping[str, FileDescriptorProto]) -> DescriptorPool:
    """A pool of these files, for one server alone: two may call different types by one name. Raises `NoSuchMethod`."""
    pool = DescriptorPool()
    try:
        # In order, and never in a circle: the library itself follows a circle until the process dies.
        for name in TopologicalSorter({file.name: file.dependency for file in files.values()}).static_order():
            pool.AddSerializedFile(files[name].SerializeToString())
    except (CycleError, KeyError, TypeError) as error:
        raise NoSuchMethod(f"the server's types make no sense: {error}") from None
    return pool


async def _learn(
    files: dict[str, FileDescriptorProto], channel: grpc.aio.Channel, request: ServerReflectionRequest
) -> None:
    before = len(files)
    response = await _answer(channel, request)
    for data in response.file_descriptor_response.file_descriptor_proto:
        file = FileDescriptorProto.FromString(data)
        files.setdefault(file.name, file)
    size = sum(file.ByteSize() for file in files.values())
    if not before < len(files) <= FILES_LIMIT or size > TYPES_LIMIT:
        detail = response.error_response.error_message or f"{len(files)} files, {size:,} bytes of types do not tell"
        wanted = request.file_containing_symbol or request.file_by_filename
        raise NoSuchMethod(f"the server does not know {wanted}: {detail[:200]}")


async def _answer(channel: grpc.aio.Channel, request: ServerReflectionRequest) -> ServerReflectionResponse:
    for path in REFLECTION:
        # Read here: the library tells nothing of an answer that it cannot.
        ask: grpc.aio.StreamStreamMultiCallable[ServerReflectionRequest, bytes] = channel.stream_stream(
            path, request_serializer=ServerReflectionRequest.SerializeToString
        )
        call = ask(iter([request]))
        try:
            async for response in call:
                return ServerReflectionResponse.FromString(response)
        except grpc.aio.AioRpcError as error:
            # A server that ended the call before our question was written makes the library cancel it, or say so.
            ended = error.code() is grpc.StatusCode.CANCELLED or error.details() == UNWRITTEN
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED and not ended:
                raise
        finally:
            call.cancel()
    raise NoSuchMethod("the server does not offer reflection, so its types are unknown")
