"""Attacks over a real connection. The numbers are those of the threat model's list."""

import asyncio
import json
import logging
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from rota.api import guard
from rota.api.door import Door
from rota.api.limits import Rates
from rota.domain.access import ANY, Grant
from rota.domain.errors import Invalid
from rota.domain.people import Kind, Token, User
from rota.domain.records import Audit
from rota.engine import people
from rota.identity import Identity
from tests.identity.support import NO_RATES, PASSWORD, ROOT, SECRET, Served, serving

EVIL = "https://evil.example"
SCANNED = [
    "/admin", "/api", "/api/v1/users", "/api/debug", "/api/test", "/api/migrate", "/api/profile", "/debug/pprof",
    "/docs", "/redoc", "/openapi.json", "/swagger", "/graphql", "/console", "/actuator", "/actuator/env", "/env",
    "/.env", "/.git/config", "/config", "/status", "/server-status", "/phpinfo", "/test/transport", "/server/acquire",
    "/jobs", "/job/run", "/run", "/execute", "/shell", "/static/../etc/passwd", "/favicon.ico", "/robots.txt",
    "/login.html", "/register", "/api/register", "/api/users/", "/api/tokens/", "/api/auth", "/api/auth/",
    "/api/audit/", "/metrics/", "/health/x",
]  # fmt: skip


def secret_of(key: str) -> str:
    return key.split("_", 3)[3]


async def spoken(served: Served, *lines: str, body: bytes = b"") -> bytes:
    """The first line of what comes back for these very bytes."""
    host, port = served.base.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write("".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1") + body)
    async with asyncio.timeout(10):
        answer = await reader.readline()
    writer.close()
    return answer


class TestStrangers:
    @pytest.mark.parametrize(
        "path",
        [
            "/api/tasks/xhealth", "//health/../api/runs", "/health/", "/Health", "/health/%2e%2e/api/runs", "/health;a",
            "/%68ealth", "/health%2f..%2fapi%2fusers", "/api/users%00", "/metrics", "/docs", "/openapi.json", "/debug",
            "/api/system/events", "/login/../api/users", "/nothing",
        ],
    )  # fmt: skip
    async def test_no_trick_with_the_path_leads_in(self, served, path):
        """2, 3"""
        answer = await served.ask("GET", path)
        assert answer.status_code == 401
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["www-authenticate"] == "Bearer"

    async def test_health_is_public(self, served):
        assert (await served.ask("GET", "/health")).status_code == 200

    async def test_an_upgrade_is_refused_before_it_happens(self, served):
        """3"""
        upgrade = (
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: " + "a" * 22 + "==",
        )
        said = await spoken(served, "GET /api/system/events HTTP/1.1", "Host: 127.0.0.1", *upgrade)
        assert said.split()[1] in (b"401", b"403")

    @pytest.mark.parametrize("method", ["DELETE", "PATCH", "PUT", "HEAD", "OPTIONS", "POST"])
    async def test_every_method_is_refused(self, served, method):
        """4"""
        answer = await served.ask(method, "/api/users/anna", headers={"X-HTTP-Method-Override": "GET"})
        assert answer.status_code == 401

    async def test_trace_is_no_method_of_ours(self, served):
        """4"""
        assert (await served.ask("TRACE", "/health")).status_code == 405
        assert (await served.ask("BREW", "/health", "admin")).status_code in (400, 405)

    async def test_an_override_header_changes_no_method(self, served):
        """4"""
        made = await served.user("anna")
        answer = await served.ask("GET", f"/api/users/{made.id}", "admin", headers={"X-HTTP-Method-Override": "DELETE"})
        assert (answer.status_code, answer.json()["id"]) == (200, "anna")

    @pytest.mark.parametrize("text", ["Bearer", "Bearer default_token", "Basic YWRtaW46YWRtaW4=", "Bearer null"])
    async def test_no_common_credential_opens(self, served, text):
        """5"""
        answer = await served.ask("GET", "/api/tasks", headers={"Authorization": text})
        assert answer.status_code == 401

    @pytest.mark.parametrize(
        ("name", "password"), [("admin", "admin"), ("admin", "123456"), ("admin", ""), ("root", "root")]
    )
    async def test_there_is_no_default_login(self, served, name, password):
        """7"""
        assert (await served.logged_in(name, password)).status_code == 401

    async def test_nothing_but_what_is_documented_is_there(self, served):
        """9"""
        found = {path: (await served.ask("GET", path, "admin")).status_code for path in SCANNED}
        assert {path: status for path, status in found.items() if status != 404} == {}

    async def test_the_credential_is_looked_at_before_the_body(self, served):
        """11"""
        answer = await served.ask("POST", "/api/users", content=b"{" * 1_000_000)
        assert answer.status_code == 401

    async def test_a_key_counts_nowhere_but_in_its_header(self, served, caplog):
        """18, 60"""
        key = served.keys["admin"]
        with caplog.at_level(logging.DEBUG):
            for path in (f"/api/users?token={key}", f"/api/users?access_token={key}&key={key}"):
                assert (await served.ask("GET", path)).status_code == 401
            assert (await served.ask("GET", "/api/users", headers={"Referer": f"/?token={key}"})).status_code == 401
            assert (await served.ask("GET", "/api/users", key)).status_code == 200
            assert (await served.logged_in("anna", PASSWORD)).status_code == 401
        said = "\n".join(one.getMessage() for one in caplog.records if not one.name.startswith(("httpx", "httpcore")))
        assert secret_of(key) not in said
        assert PASSWORD not in said
        assert "GET /api/users 200" in said

    async def test_a_log_line_cannot_be_forged(self, served, caplog):
        """46"""
        with caplog.at_level(logging.INFO, "rota.api"):
            await served.ask("GET", "/x%0d%0aINFO forged%1b[31m%E2%80%AE" + "y" * 5_000)
        (line,) = (one.getMessage() for one in caplog.records if one.name == "rota.api")
        assert "\n" not in line
        assert line.isascii()
        assert line.isprintable()
        assert len(line) < 500


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
            for told, status in (
                ("203.0.113.9", 200),
                ("203.0.113.9, 198.51.100.1", 403),
                ("198.51.100.1, 203.0.113.9", 200),
                ("", 403),
            ):
                answer = await proxied.ask("GET", "/health", headers={"X-Forwarded-For": told})
                assert answer.status_code == status, told

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
        async with serving(house, body_s=0.5) as hasty:
            await hasty.everybody()

            async def drops():
                while True:
                    yield b" "
                    await asyncio.wait([asyncio.get_running_loop().create_future()], timeout=0.1)

            headers = {"Content-Type": "application/json"}
            answer = await hasty.ask("POST", "/api/users", "admin", content=drops(), headers=headers)
            assert answer.status_code == 408

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


class TestFloods:
    async def test_guessing_ends(self, house):
        """20"""
        async with serving(house, rates=Rates(login="10/minute")) as served:
            await served.user("anna", password=PASSWORD)
            statuses = [(await served.logged_in("anna", "wrong")).status_code for _ in range(15)]
            assert statuses[:10] == [401] * 10
            assert 429 in statuses[10:]
            last = await served.logged_in("anna", PASSWORD)
            assert (last.status_code, 0 < int(last.headers["retry-after"]) <= 60) == (429, True)

    async def test_guessing_of_one_user_from_everywhere_ends(self, house):
        async with serving(house, rates=Rates(login="", user="3/minute")) as served:
            await served.user("anna", password=PASSWORD)
            statuses = [
                (await served.logged_in(name, "wrong")).status_code for name in ("anna", "Anna", "ANNA", "anna", "bert")
            ]
            assert statuses == [401, 401, 401, 429, 401]

    @pytest.mark.parametrize(("kind", "first"), [("actor", 200), ("address", 200), ("failed", 401)])
    async def test_everybody_has_a_rate(self, house, kind, first):
        async with serving(house, rates=Rates(**{kind: "3/minute"})) as served:
            await served.everybody()
            key = "" if kind == "failed" else "admin"
            answers = [await served.ask("GET", "/api/users", key) for _ in range(4)]
            assert [one.status_code for one in answers] == [first] * 3 + [429]
            assert 0 < int(answers[-1].headers["retry-after"]) <= 60
            other = await served.ask("GET", "/api/tasks", "viewer")
            assert other.status_code == (429 if kind == "address" else 200)

    async def test_refusals_are_in_the_audit_once_and_under_a_flood_as_a_number(self, served):
        for number in range(40):
            await served.ask("GET", f"/api/users/u{number}", "viewer")
        async with asyncio.timeout(10):
            while not (entries := await served.entries("denied")):
                await served.ask("GET", "/health")
        assert len(entries) <= 11
        first = entries[-1]
        assert (first.actor, first.target, first.origin) == ("token:viewer", "GET /api/users/u0", "127.0.0.1")


class TestWhatIsKept:
    async def test_no_secret_is_in_the_store(self, served):
        """19, 60"""
        await served.user("anna", Grant("viewer"), password=PASSWORD)
        logged_in = (await served.logged_in()).json()
        await served.ask(
            "POST",
            "/api/auth/password",
            logged_in["access_token"],
            json={"current": PASSWORD, "new": f"new {PASSWORD}"},
        )
        secrets = [secret_of(text) for text in served.keys.values()] + [PASSWORD, logged_in["refresh_token"]]
        kept = [record for kind in (User, Token, Audit) for record in await served.house.all(kind)]
        assert len(kept) > 10
        assert [one for one in kept for secret in secrets if secret in repr(one)] == []
        assert [one for one in await served.house.all(Audit) if "argon2" in repr(one)] == []
        (anna,) = await served.house.all(User)
        assert anna.password.startswith("$argon2id$")
        assert all(len(one.digest) == 64 for one in await served.house.all(Token) if one.kind == "key")


class TestLongAnswers:
    async def test_one_ends_when_its_credential_does(self, house, monkeypatch):
        """17: a stream that was opened before is no way around a revoked key."""
        monkeypatch.setattr(guard, "RECHECK_S", -1.0)
        door = Door(house.engine, Identity(SECRET))
        going, sent = asyncio.Event(), []

        async def endless(scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": []})
            while True:
                await send({"type": "http.response.body", "body": b"data", "more_body": True})
                await going.wait()

        async def send(message):
            sent.append(message)

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        token, text = await door.mint(Token("", Kind.KEY, "k", grants=(Grant("viewer"),)), ROOT)
        headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {text}".encode())]
        scope = {"type": "http", "method": "GET", "path": "/api/system/events", "headers": headers}
        guarded = guard.Guard(endless, door.authenticate, guard.GuardOptions(rates=NO_RATES))
        task = asyncio.create_task(guarded(scope, receive, send))
        async with asyncio.timeout(10):
            while len(sent) < 2:
                await asyncio.wait([task], timeout=0)
            await people.revoke(house.engine, token.id, "cli:root")
            house.clock.advance(5_000)
            going.set()
            await task
        assert sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


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
