"""The types of a gRPC server, as it tells them by reflection: v1 where it speaks that, v1alpha otherwise."""

from collections.abc import AsyncIterator, Sequence

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool

# The two versions differ in the name of their package alone, so the messages of one serve both.
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

PATHS = tuple(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo" for version in ("v1", "v1alpha"))
FILES_LIMIT = 1_000
"""Files of types that one service may need."""


class NoSuchMethod(LookupError):
    """The server has no such service, or the service no such method."""


class Types:
    """What is known of one server's types."""

    def __init__(self) -> None:
        self.pool = DescriptorPool()
        self._files: set[str] = set()

    async def method(self, channel: grpc.aio.Channel, service: str, method: str) -> MethodDescriptor:
        """A method's types, asked for if not yet known. Raises `NoSuchMethod` or `grpc.RpcError`."""
        try:
            found = self.pool.FindServiceByName(service)
        except KeyError:
            await self._learn(channel, service)
            found = self.pool.FindServiceByName(service)
        if method not in found.methods_by_name:
            raise NoSuchMethod(f"service {service} has no method {method}")
        return found.methods_by_name[method]

    async def _learn(self, channel: grpc.aio.Channel, service: str) -> None:
        files = await _ask(channel, ServerReflectionRequest(file_containing_symbol=service))
        known = {file.name: file for file in files}
        while missing := {name for file in known.values() for name in file.dependency} - known.keys() - self._files:
            if len(known) > FILES_LIMIT:
                raise NoSuchMethod(f"service {service} needs more than {FILES_LIMIT} files of types")
            for name in missing:
                more = await _ask(channel, ServerReflectionRequest(file_by_filename=name))
                known.update({file.name: file for file in more})
        self._add(known)

    def _add(self, files: dict[str, FileDescriptorProto]) -> None:
        """Into the pool, what others depend on first."""
        while files:
            name, file = files.popitem()
            waiting = [other for other in file.dependency if other in files]
            if waiting:
                files = {name: file, **files}
                files[waiting[0]] = files.pop(waiting[0])
            elif name not in self._files:
                self.pool.Add(file)
                self._files.add(name)
