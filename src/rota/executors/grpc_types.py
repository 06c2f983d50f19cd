"""The types of a gRPC server, as it tells them by reflection: v1 where it speaks that, v1alpha otherwise."""

from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter

import grpc
import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

# The two versions differ in the name of their package alone, so the messages of one serve both.
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

PATHS = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))
FILES_LIMIT = 500
"""Files of types that are taken from one server."""


class NoSuchMethod(LookupError):
    """The server has no such service, the service no such method, or it does not tell."""


class Types:
    """What is known of one server's types."""

    def __init__(self) -> None:
        self._files: dict[str, FileDescriptorProto] = {}
        self.pool = DescriptorPool()

    async def method(self, channel: grpc.aio.Channel, service: str, method: str) -> MethodDescriptor:
        """A method's types, asked for if not yet known. Raises `NoSuchMethod` or `grpc.aio.AioRpcError`."""
        if not self._knows(service):
            await self._learn(channel, service)
        try:
            # The stubs call it an object without methods.
            found: MethodDescriptor = self.pool.FindServiceByName(service).methods_by_name[method]
        except (KeyError, TypeError) as error:
            raise NoSuchMethod(f"service {service} has no method {method}: {error}") from None
        return found

    def _knows(self, service: str) -> bool:
        try:
            self.pool.FindServiceByName(service)
        except (KeyError, TypeError):
            return False
        return True

    async def _learn(self, channel: grpc.aio.Channel, service: str) -> None:
        await self._ask(channel, ServerReflectionRequest(file_containing_symbol=service))
        while missing := {name for file in self._files.values() for name in file.dependency} - self._files.keys():
            await self._ask(channel, ServerReflectionRequest(file_by_filename=missing.pop()))
        self.pool = pool_of(self._files)

    async def _ask(self, channel: grpc.aio.Channel, request: ServerReflectionRequest) -> None:
        before = len(self._files)
        response = await _answer(channel, request)
        for data in response.file_descriptor_response.file_descriptor_proto:
            file = FileDescriptorProto.FromString(data)
            self._files.setdefault(file.name, file)
        if not before < len(self._files) <= FILES_LIMIT:
            detail = response.error_response.error_message or f"{len(self._files)} files of types do not tell"
            raise NoSuchMethod(f"the server does not know {_wanted(request)}: {detail[:200]}")


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


def _wanted(request: ServerReflectionRequest) -> str:
    return request.file_containing_symbol or request.file_by_filename


async def _answer(channel: grpc.aio.Channel, request: ServerReflectionRequest) -> ServerReflectionResponse:
    for path in PATHS:
        ask = channel.stream_stream(
            path,
            request_serializer=ServerReflectionRequest.SerializeToString,
            response_deserializer=ServerReflectionResponse.FromString,
        )
        call = ask(iter([request]))
        try:
            async for response in call:
                return response
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.UNIMPLEMENTED:
                raise
        finally:
            call.cancel()
    raise NoSuchMethod("the server does not offer reflection, so its types are unknown")
