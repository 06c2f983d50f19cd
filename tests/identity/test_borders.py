"""Where requests come from and how: hosts, proxies, bodies, other origins, TLS. Numbers as in the threat model."""

import asyncio
import contextlib
import json
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from rota.api import places
from rota.api.places import GuardOptions
from rota.domain.access import ANY, Grant
from rota.domain.errors import Invalid
from rota.domain.people import Kind, User
from tests.identity.support import PASSWORD, serving, spoken

EVIL = "https://evil.example"


async def forwarded(proxied: Any, *told: str) -> list[int]:
    """The answers to requests of which a proxy says that they are of these addresses."""
    return [(await proxied.ask("GET", "/health", headers={"X-Forwarded-For": one})).status_code for one in told]


class TestBorders:
    @pytest.mark.parametrize(
        ("host", "status"),
        [
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("10.0.0.1", 421),
            ("a@localhost", 421),
            ("LOCALHOST:9", 200),
        ],
    )
    async def test_the_host_must_be_ours(self, served, host, status):
        """53"""
        assert (await served.ask("GET", "/health", headers={"Host": host})).status_code == status

    async def test_a_server_beyond_loopback_answers_to_addresses_and_to_its_names(self, house):
        async with serving(house, loopback=False) as open_one:
            for host, status in (("192.0.2.7:8080", 200), ("[2001:db8::7]", 200), ("evil.example", 421)):
                assert (await open_one.ask("GET", "/health", headers={"Host": host})).status_code == status
        async with serving(house, loopback=False, hosts=("rota.example",)) as named:
            for host, status in (("rota.example", 200), ("192.0.2.7", 421), ("localhost", 200)):
                assert (await named.ask("GET", "/health", headers={"Host": host})).status_code == status

    async def test_two_lengths_or_two_hosts_are_refused(self, served):
        """53: what proxies and servers may read differently"""
        post = "POST /api/auth/login HTTP/1.1"
        both = await spoken(
            served, post, "Host: localhost", "Content-Length: 4", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"
        )
        twice = await spoken(served, post, "Host: localhost", "Content-Length: 4", "Content-Length: 5", body=b"{}   ")
        hosts = await spoken(served, "GET /health HTTP/1.1", "Host: localhost", "Host: evil.example")
        assert [line.split()[1][:1] for line in (both, twice, hosts)] == [b"4"] * 3

    async def test_forwarded_headers_of_strangers_are_ignored(self, served):
        """53"""
        await served.user("anna", password=PASSWORD)
        forged = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example"}
        answer = await served.ask(
            "POST", "/api/auth/login", json={"name": "anna", "password": PASSWORD, "cookie": True}, headers=forged
        )
        assert "secure" not in answer.headers["set-cookie"].lower()
        (entry,) = await served.entries("login")
        assert entry.origin == "127.0.0.1"

    async def test_a_trusted_proxy_is_believed_as_far_as_it_goes(self, house):
        async with serving(house, proxies=("127.0.0.0/8",), allow=("203.0.113.0/24",)) as proxied:
            told = ("203.0.113.9", "198.51.100.1, 203.0.113.9", "203.0.113.9, 198.51.100.1", "")
            assert await forwarded(proxied, *told) == [200, 200, 403, 403]

    async def test_what_a_trusted_proxy_says_is_not_passed_over_where_it_is_odd(self, house):
        """Of whom it speaks otherwise is not the proxy itself, which the list may let in."""
        async with serving(house, proxies=("127.0.0.0/8",), allow=("127.0.0.0/8", "203.0.113.0/24")) as proxied:
            well = ("203.0.113.9:4711", "203.0.113.9,,", "")
            odd = ("198.51.100.1:4711", "[2001:db8::1]:4711", "unknown", "203.0.113.9, unknown")
            assert await forwarded(proxied, *well) == [200, 200, 200]
            assert await forwarded(proxied, *odd) == [403, 403, 403, 403]

    def test_what_strangers_write_of_others_costs_nothing(self, monkeypatch):
        """An address is read only as long as each one before it is trusted, however many there are."""
        read: list[str] = []

        def counted(text: str) -> Any:
            read.append(text)
            return ip_address(text)

        monkeypatch.setattr(places, "ip_address", counted)
        known = places.Places(GuardOptions(proxies=("10.0.0.0/8",)))
        told = {"x-forwarded-for": f"{'10.0.0.1,' * 7_000} 203.0.113.9, 10.0.0.2"}
        assert known.address("10.0.0.3", told) == "203.0.113.9"
        assert set(read) == {"10.0.0.3", "10.0.0.2", "203.0.113.9"}
        assert len(read) < 10

    async def test_only_listed_addresses_may_ask(self, house):
        async with serving(house, allow=("10.0.0.0/8", "fd00::/8")) as closed:
            assert (await closed.ask("GET", "/health")).status_code == 403
        async with serving(house, allow=("127.0.0.1",)) as opened:
            assert (await opened.ask("GET", "/health")).status_code == 200

    async def test_every_answer_has_the_headers_that_browsers_heed(self, served):
        for path, key in (("/health", ""), ("/api/users", ""), ("/api/users", "admin"), ("/login", "")):
            headers = (await served.ask("GET", path, key)).headers
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["cache-control"] == "no-store"
            assert "server" not in headers

    @pytest.mark.parametrize(
        "query", ["next=//evil", "next=/%5cevil", "next=https:evil", "next=%0d%0aX-A:b", "next=javascript:1"]
    )
    async def test_login_leads_nowhere_else(self, served, query):
        """52"""
        answer = await served.ask("GET", f"/login?{query}")
        assert (answer.status_code, answer.headers.get("location"), "evil" in answer.text) == (200, None, False)

    async def test_the_page_of_a_login_link_says_what_there_is_and_that_opens(self, served):
        await served.user("anna", Grant("viewer"))
        code = await served.key("link", kind=Kind.LINK, owner="anna")
        page = await served.ask("GET", "/login")
        assert "Rota has no user interface yet." in page.text
        assert '<a href="/api/runs">' in page.text
        # What its script asks, and then the browser by the link on it.
        answer = await served.ask("POST", "/api/auth/link", json={"code": code}, headers={"Origin": served.base})
        cookie = answer.headers["set-cookie"].partition(";")[0]
        assert (await served.ask("GET", "/api/runs", headers={"Cookie": cookie})).json()["items"] == []

    async def test_a_body_over_its_size_is_cut(self, house):
        async with serving(house, body_bytes=1_000) as small:
            await small.everybody()

            async def endless():
                for _ in range(100):
                    yield b" " * 100

            for content in (b" " * 1_001, endless()):
                answer = await small.ask(
                    "POST", "/api/users", "admin", content=content, headers={"Content-Type": "application/json"}
                )
                assert answer.status_code == 413

    async def test_a_body_that_does_not_come_is_not_waited_for(self, house):
        async with serving(house, body_s=0.05) as hasty:
            lines = (
                "POST /api/auth/login HTTP/1.1",
                "Host: localhost",
                "Content-Type: application/json",
                "Content-Length: 9",
            )
            assert (await spoken(hasty, *lines)).split()[1] == b"408"

    async def test_a_body_in_drops_is_not_waited_for_either(self, house):
        async with serving(house, body_s=0.3) as hasty:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(hasty.base.rpartition(":")[2]))
            head = "POST /api/auth/login HTTP/1.1", "Host: localhost", "Content-Type: application/json"
            writer.write("".join(f"{line}\r\n" for line in (*head, "Transfer-Encoding: chunked", "")).encode())
            # The first line only: what is sent behind a closed connection makes an error of whatever is read later.
            answer = asyncio.create_task(reader.readline())
            async with asyncio.timeout(10):
                while not answer.done():
                    writer.write(b"1\r\n \r\n")
                    await asyncio.wait([answer], timeout=0.05)
            assert (await answer).startswith(b"HTTP/1.1 408 ")
            writer.close()

    async def test_a_head_has_a_size(self, served):
        _, writer = await asyncio.open_connection("127.0.0.1", int(served.base.rpartition(":")[2]))
        writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-A: ")
        sent = 0
        with contextlib.suppress(ConnectionError):
            while sent < 10_000_000:
                writer.write(b"a" * 100_000)
                await writer.drain()
                sent += 100_000
        assert sent < 10_000_000
        assert (await served.ask("GET", "/health", headers={"X-A": "a" * 60_000})).status_code == 200

    @pytest.mark.parametrize("said", [b"", b"GET /health HTTP/1.1\r\nHost: loc"])
    async def test_a_head_that_does_not_come_is_not_waited_for(self, house, monkeypatch, said):
        monkeypatch.setattr("rota.api.serve.HEAD_S", 0.05)
        async with serving(house) as hasty, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(hasty.base.rpartition(":")[2]))
            writer.write(said)
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    async def test_the_rest_of_a_refused_body_is_not_waited_for(self, house, monkeypatch):
        monkeypatch.setattr("rota.api.serve.HEAD_S", 0.3)
        async with serving(house) as hasty, asyncio.timeout(10):
            reader, writer = await asyncio.open_connection("127.0.0.1", int(hasty.base.rpartition(":")[2]))
            writer.write(b"POST /api/users HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
            assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 401 ")
            writer.write(b"{")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()

    async def test_while_the_store_is_away_nobody_is_let_in(self, served):
        served.house.store.down = True
        answer = await served.ask("GET", "/api/users", "admin")
        served.house.store.down = False
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert (answer.headers["content-type"], "planned" in answer.text) == ("application/problem+json", False)
        assert (await served.ask("GET", "/api/users", "admin")).status_code == 200

    async def test_an_id_of_the_request_is_kept_if_it_is_harmless(self, served):
        assert (await served.ask("GET", "/health", headers={"X-Request-ID": "abc-12345"})).headers[
            "x-request-id"
        ] == "abc-12345"
        for given in ("short", "a b c d e f g", "x" * 65):
            assert (await served.ask("GET", "/health", headers={"X-Request-ID": given})).headers[
                "x-request-id"
            ] != given


class TestOtherOrigins:
    @pytest.mark.parametrize(
        "origin",
        [EVIL, "null", "https://ui.example.org.evil.example", "https://evilui.example.org", "http://ui.example.org"],
    )
    async def test_foreign_pages_read_nothing(self, house, origin):
        """51"""
        async with serving(house, origins=("https://ui.example.org",)) as served:
            await served.everybody()
            preflight = {"Origin": origin, "Access-Control-Request-Method": "GET"}
            for answer in (
                await served.ask("OPTIONS", "/api/users", headers=preflight),
                await served.ask("GET", "/api/users", "admin", headers={"Origin": origin}),
            ):
                assert not [name for name in answer.headers if name.startswith("access-control-allow")]

    async def test_listed_pages_read_with_a_key_and_never_with_a_cookie(self, house):
        """51"""
        async with serving(house, origins=("https://ui.example.org",)) as served:
            await served.everybody()
            origin = {"Origin": "https://ui.example.org"}
            preflight = await served.ask(
                "OPTIONS", "/api/users", headers=origin | {"Access-Control-Request-Method": "PATCH"}
            )
            answer = await served.ask("GET", "/api/users", "admin", headers=origin)
            assert (preflight.status_code, answer.status_code) == (204, 200)
            for one in (preflight, answer):
                assert one.headers["access-control-allow-origin"] == "https://ui.example.org"
                assert "access-control-allow-credentials" not in one.headers
            assert "PATCH" in preflight.headers["access-control-allow-methods"]

    async def test_without_a_list_no_page_reads_anything(self, served):
        answer = await served.ask(
            "OPTIONS", "/api/users", headers={"Origin": EVIL, "Access-Control-Request-Method": "GET"}
        )
        assert answer.status_code == 401
        assert "access-control-allow-origin" not in answer.headers

    async def test_a_cookie_changes_things_from_our_own_page_only(self, served):
        """50"""
        await served.user("anna", Grant("admin", ANY), password=PASSWORD)
        cookie = (await served.logged_in(cookie=True)).headers["set-cookie"].partition(";")[0]
        for origin, status in (
            (EVIL, 403),
            ("null", 403),
            ("", 403),
            (served.base.replace("http", "https", 1), 403),
            (served.base, 201),
        ):
            headers = {"Cookie": cookie} | ({"Origin": origin} if origin else {})
            answer = await served.ask("POST", "/api/users", json={"name": f"u{status}", "grants": []}, headers=headers)
            assert answer.status_code == status, origin
        assert (await served.ask("GET", "/api/users", headers={"Cookie": cookie, "Origin": EVIL})).status_code == 200

    async def test_other_cookies_of_the_same_host_do_not_hide_ours(self, served):
        """On loopback all programs share them, whatever they put there."""
        await served.user("anna", Grant("admin", ANY), password=PASSWORD)
        cookie = (await served.logged_in(cookie=True)).headers["set-cookie"].partition(";")[0]
        for others in ('a={"b":1}; ', "a b=c; ", "=; ;", 'x="; ', "rota_sessions=1; "):
            answer = await served.ask("GET", "/api/users", headers={"Cookie": others + cookie})
            assert answer.status_code == 200, others

    @pytest.mark.parametrize("mark", ["\\", '\\"', "\\0", ";", "a;", "="])
    async def test_a_cookie_costs_no_time(self, served, mark):
        """43: of a stranger as little as of anybody"""
        began = time.process_time()
        headers = {"Cookie": f'rota_session="{mark * (60_000 // len(mark))}"'}
        assert (await served.ask("GET", "/api/users", headers=headers)).status_code == 401
        assert time.process_time() - began < 0.5

    @pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data", ""])
    async def test_a_form_changes_nothing(self, served, kind):
        """50"""
        await served.user("anna", Grant("admin", ANY), password=PASSWORD)
        cookie = (await served.logged_in(cookie=True)).headers["set-cookie"].partition(";")[0]
        headers = {"Cookie": cookie, "Origin": served.base, "Content-Type": kind}
        answer = await served.ask(
            "POST", "/api/users", content=json.dumps({"name": "eve", "grants": []}), headers=headers
        )
        assert answer.status_code == 415
        assert await served.house.get(User, "eve") is None

    async def test_a_foreign_page_logs_nobody_in(self, served):
        await served.user("anna", password=PASSWORD)
        body = {"name": "anna", "password": PASSWORD, "cookie": True}
        for origin, status in ((EVIL, 403), ("null", 403), (served.base, 200)):
            answer = await served.ask("POST", "/api/auth/login", json=body, headers={"Origin": origin})
            assert answer.status_code == status

    async def test_no_get_changes_anything(self, served):
        """50"""
        for path in ("/api/auth/login", "/api/auth/link", "/api/auth/refresh", "/api/auth/logout"):
            assert (await served.ask("GET", path, "admin")).status_code == 405


class TestTls:
    async def test_a_certificate_makes_it_https_and_cookies_secure(self, house, tmp_path):
        """21"""
        async with serving(house, certificate(tmp_path)) as served:
            assert served.base.startswith("https://")
            await served.user("anna", password=PASSWORD)
            answer = await served.logged_in(cookie=True)
            assert "secure" in answer.headers["set-cookie"].lower()
            assert answer.headers["strict-transport-security"].startswith("max-age=")

    async def test_what_is_no_certificate_is_named(self, house, tmp_path):
        (tmp_path / "x.pem").write_text("x")
        files = {"certificate": str(tmp_path / "x.pem"), "key": str(tmp_path / "x.pem")}
        with pytest.raises(Invalid, match=r"x\.pem"):
            async with serving(house, files):
                pass


def certificate(folder: Path) -> dict[str, str]:
    """One for this machine that nobody else signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    (folder / "chain.pem").write_bytes(made.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    plain = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "key.pem").write_bytes(plain)
    return {"certificate": str(folder / "chain.pem"), "key": str(folder / "key.pem")}
