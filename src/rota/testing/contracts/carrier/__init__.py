"""The contract of `rota.ports.carrier`. A carrier that passes is one through which workers can ask.

A test module binds it by one class and one fixture, `places`, which gives the URLs of two empty places on one broker:

    class TestMyBroker(CarrierContract):
        @pytest.fixture
        def places(self): ...
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from rota.domain.errors import Barred, Invalid, TooLarge, Unavailable
from rota.ports.carrier import DESK, LONGEST, Carrier
from rota.transports import connect

Opened = Callable[..., Awaitable[Carrier]]


async def received(carrier: Carrier, inbox: str, count: int, seconds: float = 20) -> list[bytes]:
    """The next so many messages."""
    found: list[bytes] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            found += await carrier.receive(inbox)
    return found


def numbered(inbox: str, count: int, start: int = 0) -> list[tuple[str, bytes]]:
    return [(inbox, f"{number}".encode()) for number in range(start, start + count)]


class CarrierContract:
    @pytest.fixture
    async def opened(self, places: Sequence[str]) -> AsyncIterator[Opened]:
        """Gives open carriers onto a place, and closes them in the end."""
        made: list[Carrier] = []

        async def opened(number: int = 0) -> Carrier:
            made.append(connect(places[number]))
            await made[-1].open()
            return made[-1]

        yield opened
        for carrier in made:
            await carrier.close()

    async def test_messages_of_an_inbox_come_in_order_and_once(self, opened: Opened) -> None:
        one, other = await opened(), await opened()
        await other.own("worker-1")
        await other.own("worker-2")
        assert await one.send([]) == []
        for start in (0, 150):
            both = numbered("worker-1", 150, start) + numbered("worker-2", 150, start)
            assert await one.send(both) == [True] * 300
        for inbox in ("worker-1", "worker-2"):
            assert await received(other, inbox, 300) == [body for _, body in numbered(inbox, 300)]

    async def test_a_batch_is_a_hundred_at_most(self, opened: Opened) -> None:
        one = await opened()
        await one.own("worker-1")
        await one.send(numbered("worker-1", 250))
        sizes: list[int] = []
        while sum(sizes) < 250:
            sizes.append(len(await one.receive("worker-1")))
        assert max(sizes) <= 100
        assert len(sizes) < 50

    async def test_each_message_to_the_desk_comes_to_one_node(self, opened: Opened) -> None:
        sender, *nodes = [await opened() for _ in range(4)]
        found: list[list[bytes]] = [[] for _ in nodes]

        async def work(number: int) -> None:
            while True:
                found[number] += await nodes[number].receive(DESK)

        working = [asyncio.create_task(work(number)) for number in range(len(nodes))]
        async with asyncio.timeout(30):
            start = 0
            while not all(found) or sum(map(len, found)) < start:
                if start < 3_000 and sum(map(len, found)) == start:
                    assert all(await sender.send(numbered(DESK, 30, start)))
                    start += 30
                await asyncio.wait(working, timeout=0.01)
        for task in working:
            task.cancel()
        assert sorted(int(body) for some in found for body in some) == [*range(start)]

    async def test_the_desk_keeps_what_is_sent_before_anybody_receives(self, opened: Opened) -> None:
        sender = await opened()
        assert await sender.send(numbered(DESK, 5)) == [True] * 5
        assert await received(await opened(), DESK, 5) == [body for _, body in numbered(DESK, 5)]

    async def test_an_inbox_that_is_not_there_takes_nothing(self, opened: Opened) -> None:
        one = await opened()
        await one.own("here")
        assert await one.send([("gone", b"1"), ("here", b"2"), (DESK, b"3"), ("gone", b"4")]) == [
            False,
            True,
            True,
            False,
        ]
        await one.own("gone")
        await one.send([("gone", b"5")])
        assert await received(one, "gone", 1) == [b"5"]

    async def test_an_inbox_goes_with_its_owner(self, opened: Opened) -> None:
        sender, owner = await opened(), await opened()
        await owner.own("worker-1")
        assert await sender.send([("worker-1", b"1")]) == [True]
        await owner.close()
        await owner.close()
        async with asyncio.timeout(60):
            while await sender.send([("worker-1", b"2")]) == [True]:
                pass

    async def test_bodies_are_any_bytes_of_any_length_up_to_the_limit(self, opened: Opened) -> None:
        one = await opened()
        await one.own("worker-1")
        bodies = [b"", b"\0\r\n\xff" * 3, bytes(range(256)) * 1_000, b"\xf0" * LONGEST]
        assert all(await one.send([("worker-1", body) for body in bodies]))
        assert await received(one, "worker-1", 4) == bodies
        with pytest.raises(TooLarge, match=f"{LONGEST + 1:,}"):
            await one.send([("worker-1", b"never"), ("worker-1", b"\xf0" * (LONGEST + 1))])
        await one.send([("worker-1", b"next")])
        assert await received(one, "worker-1", 1) == [b"next"]

    async def test_places_do_not_see_each_other(self, opened: Opened) -> None:
        one, other = await opened(0), await opened(1)
        await one.own("worker-1")
        assert await other.send([("worker-1", b"1")]) == [False]
        await other.own("worker-1")
        for carrier, body in ((one, b"one"), (other, b"other")):
            await carrier.send([("worker-1", body), (DESK, body)])
        for carrier, body in ((one, b"one"), (other, b"other")):
            assert await received(carrier, "worker-1", 1) == await received(carrier, DESK, 1) == [body]

    async def test_closing_wakes_whoever_waits_and_ends_all_calls(self, opened: Opened) -> None:
        one = await opened()
        await one.own("worker-1")
        waiting = [asyncio.create_task(one.receive(inbox)) for inbox in ("worker-1", DESK)]
        await asyncio.wait(waiting, timeout=0.2)
        async with asyncio.timeout(5):
            await one.close()
            for task in waiting:
                with pytest.raises(Unavailable, match="closed"):
                    await task
        for call in (one.send([(DESK, b"")]), one.receive(DESK), one.receive("worker-1"), one.own("worker-2")):
            with pytest.raises(Unavailable, match="closed"):
                await call

    async def test_a_receive_that_is_given_up_keeps_what_comes_next(self, opened: Opened) -> None:
        one = await opened()
        await one.own("worker-1")
        for number in range(3):
            with suppress(TimeoutError):
                await asyncio.wait_for(one.receive("worker-1"), 0.1)
            await one.send(numbered("worker-1", 1, number))
            assert await received(one, "worker-1", 1) == [b"%d" % number]

    async def test_names_that_none_can_have_are_refused(self, opened: Opened) -> None:
        one = await opened()
        for call in (one.send([(DESK, b""), ("a b", b"")]), one.own("a/b"), one.own(DESK), one.receive("worker-9")):
            with pytest.raises(Invalid, match="inbox"):
                await call

    async def test_a_broker_that_is_not_there_is_unavailable_soon(self, places: Sequence[str]) -> None:
        parts = urlsplit(places[0])
        carrier = connect(parts._replace(netloc="127.0.0.1:1").geturl())
        async with asyncio.timeout(5):
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1:1"):
                await carrier.open()
            with pytest.raises(Unavailable):
                await carrier.send([(DESK, b"")])
            with pytest.raises(Unavailable):
                await carrier.receive(DESK)
            await carrier.close()

    async def test_a_wrong_password_is_barred_and_not_shown(self, places: Sequence[str]) -> None:
        parts = urlsplit(places[0])
        host = parts.netloc.rpartition("@")[2]
        carrier = connect(parts._replace(netloc=f"somebody:wr0ng-w0rd@{host}").geturl())
        async with asyncio.timeout(10):
            with pytest.raises(Barred) as met:
                await carrier.open()
            await carrier.close()
        assert "wr0ng" not in f"{met.value}{met.value.__cause__!r}"
