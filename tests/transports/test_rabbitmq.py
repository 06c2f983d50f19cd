"""What only RabbitMQ does: permissions, vhosts, queues of others, timeouts of consumers, certificates."""

import asyncio

import pytest
from aiormq import Connection

from rota.domain.errors import Barred, Invalid, Unavailable, Unclear
from rota.identity.keys import mint
from rota.ports.carrier import DESK
from rota.transports import connect, rabbitmq, rabbitmq_link
from rota.transports.common import LIFE_S, pause
from rota.wiring import SystemClock
from rota.worker.carried import Post
from rota.worker.remote import DeskClock
from tests.services.authority import Authority
from tests.services.fixtures import needed
from tests.services.postgresql import free_port
from tests.services.proxy import between
from tests.services.rabbitmq import RabbitServer
from tests.transports.steps import carried, come_through, listening


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure():
    """The port of TLS."""
    return free_port()


@pytest.fixture(scope="module")
def server(authority, secure):
    """One that also speaks TLS, wants to see a certificate there, and gives consumers one second."""
    certificate, key = authority.sign("shown", "localhost")
    made = needed(RabbitServer)
    for source, name in ((certificate, "certificate"), (key, "key"), (authority.root, "root")):
        (made.folder / name).write_bytes(source.read_bytes())
    made.settings = (
        f"listeners.ssl.default = 127.0.0.1:{secure}",
        f"ssl_options.cacertfile = {made.folder}/root",
        f"ssl_options.certfile = {made.folder}/certificate",
        f"ssl_options.keyfile = {made.folder}/key",
        "ssl_options.verify = verify_peer",
        "ssl_options.fail_if_no_peer_cert = true",
        "consumer_timeout = 1000",
    )
    made.start()
    made.control("eval", "application:set_env(rabbit, channel_tick_interval, 500).")
    yield made
    made.remove()


@pytest.fixture
def place(server, request):
    return f"{server.url}?prefix={request.node.name[:60]}"


async def test_a_server_is_believed_by_its_authority_and_shown_who_asks(server, secure, authority):
    certificate, key = authority.sign("rota")
    start, ours = f"amqps://localhost:{secure}", f"cert={certificate}&key={key}"
    async with carried(f"{start}?prefix=tls&ca={authority.root}&{ours}") as carrier:
        await carrier.own("worker-1")
        assert await carrier.send([("worker-1", b"1" * 1_000_000)]) == [True]
        assert await carrier.receive("worker-1") == [b"1" * 1_000_000]
    for url in (
        f"{start}?{ours}",
        f"{start.replace('localhost', '127.0.0.1')}?ca={authority.root}&{ours}",
        f"{start}?ca={authority.root}",
        start.replace("amqps", "amqp"),
    ):
        carrier = connect(url)
        with pytest.raises(Unavailable):
            await carrier.open()
        await carrier.close()


async def test_who_lacks_a_vhost_or_permissions_is_barred(server, place):
    server.control("eval", 'rabbit_auth_backend_internal:add_user(<<"limited">>, <<"word">>, <<"test">>).')
    limited = place.replace("guest:guest", "limited:word")
    for url in (place.replace("/?", "/nowhere?"), limited):
        carrier = connect(url)
        with pytest.raises(Barred, match="vhost"):
            await carrier.open()
        await carrier.close()
    server.control("set_permissions", "limited", "^other/", "^other/", "^other/")
    async with carried(limited) as carrier:
        for call in (carrier.send([(DESK, b"")]), carrier.own("worker-1"), carrier.receive(DESK)):
            with pytest.raises(Barred, match="write of"):
                await call
    prefix = place.rpartition("=")[2]
    server.control("set_permissions", "limited", f"^{prefix}/", rf"^{prefix}/|^amq\.default$", f"^{prefix}/")
    async with carried(limited) as carrier:
        await carrier.own("worker-1")
        assert await carrier.send([(DESK, b"1"), ("worker-1", b"2")]) == [True, True]
        assert [await carrier.receive(DESK), await carrier.receive("worker-1")] == [[b"1"], [b"2"]]


async def test_a_queue_of_somebody_else_is_told(place):
    prefix = place.rpartition("=")[2]
    async with carried(place) as carrier:
        channel = await carrier._link.channel()
        await channel.queue_declare(f"{prefix}/desk", auto_delete=True)
        with pytest.raises(Unavailable, match="made by somebody else"):
            await carrier.receive(DESK)
        await channel.queue_delete(f"{prefix}/desk")
        async with listening(carrier, DESK) as (listener,):
            await come_through(carrier, listener, b"1")


async def test_a_desk_that_takes_nothing_yet_is_asked_once_more(server, place, monkeypatch):
    desk = f"^{place.rpartition('=')[2]}/desk$"
    full = '{"max-length": 1, "overflow": "reject-publish"}'
    async with carried(place) as sender, carried(place) as node:
        await sender.send([(DESK, b"0")])
        await asyncio.to_thread(server.control, "set_policy", "full", desk, full)
        async with asyncio.timeout(30):
            while await sender.send([(DESK, b"fill")]) == [True]:
                pass
        assert await sender.send([(DESK, b"lost")]) == [False]
        worker = Post(sender, "the broker", mint("key").text, DeskClock(SystemClock()), None)
        with pytest.raises(Unavailable, match="takes no questions yet"):
            await worker.ask("beat", b"", 30)

        async def emptied():
            monkeypatch.undo()
            async with asyncio.timeout(30):
                while b"fill" not in await node.receive(DESK):
                    pass
            await pause()

        monkeypatch.setattr(rabbitmq, "pause", emptied)
        assert await sender.send([(DESK, b"last")]) == [True]
        assert await node.receive(DESK) == [b"last"]


async def test_a_lost_answer_to_messages_is_unclear(place):
    async with between(place) as (proxy, url), carried(url) as carrier:
        await carrier.send([(DESK, b"1")])
        proxy.cut = b"the second"
        with pytest.raises(Unclear):
            await carrier.send([(DESK, b"the second")])
        assert await carrier.send([(DESK, b"3")]) == [True]
        assert await carrier.receive(DESK) == [b"1", b"the second", b"3"]


async def test_a_connection_that_is_made_while_its_carrier_closes_does_not_stay(place, monkeypatch):
    connected, closed, made = asyncio.Event(), asyncio.Event(), []

    class Slow(Connection):
        async def connect(self, *args):
            await super().connect(*args)
            made.append(self)
            connected.set()
            return await closed.wait()

    monkeypatch.setattr(rabbitmq_link, "Connection", Slow)
    carrier = connect(place)
    opening = asyncio.create_task(carrier.open())
    await connected.wait()
    await carrier.close()
    closed.set()
    with pytest.raises(Unavailable, match="is closed"):
        await opening
    assert [one.is_opened for one in made] == [False]


async def test_what_is_not_received_in_time_is_given_again(place):
    async with carried(place) as carrier:
        await carrier.own("worker-1")
        await carrier.send([("worker-1", b"1")])
        inbox = carrier._inboxes["worker-1"]
        async with asyncio.timeout(30):
            await inbox._ended.wait()
        assert b"1" in await carrier.receive("worker-1")
        async with listening(carrier, "worker-1") as (listener,):
            await come_through(carrier, listener, b"2")


async def test_connections_that_the_server_closes_are_made_again(server, place):
    async with carried(place) as sender, carried(place) as node:
        await node.own("worker-1")
        async with listening(node, DESK, "worker-1") as listeners:
            for number in range(2):
                for one in listeners:
                    await come_through(sender, one, b"%d" % number)
                await asyncio.to_thread(server.control, "close_all_connections", "maintenance")
            for one in listeners:
                await come_through(sender, one, b"last")
            assert [met for one in listeners for met in one.refusals] == []


async def test_what_is_made_in_the_broker_and_goes_again(server, place):
    prefix = place.rpartition("=")[2]
    words = "list_queues", "name", "type", "durable", "arguments"

    async def held():
        lines = (await asyncio.to_thread(server.control, *words)).splitlines()
        return sorted(line.split("\t", 1)[1] for line in lines if line.startswith(f"{prefix}/"))

    async with carried(place) as carrier:
        await carrier.own("worker-1")
        await carrier.send([(DESK, b"")])
        own, desk = await held()
        assert own.startswith("classic\ttrue")
        assert f'"x-expires",{LIFE_S}000' in own
        assert desk.startswith("quorum\ttrue")
        assert "expires" not in desk
    assert await held() == [desk]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("amqp://host/vhost?heartbeat=5", "choose from prefix, ca, cert, key"),
        ("amqp://host/vhost?ca=x", "write amqps:// instead"),
        ("amqps://host/vhost?ca=/nowhere", "/nowhere is no file"),
        ("amqps://host/vhost?key=pyproject.toml", "name that by cert="),
        ("amqps://host/vhost?ca=pyproject.toml", "cannot be used"),
        ("amqp://user:secret@ho st", "its URL cannot be read"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url, said):
    with pytest.raises(Invalid) as met:
        connect(url)
    assert said in str(met.value)
    assert "secret" not in str(met.value)
