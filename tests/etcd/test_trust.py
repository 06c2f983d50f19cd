"""Who is let in by an etcd server, and which server is believed."""

from typing import Any

import pytest
from grpc.aio import insecure_channel

from rota.domain.errors import Unavailable
from rota.stores.etcd.address import read_url
from rota.stores.etcd.client.client import Client
from rota.stores.etcd.client.messages import CLASSES
from rota.stores.etcd.client.words import Delete, Put, Range, Txn
from tests.etcd.ways import new, reached
from tests.services.authority import Authority
from tests.services.etcd import EtcdServer
from tests.services.fixtures import needed


def words(*said):
    """A message of texts, with the numbers of their fields from 1 on."""
    return b"".join(bytes((8 * number + 2, len(one))) + one.encode() for number, one in enumerate(said, 1))


def granted(role, kind, start, end):
    """A message that gives a role a right on a range; `kind`: 0 to read, 1 to write, 2 for both."""
    right = bytes((8, kind)) + b"".join(bytes((tag, len(one))) + one for tag, one in ((18, start), (26, end)))
    return words(role) + bytes((18, len(right))) + right


class Guarded:
    """A server that asks for passwords: `root` may do all, `rota` what lies below `rota/`, and read `other/`."""

    def __init__(self, server):
        self.server = server
        self.token: Any = ()

    async def ask(self, method, message):
        async with insecure_channel(f"127.0.0.1:{self.server.port}") as channel:
            return await channel.unary_unary(f"/etcdserverpb.Auth/{method}")(message, metadata=self.token)

    async def guard(self):
        for user in ("root", "rota"):
            await self.ask("UserAdd", words(user, "secret"))
            await self.ask("RoleAdd", words(user))
            await self.ask("UserGrantRole", words(user, user))
        await self.ask("RoleGrantPermission", granted("rota", 2, b"rota/", b"rota0"))
        await self.ask("RoleGrantPermission", granted("rota", 0, b"other/", b"other0"))
        await self.ask("AuthEnable", b"")
        said = await self.ask("Authenticate", words("root", "secret"))
        self.token = (("token", CLASSES["Token"].FromString(said).token),)

    async def forget(self):
        """Let rota's tokens expire, as they do after 5 minutes."""
        await self.ask("UserChangePassword", words("rota", "secret"))

    def url(self, user="rota", password="secret"):
        return self.server.url.replace("//", f"//{user}:{password}@")


@pytest.fixture
async def guarded():
    server = needed(EtcdServer)
    server.start()
    made = Guarded(server)
    await made.guard()
    yield made
    server.remove()


async def test_a_password_lets_in_and_a_wrong_or_missing_one_does_not(guarded):
    async with reached(guarded.url()) as client:
        assert (await client.txn(new(b"rota/a"))).succeeded
    for url in (guarded.url(password="wrong"), guarded.url(user="nobody"), guarded.server.url):
        with pytest.raises(Unavailable, match="lets nobody in by this name and password"):
            async with reached(url):
                pass


async def test_a_token_that_has_expired_is_renewed_for_calls_and_serves_watches(guarded):
    async with reached(guarded.url()) as client:
        for number in range(3):
            assert (await client.txn(new(b"rota/%d" % number, b"1"))).succeeded
            await guarded.forget()
            assert [value async for value in client.watch(b"rota/0", 1)] == []
            await client.range(Range(b"rota/"))
            assert await anext(client.watch(b"rota/0", 1)) == b"1"


async def test_what_is_not_allowed_is_refused_and_said(guarded):
    async with reached(guarded.url()) as client:
        await client.range(Range(b"other/a"))
        for txn in (Txn((), (Put(b"other/a", b""),)), Txn((), (Delete(b"rota/", b"s"),))):
            with pytest.raises(Unavailable, match="forbids it; let this user's role read and write the prefix"):
                await client.txn(txn)
        assert [value async for value in client.watch(b"secret/a", 1)] == []


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest.fixture
def encrypted(authority):
    """A server that speaks TLS and wants to see a certificate."""
    certificate, key = authority.sign("shown", "127.0.0.1")
    flags = {"cert-file": certificate, "key-file": key, "trusted-ca-file": authority.root, "client-cert-auth": "true"}
    server = needed(lambda: EtcdServer([f"--{name}={value}" for name, value in flags.items()]))
    server.start()
    yield server.url
    server.remove()


async def test_a_server_is_believed_by_its_authority_and_shown_who_asks(authority, encrypted, prefix, tmp_path):
    certificate, key = authority.sign("rota")
    ours = f"cert={certificate}&key={key}"
    async with reached(f"{encrypted}?ca={authority.root}&{ours}") as client:
        assert (await client.txn(new(b"k/a", b"1"))).succeeded
        assert await anext(client.watch(b"k/a", 1)) == b"1"
    other = Authority(tmp_path, "other")
    for url, said in (
        (f"{encrypted}?{ours}", "not believed"),
        (f"{encrypted}?ca={other.root}&{ours}", "not believed"),
        (f"{encrypted.replace('127.0.0.1', 'localhost')}?ca={authority.root}&{ours}", "for other hosts"),
        (f"{encrypted}?ca={authority.root}", "cert and key"),
        (encrypted.replace("etcds", "etcd"), "write etcds://"),
        (f"{prefix.replace('etcd', 'etcds', 1)}?ca={authority.root}", "write etcd://"),
    ):
        with pytest.raises(Unavailable, match=said):
            async with reached(url):
                pass


async def test_a_file_that_cannot_be_read_is_told(authority, encrypted):
    certificate, key = authority.sign("rota")
    client = Client(read_url(f"{encrypted}?ca={authority.root}&cert={certificate}&key={key}"))
    key.unlink()
    with pytest.raises(Unavailable, match=r"rota\.key"):
        await client.open()
