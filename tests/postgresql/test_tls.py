"""TLS to a real server, by certificates of an authority of our own."""

import asyncio
import os
from datetime import timedelta

import pytest

from rota.domain.errors import Invalid, Unavailable
from rota.domain.run import Run
from rota.stores import connect
from rota.stores.sql.store import SqlStore
from rota.testing.factories import make_run
from tests.services.authority import Authority
from tests.services.fixtures import needed
from tests.services.postgresql import Server, do
from tests.unit.stores.files import put, reached
from tests.unit.stores.test_postgresql import asked

RULES = """
hostssl all rota 127.0.0.1/32 md5
hostssl all bearer 127.0.0.1/32 cert
"""


class Encrypted:
    """A server that lets nobody in without TLS, and its certificate."""

    def __init__(self, authority: Authority) -> None:
        self.authority = authority
        self.server = Server()
        self._put("rules", RULES.encode())
        self._put("root", authority.root.read_bytes())
        self.show("localhost")
        names = {"ssl_cert_file": "shown.crt", "ssl_key_file": "shown.key", "ssl_ca_file": "root", "hba_file": "rules"}
        files = (f"{name}={self.server.folder / file}" for name, file in names.items())
        self.server.settings = ("fsync=off", "ssl=on", *files)

    def url(self, options: str, user: str = "") -> str:
        found = self.server.url.replace("127.0.0.1", "localhost")
        return f"{found.replace('rota:rota@', f'{user}@') if user else found}?{options}"

    def trusted(self) -> str:
        return self.url(f"sslmode=verify-full&sslrootcert={self.authority.root}")

    def show(self, *hosts: str, ends: timedelta = timedelta(days=1)) -> None:
        """A certificate for these hosts, for connections that begin after the server was told."""
        certificate, key = self.authority.sign("shown", *hosts, ends=ends)
        self._put("shown.crt", certificate.read_bytes())
        self._put("shown.key", key.read_bytes())

    def _put(self, name: str, data: bytes) -> None:
        file = self.server.folder / name
        file.write_bytes(data)
        file.chmod(0o600)
        os.chown(file, self.server.user.pw_uid, self.server.user.pw_gid)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    made = needed(lambda: Encrypted(Authority(tmp_path_factory.mktemp("authority"))))
    made.server.start()
    yield made
    made.server.remove()


@pytest.fixture
async def shown(encrypted):
    """Have the server show another certificate, for this test."""

    async def show(*hosts, **ends):
        before = await loaded_at()
        encrypted.show(*hosts, **ends)
        await do(encrypted.url("sslmode=require"), "SELECT pg_reload_conf()")
        async with asyncio.timeout(30):
            while await loaded_at() == before:
                pass

    async def loaded_at():
        return await asked(encrypted.url("sslmode=require"), "SELECT pg_conf_load_time()")

    yield show
    await show("localhost")


async def test_a_server_that_is_known_is_spoken_to_in_secret(encrypted):
    async with reached(encrypted.trusted()) as store:
        ear = store.watch(["ready:a"])
        await ear.wait(30)
        await put(store, make_run(1))
        ways = "SELECT bool_and(ssl), count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE client_port > 0"
        ((all_are, number),) = await store.base.read(lambda db: db.rows(ways))
        assert all_are
        assert number >= 2  # one for work, one that listens


async def test_a_certificate_for_another_host_is_refused(encrypted, shown):
    await shown("other.example")
    with pytest.raises(Unavailable, match=r"not believed.*sslrootcert.*Hostname mismatch"):
        await connect(encrypted.trusted()).open()


async def test_one_that_has_expired_is_refused(encrypted, shown):
    await shown("localhost", ends=timedelta(days=-1))
    with pytest.raises(Unavailable, match=r"not believed.*certificate has expired"):
        await connect(encrypted.trusted()).open()


async def test_one_of_an_unknown_authority_is_refused(encrypted, tmp_path):
    stranger = Authority(tmp_path, "stranger")
    with pytest.raises(Unavailable, match=r"not believed.*verify failed"):
        await connect(encrypted.url(f"sslmode=verify-full&sslrootcert={stranger.root}")).open()


async def test_one_that_expires_meanwhile_makes_the_server_unavailable(encrypted, shown):
    """It is no fault of what is to be kept."""
    async with reached(encrypted.trusted()) as store:
        await shown("localhost", ends=timedelta(days=-1))
        await do(
            encrypted.url("sslmode=require"),
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'rota'",
        )
        with pytest.raises(Unavailable, match="certificate has expired"):
            await put(store, make_run(2))
        await shown("localhost")
        await put(store, make_run(2))
        assert make_run(2) in [held.record for held in (await store.find(Run)).items]


async def test_a_file_that_goes_meanwhile_is_no_fault_of_the_url(encrypted, tmp_path):
    root = tmp_path / "root.pem"
    root.write_bytes(encrypted.authority.root.read_bytes())
    async with reached(encrypted.url(f"sslmode=verify-full&sslrootcert={root}")) as store:
        root.write_bytes(b"no certificate")
        store.base._pool._idle.pop().terminate()
        with pytest.raises(Unavailable):
            await put(store, make_run(3))


async def test_who_comes_without_tls_is_told(encrypted):
    with pytest.raises(Unavailable, match=r"sslmode.*no encryption"):
        await connect(encrypted.url("sslmode=disable")).open()


async def test_a_server_without_tls_is_not_spoken_to_in_the_open(database):
    with pytest.raises(Unavailable, match="rejected SSL upgrade"):
        await connect(f"{database}?sslmode=require").open()


async def test_a_client_shows_its_own_certificate(encrypted):
    await do(encrypted.url("sslmode=require"), "CREATE ROLE bearer LOGIN SUPERUSER")
    certificate, key = encrypted.authority.sign("bearer")
    checked = f"sslmode=verify-full&sslrootcert={encrypted.authority.root}"
    with pytest.raises(Unavailable, match="lets nobody in"):
        await connect(encrypted.url(checked, user="bearer")).open()
    store = SqlStore(encrypted.url(f"{checked}&sslcert={certificate}&sslkey={key}", user="bearer"))
    await store.open()
    assert await store.base.read(lambda db: db.rows("SELECT current_user::text")) == [("bearer",)]
    await store.close()


@pytest.mark.parametrize("option", ["sslrootcert", "sslcert", "sslkey"])
def test_a_file_that_is_not_there_is_named(option):
    with pytest.raises(Invalid, match=f"{option}=/nowhere.pem is no file"):
        connect(f"postgresql://rota@127.0.0.1:1/rota?sslmode=verify-full&{option}=/nowhere.pem")
