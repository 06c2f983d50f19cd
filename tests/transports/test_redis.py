"""What only Redis does: keys that expire, trimmed streams, Sentinels, options of its URL."""

import pytest
from redis import Redis

from rota.domain.errors import Barred, Invalid, Unavailable, Unclear
from rota.ports.carrier import DESK
from rota.transports import connect
from rota.transports.common import LIFE_S, OLD_S
from tests.redis.test_reaching import authority, encrypted, guarded, watched
from tests.services.proxy import between
from tests.transports.steps import carried, come_through, listening

__all__ = ["authority", "encrypted", "guarded", "watched"]


def held(url):
    """Keys of a place, each with how long it lives and how many messages it holds."""
    prefix = url.rpartition("=")[2]
    with Redis.from_url(url.partition("?")[0]) as client:
        keys = list(client.scan_iter(match=f"{{{prefix}}}:*"))
        return {key.decode().rpartition(":")[2]: (client.ttl(key), client.xlen(key)) for key in keys}


async def test_all_that_is_made_expires_and_what_was_received_is_let_go(space):
    async with carried(space) as carrier:
        await carrier.send([(DESK, b"x" * 5_000)] * 50)
        assert 0 < held(space)["desk"][0] <= OLD_S
        await carrier.own("worker-1")
        await carrier.send([("worker-1", b"x" * 5_000)] * 150)
        for inbox in (DESK, "worker-1", "worker-1"):
            await carrier.receive(inbox)
        async with listening(carrier, DESK, "worker-1") as listeners:
            for one in listeners:
                await come_through(carrier, one, b"last")
        assert 0 < held(space)["worker-1"][0] <= LIFE_S
        assert max(count for _, count in held(space).values()) < 5
    assert held(space).keys() == {"desk"}


async def test_a_backlog_has_an_end(space):
    async with carried(space) as carrier:
        for _ in range(13):
            await carrier.send([(DESK, b"")] * 1_000)
        assert 10_000 <= held(space)["desk"][1] < 10_200


async def test_a_lost_answer_to_messages_is_unclear(space):
    async with between(space) as (proxy, url), carried(url) as carrier:
        proxy.cut = b"XADD"
        with pytest.raises(Unclear):
            await carrier.send([(DESK, b"1")])
        assert await carrier.send([(DESK, b"2")]) == [True]
        assert await carrier.receive(DESK) == [b"1", b"2"]


async def test_a_user_without_rights_is_barred_and_a_full_server_unavailable(space):
    prefix = space.rpartition("=")[2]
    with Redis.from_url(space.partition("?")[0]) as other:
        other.acl_setuser("reader", enabled=True, passwords=["+word"], keys=[f"{{{prefix}}}:*"], commands=["+ping"])
        try:
            async with carried(space.replace("//", "//reader:word@")) as carrier:
                for call in (carrier.send([(DESK, b"")]), carrier.receive(DESK), carrier.own("worker-1")):
                    with pytest.raises(Barred, match="ACL"):
                        await call
        finally:
            other.acl_deluser("reader")
        async with carried(space) as carrier:
            other.config_set("maxmemory", 1)
            try:
                with pytest.raises(Unavailable, match="maxmemory"):
                    await carrier.send([(DESK, b"")])
            finally:
                other.config_set("maxmemory", 0)


async def test_a_server_is_believed_by_its_authority_and_shown_who_asks(authority, encrypted):
    certificate, key = authority.sign("rota")
    ours = f"sslcert={certificate}&sslkey={key}"
    async with carried(f"{encrypted}?sslrootcert={authority.root}&{ours}") as carrier:
        assert await carrier.send([(DESK, b"1")]) == [True]
        assert await carrier.receive(DESK) == [b"1"]
    believed = f"{encrypted}?sslrootcert={authority.root}"
    for url in (
        f"{encrypted}?{ours}",
        f"{believed.replace('localhost', '127.0.0.1')}&{ours}",
        believed,
        encrypted.replace("rediss", "redis"),
    ):
        carrier = connect(url)
        with pytest.raises(Unavailable):
            await carrier.open()
        await carrier.close()


async def test_a_server_is_found_by_its_sentinels_also_when_it_changes(watched):
    first, _, sentinel = watched
    async with carried(f"redis://127.0.0.1:1,127.0.0.1:{sentinel.port}/0?sentinel=main") as carrier:
        await carrier.own("worker-1")
        async with listening(carrier, DESK, "worker-1") as listeners:
            for one in listeners:
                await come_through(carrier, one, b"before")
            first.stop()
            for one in listeners:
                await come_through(carrier, one, b"after")


async def test_sentinels_have_passwords_of_their_own_behind_tls(guarded):
    async with carried(f"{guarded}&sentinel_password=watch%20word") as carrier:
        assert await carrier.send([(DESK, b"1")]) == [True]
    for url in (guarded, f"{guarded.replace('data%20word', 'wrong')}&sentinel_password=watch%20word"):
        carrier = connect(url)
        with pytest.raises((Barred, Unavailable)) as met:
            await carrier.open()
        assert "word" not in str(met.value).replace("password", "")
        await carrier.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("kafka://host:9092", "write a URL such as redis://user:password@host:6379/0, rediss"),
        ("kafka://a:secret@host", "kafka://a:…@host"),
        ("redis://host/zero", "no number of a database"),
        ("redis://host/0?pool=4", "choose from prefix, sentinel"),
        ("redis://host/0?prefix=a/b", "a/b is no prefix"),
        ("redis://host/0?sslrootcert=x", "write rediss:// instead"),
        ("rediss://host/0?sslrootcert=/nowhere", "/nowhere is no file"),
        ("redis://a:1,b:2/0", "name what they watch by sentinel="),
        ("redis://ho st/0", "its URL cannot be read"),
        ("redis://host:99999/0", "'host:99999' names no host and port"),
    ],
)
def test_a_url_that_cannot_be_meant_is_refused(url, said):
    with pytest.raises(Invalid) as met:
        connect(url)
    assert said in str(met.value)
    assert "secret" not in str(met.value)
