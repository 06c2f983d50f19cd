"""A server behind TLS, and one that Sentinels know, on real servers."""

import asyncio
import time

import pytest

from rota.domain.errors import Incompatible, StoreError, Unavailable, Unclear
from rota.domain.run import Run
from rota.ports.store import APPLIED, Hint
from rota.stores import connect
from rota.testing.factories import make_run
from tests.services.authority import Authority
from tests.services.fixtures import needed
from tests.services.postgresql import free_port
from tests.services.proxy import between
from tests.services.redis import PASSING, RedisServer
from tests.unit.stores.files import put, reached
from tests.unit.stores.test_redis import client


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def encrypted(authority):
    """URL of a server that speaks TLS and wants to see a certificate."""
    certificate, key = authority.sign("shown", "localhost")
    server = needed(RedisServer)
    port = free_port()
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority.root)
    server.settings = (*PASSING, "--tls-port", str(port), *map(str, files), "--tls-auth-clients", "yes")
    server.start()
    yield f"rediss://localhost:{port}/0"
    server.remove()


async def test_a_server_is_believed_by_its_authority_and_shown_who_asks(authority, encrypted):
    certificate, key = authority.sign("rota")
    ours = f"sslcert={certificate}&sslkey={key}"
    async with reached(f"{encrypted}?sslrootcert={authority.root}&{ours}") as store:
        await put(store, make_run(1))
        assert [item.record for item in (await store.find(Run)).items] == [make_run(1)]
    for url in (
        f"{encrypted}?{ours}",
        f"{encrypted.replace('localhost', '127.0.0.1')}?sslrootcert={authority.root}&{ours}",
    ):
        with pytest.raises(Unavailable, match="sslrootcert"):
            await connect(url).open()
    for url in (f"{encrypted}?sslrootcert={authority.root}", encrypted.replace("rediss", "redis")):
        with pytest.raises(Unavailable):
            await connect(url).open()


@pytest.fixture
def watched():
    """A primary, its replica, and the Sentinel that watches them."""
    first, second, sentinel = (needed(RedisServer) for _ in range(3))
    first.settings = (*PASSING, "--repl-diskless-sync-delay", "0")  # it would wait 5 s for other replicas
    first.start()
    second.settings = (*PASSING, "--replicaof", f"127.0.0.1 {first.port}")
    second.start()
    file = sentinel.folder / "sentinel.conf"
    file.write_text(
        f"sentinel monitor main 127.0.0.1 {first.port} 1\nsentinel down-after-milliseconds main 300\n"
        "sentinel failover-timeout main 3000\n"
    )
    sentinel.file, sentinel.settings = str(file), ("--sentinel",)
    sentinel.start()
    yield first, second, sentinel
    for server in (sentinel, second, first):
        server.remove()


@pytest.fixture
def guarded(authority):
    """URL of a primary behind a Sentinel: both speak TLS alone, and each wants a password of its own."""
    certificate, key = authority.sign("guarded", "127.0.0.1")
    files = ("--tls-cert-file", certificate, "--tls-key-file", key, "--tls-ca-cert-file", authority.root)
    tls = (*map(str, files), "--tls-auth-clients", "no", "--tls-replication", "yes")
    server, sentinel = needed(RedisServer), needed(RedisServer)
    secure = free_port()
    server.settings = (*PASSING, *tls, "--tls-port", str(secure), "--requirepass", "data word")
    server.start()
    file = sentinel.folder / "sentinel.conf"
    file.write_text(f'sentinel monitor main 127.0.0.1 {secure} 1\nsentinel auth-pass main "data word"\n')
    watching = free_port()
    words = ("--tls-port", str(watching), "--requirepass", "watch word")
    sentinel.file, sentinel.settings = str(file), ("--sentinel", *tls, *words)
    sentinel.start()
    yield f"rediss://:data%20word@127.0.0.1:{watching}/0?sentinel=main&sslrootcert={authority.root}"
    for one in (sentinel, server):
        one.remove()


async def test_sentinels_and_servers_have_passwords_of_their_own_behind_tls(guarded):
    async with reached(f"{guarded}&sentinel_password=watch%20word") as store:
        await put(store, make_run(1))
        assert len((await store.find(Run)).items) == 1
    for url, secret in (
        (guarded, "watch word"),
        (f"{guarded}&sentinel_password=other", "other"),
        (f"{guarded.replace('data%20word', 'wrong')}&sentinel_password=watch%20word", "watch word"),
    ):
        with pytest.raises(Unavailable) as met:
            await connect(url).open()
        assert secret not in str(met.value)


@pytest.fixture
def clustered():
    """A Redis Cluster of one node that has all slots."""
    server = needed(RedisServer)
    server.settings = (
        *PASSING,
        "--cluster-enabled",
        "yes",
        "--cluster-port",
        str(free_port()),
        "--cluster-config-file",
        str(server.folder / "nodes"),
    )
    server.start()
    with client(server.url) as node:
        node.execute_command("CLUSTER ADDSLOTSRANGE 0 16383")
        end = time.monotonic() + 30
        while node.execute_command("CLUSTER INFO")["cluster_state"] != "ok":
            assert time.monotonic() < end
    yield server
    server.remove()


async def test_a_cluster_is_refused_but_for_keys_of_one_node(clustered):
    with pytest.raises(Incompatible, match="is a Redis Cluster, whose nodes share keys without a prefix"):
        await connect(f"{clustered.url}?prefix=").open()
    async with reached(clustered.url) as store:
        await put(store, make_run(1))
        assert ("fail", "a node of a Redis Cluster, which keeps all of this prefix") in [
            (level, text.partition(":")[0]) for level, text in await store.diagnose()
        ]
    with client(clustered.url) as node:
        slot = node.execute_command("CLUSTER KEYSLOT", "{rota}:")
        node.execute_command("CLUSTER DELSLOTS", slot)
        node.execute_command("CLUSTER MEET 127.0.0.1 1")
    with pytest.raises(Unavailable, match="Redis Cluster"):
        await connect(clustered.url).open()


async def test_the_primary_is_found_and_after_its_fall_another_one(watched):
    first, second, sentinel = watched
    url = f"redis://127.0.0.1:1,127.0.0.1:{sentinel.port}/0?sentinel=main"
    with pytest.raises(Unavailable, match="'mian'"):
        await connect(url.replace("=main", "=mian")).open()
    with pytest.raises(Unavailable, match="replica"):
        async with reached(second.url) as store:
            await put(store, make_run(1))
    async with reached(url) as store:
        await put(store, make_run(1))
        with client(first.url) as primary, client(sentinel.url) as one:
            assert primary.execute_command("WAIT", 1, 10_000) == 1
            end = time.monotonic() + 30
            while not one.execute_command("SENTINEL", "REPLICAS", "main"):
                assert time.monotonic() < end
        first.stop()
        async with asyncio.timeout(30):
            while True:
                try:
                    assert len((await store.find(Run)).items) == 1
                    await put(store, make_run(2))
                    break
                except (StoreError, Unclear):
                    continue
        assert len((await store.find(Run)).items) == 2


async def test_who_is_told_that_a_server_only_reads_looks_for_the_primary_anew():
    """A name that leads to another server from now on ends no connection to the former one."""
    former, latter = (needed(RedisServer) for _ in range(2))
    try:
        for server in (former, latter):
            server.start()
        async with between(former.url) as (proxy, url), reached(url) as store:
            await asyncio.gather(*(put(store, make_run(number)) for number in range(4)))
            with client(former.url) as one:
                one.replicaof("127.0.0.1", latter.port)
            proxy.target = "127.0.0.1", latter.port
            with pytest.raises(Unavailable, match="only reads"):
                await put(store, make_run(5))
            told = await asyncio.gather(*(put(store, make_run(number)) for number in range(6, 10)))
            assert told == [[APPLIED]] * 4
    finally:
        for server in (former, latter):
            server.remove()


async def test_of_what_a_user_may_not_say_nothing_is_written(space):
    """Servers allow new users no channel unless told so; a refusal in the midst of a script undoes nothing."""
    with client(space) as other:
        other.acl_setuser("mute", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all"])
        try:
            async with reached(space.replace("//", "//mute:word@")) as store:
                with pytest.raises(Unavailable, match="keys and channels"):
                    await put(store, make_run(1), hints=[Hint("due")])
                assert await store.get(Run, [make_run(1).id]) == [None]
        finally:
            other.acl_deluser("mute")
