"""What brokers do to their clients: they crash, are emptied, stand still, hang up. Carriers come back by themselves."""

import asyncio
import signal
import time

import psutil
import pytest

from rota.domain.errors import RotaError, Unavailable, Unclear
from rota.ports.carrier import DESK
from tests.services.fixtures import needed
from tests.services.proxy import between
from tests.services.rabbitmq import RabbitServer
from tests.services.redis import RedisServer
from tests.transports.steps import carried, come_through, listening


@pytest.fixture(scope="module", params=[RedisServer, RabbitServer], ids=lambda kind: kind.__name__)
def broker(request):
    """One that a test may kill."""
    server = needed(request.param)
    server.start()
    yield server
    server.remove()


async def test_a_broker_that_is_killed_and_comes_back_is_used_again(broker):
    async with carried(broker.url) as sender, carried(broker.url) as node:
        await node.own("worker-1")
        async with listening(node, DESK, "worker-1") as listeners:
            for number in range(2):
                for one in listeners:
                    await come_through(sender, one, b"%d before" % number)
                broker.stop(signal.SIGKILL)
                with pytest.raises(RotaError) as met:
                    await sender.send([(DESK, b"meanwhile")])
                assert isinstance(met.value, Unavailable | Unclear)
                with pytest.raises(Unavailable):
                    await sender.send([(DESK, b"meanwhile")])
                while not all(one.refusals for one in listeners):
                    await asyncio.wait([one.task for one in listeners], timeout=0.05)
                broker.start()
                for one in listeners:
                    await come_through(sender, one, b"%d after" % number)
            assert all(isinstance(met, Unavailable) for one in listeners for met in one.refusals)


async def test_a_broker_that_is_emptied_gets_its_inboxes_again(broker):
    async with carried(broker.url) as sender, carried(broker.url) as node:
        await node.own("worker-1")
        async with listening(node, DESK, "worker-1") as listeners:
            for number in range(3):
                for one in listeners:
                    await come_through(sender, one, b"%d" % number)
                broker.wipe()
                began = time.monotonic()
                while await sender.send([("worker-1", b"%d again" % number)]) == [False]:
                    await asyncio.wait([one.task for one in listeners], timeout=0.05)
                assert time.monotonic() - began < 5
                await come_through(sender, listeners[1], b"%d last" % number)
                assert b"%d again" % number in listeners[1].found
                await come_through(sender, listeners[0], b"%d again" % number)
                await come_through(node, listeners[0], b"%d at last" % number)
            assert [met for one in listeners for met in one.refusals] == []


async def test_a_broker_that_stands_still_is_waited_for(broker):
    async with carried(broker.url) as sender, carried(broker.url) as node:
        await node.own("worker-1")
        async with listening(node, "worker-1") as (listener,):
            await come_through(sender, listener, b"before")
            broker.freeze()
            sending = asyncio.create_task(sender.send([("worker-1", b"meanwhile")]))
            await asyncio.wait([sending], timeout=3)
            assert not sending.done()
            broker.thaw()
            assert await sending == [True]
            await come_through(sender, listener, b"after")
            assert listener.found.index(b"meanwhile") < listener.found.index(b"after")
            assert listener.refusals == []


async def test_connections_that_are_closed_underneath_are_made_again(broker):
    async with between(broker.url) as (proxy, url), carried(broker.url) as sender, carried(url) as node:
        await node.own("worker-1")
        async with listening(node, DESK, "worker-1") as listeners:
            for number in range(20):
                for one in listeners:
                    await come_through(sender, one, b"%d" % number)
                    await come_through(node, one, b"%d itself" % number)
                await proxy.listener.drop()


async def test_a_closed_carrier_leaves_nothing_open(broker):
    counts = []
    for number in range(3):
        async with carried(broker.url) as carrier:
            await carrier.own("worker-1")
            async with listening(carrier, DESK, "worker-1") as listeners:
                for one in listeners:
                    await come_through(carrier, one, b"%d" % number)
        # The driver's own last steps may take another moment.
        await asyncio.wait(asyncio.all_tasks(), timeout=0.5)
        counts.append((psutil.Process().num_fds(), len(asyncio.all_tasks())))
    assert counts == counts[:1] * 3
