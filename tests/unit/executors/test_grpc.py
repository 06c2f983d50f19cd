import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf import any_pb2, message_factory
from google.protobuf.descriptor_database import DescriptorDatabase
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.reflection import ReflectionServicer
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest, ServerReflectionResponse

from rota.domain.run import End, Reason
from rota.executors import grpc_client
from rota.executors.grpc_client import NoSuchMethod, pool_of
from rota.executors.outgoing import Outgoing
from tests.unit.executors.support import PATIENCE, Attempt, assigned, outcome

SERVER = "127.0.0.2"
ALLOWED = (SERVER,)
DOUBLE, STRING, INT64, MESSAGE, OPTIONAL = 1, 9, 3, 11, 1


def text_field(message, name, number, kind=STRING, type_name=None):
    message.field.add(name=name, number=number, type=kind, label=OPTIONAL, type_name=type_name)


def types() -> DescriptorPool:
    """package shop: service Till { Sum(Order) -> Bill; Watch(Order) -> stream Bill }, in files that need each other."""
    money = FileDescriptorProto(name="money.proto", package="shop", syntax="proto3")
    text_field(money.message_type.add(name="Money"), "amount", 1, INT64)
    any_file = FileDescriptorProto.FromString(any_pb2.DESCRIPTOR.serialized_pb)
    order = FileDescriptorProto(
        name="order.proto", package="shop", syntax="proto3", dependency=["money.proto", any_file.name]
    )
    wanted = order.message_type.add(name="Order")
    text_field(wanted, "customer_name", 1)
    text_field(wanted, "price", 2, MESSAGE, ".shop.Money")
    text_field(wanted, "weight", 3, DOUBLE)
    text_field(wanted, "extra", 4, MESSAGE, ".google.protobuf.Any")
    till = FileDescriptorProto(
        name="till.proto", package="shop", syntax="proto3", dependency=["order.proto", "money.proto", any_file.name]
    )
    bill = till.message_type.add(name="Bill")
    text_field(bill, "text", 1)
    text_field(bill, "extra", 2, MESSAGE, ".google.protobuf.Any")
    service = till.service.add(name="Till")
    service.method.add(name="Sum", input_type=".shop.Order", output_type=".shop.Bill")
    service.method.add(name="Watch", input_type=".shop.Order", output_type=".shop.Bill", server_streaming=True)
    database = DescriptorDatabase()
    for file in (money, any_file, order, till):
        database.Add(file)
    return DescriptorPool(database)


POOL = types()
Order = message_factory.GetMessageClass(POOL.FindMessageTypeByName("shop.Order"))
Bill = message_factory.GetMessageClass(POOL.FindMessageTypeByName("shop.Bill"))


@dataclass
class Till:
    """A shop's till: what it was asked, and what it should answer."""

    versions: tuple[str, ...] = ("v1", "v1alpha")
    orders: list[Any] = field(default_factory=list)
    metadata: list[dict[str, Any]] = field(default_factory=list)
    code: grpc.StatusCode | None = None
    text: str = ""
    extra: Any = None
    answer: Callable[[Any], bytes] = ServerReflectionResponse.SerializeToString
    asked: list[str] = field(default_factory=list)
    hold: asyncio.Event | None = None
    left: asyncio.Event = field(default_factory=asyncio.Event)
    address: str = ""

    async def sum(self, order, context):
        self.orders.append(order)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.hold:
            self.hold.set()
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        if self.code:
            await context.abort(self.code, "the till says no")
        return Bill(extra=self.extra, text=self.text or f"{order.customer_name} pays {order.price.amount}")

    def reflect(self, version):
        servicer = ReflectionServicer(["shop.Till"], POOL)

        async def info(requests, context):
            self.asked.append(version)
            for response in servicer.ServerReflectionInfo([request async for request in requests], context):
                yield response

        handler = grpc.stream_stream_rpc_method_handler(info, ServerReflectionRequest.FromString, self.answer)
        name = f"grpc.reflection.{version}.ServerReflection"
        return grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": handler})

    def handlers(self):
        method = grpc.unary_unary_rpc_method_handler(self.sum, Order.FromString, Bill.SerializeToString)
        yield grpc.method_handlers_generic_handler("shop.Till", {"Sum": method})
        yield from map(self.reflect, self.versions)


@pytest.fixture
async def open_till():
    servers = []

    async def opened(till: Till) -> Till:
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(tuple(till.handlers()))
        till.address = f"{SERVER}:{server.add_insecure_port(f'{SERVER}:0')}"
        await server.start()
        servers.append(server)
        return till

    yield opened
    for server in servers:
        await server.stop(None)


@pytest.fixture
async def till(open_till):
    return await open_till(Till())


async def called(command, payload=None, allow=ALLOWED, resolve=None, **params):
    executor = Outgoing("grpc", allow, resolve)
    end, _ = await outcome(executor, assigned(command, payload, executor="grpc", params=params))
    await executor.close()
    return end


PAYLOAD = {"customerName": "Ada", "price": {"amount": 7}}


async def test_the_payload_becomes_the_request_and_the_reply_the_result(till):
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD, metadata={"color": "blue"})
    assert (end.end, end.result) == (End.SUCCESS, b'{"text":"Ada pays 7"}')
    metadata = till.metadata[0]
    assert (metadata["idempotency-key"], metadata["x-rota-run"], metadata["x-rota-attempt"]) == ("run-1", "run-1", "2")
    assert metadata["color"] == "blue"
    assert "authorization" not in metadata


async def test_fields_may_be_written_as_declared_and_left_out(till):
    assert (await called(f"{till.address}/shop.Till/Sum", {"customer_name": "Bo"})).result == b'{"text":"Bo pays 0"}'
    assert (await called(f"{till.address}/shop.Till/Sum")).result == b'{"text":" pays 0"}'


@pytest.mark.parametrize("versions", [("v1",), ("v1alpha",)])
async def test_either_version_of_reflection_will_do(open_till, versions):
    till = await open_till(Till(versions))
    assert (await called(f"{till.address}/shop.Till/Sum", PAYLOAD)).end is End.SUCCESS
    assert set(till.asked) == set(versions)


async def test_without_reflection_the_failure_says_so(open_till):
    till = await open_till(Till(()))
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.final) == (End.FAILURE, True)
    assert "does not offer reflection" in end.error


class Ended:
    """A channel of which each call is over before the question was written, with what the library says then."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        self.error = grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details)

    def stream_stream(self, path: str, **_: Any) -> Callable[..., "Ended"]:
        return lambda questions: self

    async def __aiter__(self) -> AsyncIterator[bytes]:
        raise self.error
        yield b""

    def cancel(self) -> None: ...


async def test_a_call_that_was_over_before_it_was_written_offers_no_reflection():
    channel: Any
    for code, details in ((grpc.StatusCode.CANCELLED, ""), (grpc.StatusCode.INTERNAL, "Internal error from Core")):
        channel = Ended(code, details)
        with pytest.raises(NoSuchMethod, match="does not offer reflection"):
            await grpc_client.method_of(channel, "shop.Till", "Sum")
    channel = Ended(grpc.StatusCode.INTERNAL, "the server's own")
    with pytest.raises(grpc.aio.AioRpcError):
        await grpc_client.method_of(channel, "shop.Till", "Sum")


async def test_an_answer_of_reflection_that_is_none_is_final(open_till):
    till = await open_till(Till(answer=lambda response: b"\xff"))
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("UNIMPLEMENTED",))


def padded(response):
    """An answer of reflection with one file, and more of everything in it than anybody needs."""
    found = response.file_descriptor_response.file_descriptor_proto
    file = FileDescriptorProto.FromString(found[0])
    file.options.java_package = "x" * 3_000_000
    found[:] = [file.SerializeToString()]
    return response.SerializeToString()


async def test_a_server_of_endless_types_is_left(open_till):
    till = await open_till(Till(answer=padded))
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("UNIMPLEMENTED",))
    assert "bytes of types" in end.error
    assert till.orders == []


async def test_types_are_asked_for_once(till):
    executor = Outgoing("grpc", ALLOWED)
    for _ in range(3):
        await outcome(executor, assigned(f"{till.address}/shop.Till/Sum", PAYLOAD))
    assert len(till.orders) == 3
    assert len(till.asked) == 1


async def test_types_are_asked_for_again_when_they_are_old(till, monkeypatch):
    monkeypatch.setattr(grpc_client, "TYPES_S", 0)
    executor = Outgoing("grpc", ALLOWED)
    for _ in range(2):
        await outcome(executor, assigned(f"{till.address}/shop.Till/Sum", PAYLOAD))
    assert len(till.asked) == 2


@pytest.mark.parametrize("path", ["shop.Till/Missing", "shop.Missing/Sum", "shop.Order/Sum", "x/y"])
async def test_what_the_server_does_not_know_is_final(till, path):
    end = await called(f"{till.address}/{path}", PAYLOAD)
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("UNIMPLEMENTED",))


async def test_streams_are_no_tasks(till):
    end = await called(f"{till.address}/shop.Till/Watch", PAYLOAD)
    assert (end.end, end.final) == (End.FAILURE, True)
    assert "only unary" in end.error


@pytest.mark.parametrize(
    "payload",
    [
        {"unknown": 1},
        {"price": 3},
        {"price": {"amount": "x"}},
        {"weight": 10**400},
        {"extra": {"@type": 5}},
        {"extra": {"@type": "type.googleapis.com/google.protobuf.Any"}},
        {"extra": {"@type": "type.googleapis.com/shop.Unknown"}},
        [1],
        "x",
        b"{",
        b'"\xff"',
        b'{"customerName": "\\ud800"}',
    ],
)
async def test_a_payload_of_another_shape_is_final(till, payload):
    end = await called(f"{till.address}/shop.Till/Sum", payload)
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_PAYLOAD, True)
    assert till.orders == []


@pytest.mark.parametrize(
    ("code", "final"),
    [
        ("UNAVAILABLE", False), ("DEADLINE_EXCEEDED", False), ("RESOURCE_EXHAUSTED", False), ("ABORTED", False),
        ("INTERNAL", False), ("UNKNOWN", False), ("CANCELLED", False), ("DATA_LOSS", False),
        ("INVALID_ARGUMENT", True), ("NOT_FOUND", True), ("ALREADY_EXISTS", True), ("PERMISSION_DENIED", True),
        ("UNAUTHENTICATED", True), ("FAILED_PRECONDITION", True), ("OUT_OF_RANGE", True), ("UNIMPLEMENTED", True),
    ],
)  # fmt: skip
async def test_a_status_is_named_and_judged(till, code, final):
    till.code = grpc.StatusCode[code]
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.final, end.errors) == (End.FAILURE, final, (code,))
    assert end.error == f"{code}: the till says no"


async def test_a_reply_over_the_limit_is_a_bad_result(till):
    till.text = "x" * 300_000
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_RESULT, True)


@pytest.mark.parametrize("levels", [1, 400])
async def test_a_reply_that_is_no_json_is_a_bad_result(till, levels):
    till.extra = {"type_url": "type.googleapis.com/shop.Unknown", "value": b"x"}
    for _ in range(levels - 1):
        till.extra = {"type_url": "type.googleapis.com/shop.Bill", "value": Bill(extra=till.extra).SerializeToString()}
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.reason, end.final) == (End.FAILURE, Reason.BAD_RESULT, True)
    assert "the reply is no shop.Bill" in end.error


async def test_an_endless_reply_is_cut(till):
    till.text = "x" * (5 << 20)
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.errors) == (End.FAILURE, ("RESOURCE_EXHAUSTED",))


async def test_nobody_there_is_tried_again(till):
    end = await called(f"{SERVER}:1/shop.Till/Sum", PAYLOAD)
    assert (end.end, end.final, end.errors) == (End.FAILURE, False, ("UNAVAILABLE",))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0", "0.0.0.0", "[::1]", "[::]",
     "[::ffff:127.0.0.1]", "127.0.0.1.", "１２７.0.0.1", "169.254.169.254", "127.0.0.3"],
)  # fmt: skip
async def test_no_spelling_of_an_internal_address_is_reached(host):
    end = await called(f"{host}:50051/shop.Till/Sum", PAYLOAD)
    assert end.end is End.FAILURE
    assert end.errors != ("UNAVAILABLE",), "it was tried"


async def test_the_checked_address_is_the_one_used(till):
    port = int(till.address.rpartition(":")[2])
    asked = []

    async def resolve(host, port):
        asked.append(host)
        return [SERVER]

    end = await called(f"shop.example:{port}/shop.Till/Sum", PAYLOAD, resolve=resolve)
    assert (end.end, asked) == (End.SUCCESS, ["shop.example"])


@pytest.mark.parametrize(
    "command",
    ["", "x", "127.0.0.2/shop.Till/Sum", "127.0.0.2:0/a/b", "127.0.0.2:70000/a/b", "127.0.0.2:80/a", "unix:/x:1/a/b",
     "dns:///x:1/a/b", "xds:x:1/a/b", "u@x:1/a/b", "a b:1/c/d", "x:1/a/b?c", "x:1/a/b/c", "x:1/a/../b", "x\0:1/a/b",
     "[fe80::1%lo]:1/a/b", "x:１/a/b"],
)  # fmt: skip
async def test_what_is_no_target_is_refused(command):
    end = await called(command)
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("Invalid",))


@pytest.mark.parametrize(
    "metadata",
    [["a"], {"A": "x"}, {"grpc-timeout": "1S"}, {"x-rota-run": "x"}, {"a": 1}, {"a": "x\ny"}, {"a-bin": "x"}],
)
async def test_bad_metadata_is_refused(till, metadata):
    end = await called(f"{till.address}/shop.Till/Sum", PAYLOAD, metadata=metadata)
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("Invalid",))


async def test_cancelling_ends_the_call(till):
    till.hold = asyncio.Event()
    attempt = Attempt(Outgoing("grpc", ALLOWED), assigned(f"{till.address}/shop.Till/Sum", PAYLOAD))
    async with asyncio.timeout(PATIENCE):
        await till.hold.wait()
        await attempt.cancel()
        await till.left.wait()


def chain(*links):
    """Files of types, each with the names of those that it needs."""
    return {
        name: FileDescriptorProto(name=name, package="x", syntax="proto3", dependency=needed) for name, needed in links
    }


@pytest.mark.parametrize(
    "files", [chain(("a", ["b"]), ("b", ["a"])), chain(("a", ["a"])), chain(("a", ["b"])), {"a": FileDescriptorProto()}]
)
def test_types_that_make_no_sense_are_refused(files):
    with pytest.raises(NoSuchMethod, match="make no sense"):
        pool_of(files)


def test_a_long_chain_of_types_is_fine():
    links = [(f"{number}", [f"{number + 1}"] if number < 499 else []) for number in range(500)]
    assert pool_of(chain(*links)).FindFileByName("0").name == "0"
