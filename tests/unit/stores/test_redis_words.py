"""What people are told of a Redis server: by errors, by the doctor, of a URL."""

import socket
import time

import pytest
from redis import exceptions as said_by

from rota.domain.errors import Incompatible, Invalid, Unavailable, Unclear
from rota.ports.store import APPLIED
from rota.stores import connect
from rota.stores.redis.faults import fault
from rota.stores.redis.link import Link
from rota.testing.factories import make_run
from tests.unit.stores.files import put, reached
from tests.unit.stores.test_redis import client, server

__all__ = ["server"]


async def test_a_wrong_password_is_named_and_never_told(server):
    with client(server.url) as other:
        other.config_set("requirepass", "open sesame")
    for user in ("", ":s3cret@", "ann:s3cret@"):
        url = server.url.replace("://", f"://{user}")
        with pytest.raises(Unavailable, match="lets nobody in") as met:
            await connect(url).open()
        assert "s3cret" not in str(met.value)
    async with reached(server.url.replace("://", "://:open%20sesame@")) as store:
        assert await put(store, make_run(1)) == [APPLIED]


async def test_a_server_that_is_not_there_is_unavailable_and_named_without_its_password():
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        port = nobody.getsockname()[1]
        for scheme in ("redis", "rediss"):
            with pytest.raises(Unavailable, match=r"127\.0\.0\.1") as met:
                await connect(f"{scheme}://ann:s3cret@127.0.0.1:{port}/0").open()
            assert "s3cret" not in str(met.value)
        with pytest.raises(Unavailable, match="no Sentinel knows"):
            await connect(f"redis://127.0.0.1:{port}/0?sentinel=main").open()


async def test_a_server_that_does_not_answer_is_waited_for_so_long():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        began = time.monotonic()
        with pytest.raises(Unavailable):
            await connect(f"redis://:x@127.0.0.1:{silent.getsockname()[1]}?connect_timeout=0.3").open()
        assert time.monotonic() - began < 3


@pytest.mark.parametrize(
    ("url", "word"),
    [
        ("redis://h/0?poool=3", "poool"),
        ("redis://h/0?pool=0", "pool=0"),
        ("redis://h/0?prefix={a}", "prefix"),
        ("redis://h/0?connect_timeout=soon", "connect_timeout=soon"),
        ("redis://h/zero", "zero"),
        ("redis://h:99999/0", "99999"),
        ("redis://h:six/0", "its URL cannot be read"),
        ("redis://a,b/0", "sentinel="),
        ("redis://h/0?sentinel_password=x", "sentinel_password= is for Sentinels"),
        ("redis://h/0?sslcert=" + __file__, "rediss"),
        ("rediss://h/0?sslrootcert=/no/such.pem", "no file"),
    ],
)
def test_a_bad_url_is_named(url, word):
    with pytest.raises(Invalid, match=word):
        connect(url)


def test_a_good_url_is_understood():
    plain = Link("redis://")
    assert (plain.prefix, plain.pool) == ("{rota}:", 4)
    assert (plain.address.hosts, plain.address.path) == ((("localhost", 6379),), "0")
    said = Link("rediss://ann:a%40b@s1,[::1]:7/3?sentinel=main&prefix=shop&pool=9")
    address = said.address
    assert address.hosts == (("s1", 26379), ("::1", 7))
    assert (said.prefix, said.pool, address.secure, address.options["sentinel"]) == ("{shop}:", 9, True, "main")
    assert (address.path, address.user, address.password) == ("3", "ann", "a@b")
    known = Link("redis://s1/0?sentinel=main&sentinel_user=eve&sentinel_password=a%26b&prefix=")
    login = known.address.options["sentinel_user"], known.address.options["sentinel_password"]
    assert (login, known.prefix) == (("eve", "a&b"), "")


async def test_a_doctor_tells_what_may_be_lost(server, monkeypatch):
    async def told(*settings):
        with client(server.url) as other:
            for name, value in settings:
                other.config_set(name, value)
        return {text: level for level, text in await store.diagnose()}

    def level(found, word):
        (one,) = [level for text, level in found.items() if word in text]
        return one

    async with reached(server.url) as store:
        found = await told()
        assert level(found, "durable mode") == "ok"
        assert level(found, "set maxmemory") == "warn"
        assert level(await told(("maxmemory", "1gb")), "of 1024") == "ok"
        assert level(await told(("maxmemory", "1mb")), "of 1 ") == "warn"
        assert level(await told(("appendfsync", "everysec")), "fast mode") == "warn"
        assert level(await told(("appendfsync", "no")), "half a minute") == "warn"
        assert level(await told(("appendonly", "no")), "snapshots") == "fail"
        lossy = ("maxmemory-policy", "allkeys-lru")
        assert level(await told(lossy, ("maxmemory", "0")), "noeviction") == "warn"
        assert level(await told(("maxmemory", "1gb")), "noeviction") == "fail"
        with client(server.url) as other:
            other.execute_command("ACL", "SETUSER", "default", "-config")
        assert level(await told(), "CONFIG GET") == "warn"


@pytest.mark.parametrize(
    ("error", "sent", "kind", "word"),
    [
        (said_by.BusyLoadingError("Redis is loading"), True, Unavailable, "loads"),
        (said_by.NoPermissionError("no permissions"), True, Unavailable, "all commands"),
        (said_by.ReadOnlyError("You can't write"), True, Unavailable, "replica"),
        (said_by.OutOfMemoryError("used memory > 'maxmemory'"), True, Unavailable, "maxmemory"),
        (said_by.ResponseError("MISCONF Redis is configured"), True, Unavailable, "disk"),
        (said_by.ResponseError("NOREPLICAS Not enough"), True, Unavailable, "min-replicas"),
        (said_by.ResponseError("BUSY Redis is busy"), True, Unavailable, "script"),
        (said_by.ResponseError("DB index is out of range"), False, Unavailable, "end of the URL"),
        (said_by.ResponseError("WRONGTYPE Operation"), True, Incompatible, "other things"),
        (said_by.ConnectionError("Connection closed"), True, Unclear, "may or may not"),
        (TimeoutError(), True, Unclear, "may or may not"),
        (said_by.ConnectionError("SSL: CERTIFICATE_VERIFY_FAILED"), False, Unavailable, "sslrootcert"),
        (ConnectionRefusedError("refused"), False, Unavailable, "does not answer"),
    ],
)
def test_what_an_error_means_and_what_to_do(error, sent, kind, word):
    found = fault(error, "redis://here", sent)
    assert type(found) is kind
    assert word in str(found)
    assert "redis://here" in str(found)
