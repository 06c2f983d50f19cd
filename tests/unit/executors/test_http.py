import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import asynccontextmanager

import msgspec
import psutil
import pytest
from aiohttp import web

from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End
from rota.executors.http import HttpExecutor, HttpOptions
from tests.unit.executors.support import PATIENCE, Attempt, assigned, outcome

PRIVATE = "127.0.0.1"
SERVER = "127.0.0.2"
OTHER = "127.0.0.3"
"""The guard lets through what these tests call servers; 127.0.0.1 stands for what it must keep out."""
ALLOWED = HttpOptions(allow=(SERVER, OTHER))


class Site:
    """A server on all of these addresses: what came in, and what to answer."""

    def __init__(self) -> None:
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[web.BaseRequest], web.Response] = lambda request: web.json_response({"ok": True})
        self.port = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        return self.answer(request)

    def url(self, path: str = "/", host: str = SERVER) -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture
async def site():
    found = Site()
    runner = web.ServerRunner(web.Server(found), shutdown_timeout=1)
    await runner.setup()
    for host in (SERVER, OTHER, PRIVATE):
        place = web.TCPSite(runner, host, found.port)
        await place.start()
        found.port = found.port or runner.addresses[0][1]
    yield found
    await runner.cleanup()


@asynccontextmanager
async def raw(answer: bytes, endless: bytes = b""):
    """A server that says exactly this, then `endless` again and again."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        try:
            while endless:
                writer.write(endless)
                await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, SERVER, 0)
    yield f"http://{SERVER}:{server.sockets[0].getsockname()[1]}/"
    server.close()


async def sent(command, payload=None, options=ALLOWED, resolve=None, **params):
    executor = HttpExecutor(options, resolve)
    try:
        end, _ = await outcome(executor, assigned(command, payload, executor="http", params=params))
        return end
    finally:
        await executor.close()


def value(end):
    assert end.end is End.SUCCESS, end
    return msgspec.json.decode(end.result)


async def test_the_payload_is_posted_as_json(site):
    end = await sent(site.url("/hook?a=b"), {"x": 1})
    assert value(end) == {"status": 200, "body": {"ok": True}}
    (request,) = site.requests
    assert (request.method, request.path_qs, site.bodies) == ("POST", "/hook?a=b", [b'{"x":1}'])
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["Idempotency-Key"] == request.headers["X-Rota-Run"] == "run-1"
    assert request.headers["X-Rota-Attempt"] == "2"


async def test_no_credential_of_the_platform_is_ever_sent(site, monkeypatch):
    for name in ("ROTA_TOKEN", "HTTP_PROXY", "http_proxy", "NETRC"):
        monkeypatch.setenv(name, "http://secret@127.0.0.3:1")
    value(await sent(site.url()))
    assert {name.lower() for name in site.requests[0].headers} == {
        "host", "accept", "accept-encoding", "user-agent", "idempotency-key", "x-rota-run", "x-rota-attempt",
        "content-length",
    }  # fmt: skip


@pytest.mark.parametrize("method", ["GET", "put", "PATCH", "DELETE", "HEAD", "OPTIONS"])
async def test_method_and_headers_are_the_tasks(site, method):
    value(await sent(site.url(), {"x": 1}, method=method, headers={"Authorization": "Bearer t", "accept": "text/*"}))
    assert site.requests[0].method == method.upper()
    assert site.requests[0].headers["Authorization"] == "Bearer t"
    assert site.requests[0].headers.getall("Accept") == ["text/*"]
    assert site.bodies == [b"" if method in ("GET", "HEAD") else b'{"x":1}']


async def test_connections_are_used_again(site):
    executor = HttpExecutor(ALLOWED)
    for _ in range(3):
        await outcome(executor, assigned(site.url()))
    assert len({request.transport for request in site.requests}) == 1
    await executor.close()
    await executor.close()


async def test_text_is_text_whatever_its_charset_says(site):
    site.answer = lambda request: web.Response(body=b"caf\xe9", headers={"Content-Type": "text/plain; charset=latin-1"})
    assert value(await sent(site.url()))["body"] == "café"
    for charset in ("no-such", "zlib", "idna", "utf-7", "utf-8", "unicode_escape"):
        headers = {"Content-Type": f"text/plain; charset={charset}"}
        site.answer = lambda request, headers=headers: web.Response(body=b"caf\xe9 \\ud800 +2AA-\0", headers=headers)
        assert value(await sent(site.url()))["body"].startswith("caf")


@pytest.mark.parametrize("body", [b"{", b"NaN", b"1e400", b"[" * 100_000, b"\xff", b'"\xff"', b""])
async def test_json_that_is_none_is_text(site, body):
    site.answer = lambda request: web.Response(body=body, content_type="application/json")
    assert isinstance(value(await sent(site.url()))["body"], str)


@pytest.mark.parametrize("status", [400, 401, 404, 409, 422, 304, 300])
async def test_what_another_try_would_not_change_is_final(site, status):
    site.answer = lambda request: web.Response(status=status, text="" if status < 400 else "no such thing")
    end = await sent(site.url("/x?token=secret"))
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, (f"HTTP{status}",))
    assert f"HTTP {status} from POST {site.url('/x')}" in end.error
    assert "secret" not in end.error


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
async def test_what_may_be_better_later_is_tried_again(site, status):
    site.answer = lambda request: web.Response(status=status, headers={"Retry-After": "7"})
    end = await sent(site.url())
    assert (end.end, end.final, end.delay_ms) == (End.FAILURE, False, 7_000)


@pytest.mark.parametrize(
    ("value", "delay"),
    [
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30_000),
        ("Wed, 21 Oct 2015 07:27:00 GMT", 0),
        ("999999999999999999", 86_400_000),
        ("soon", 0),
        ("-5", 0),
        ("", 0),
    ],
)
async def test_retry_after_in_all_its_forms(site, value, delay):
    headers = {"Retry-After": value, "Date": "Wed, 21 Oct 2015 07:28:00 GMT"}
    site.answer = lambda request: web.Response(status=503, headers=headers)
    assert (await sent(site.url())).delay_ms == delay


async def test_the_task_says_what_success_is(site):
    site.answer = lambda request: web.Response(status=404)
    assert value(await sent(site.url(), success=[200, "404-410"]))["status"] == 404
    site.answer = lambda request: web.Response(status=200)
    assert (await sent(site.url(), success=201)).final
    site.answer = lambda request: web.Response(status=302, headers={"Location": "http://127.0.0.1/"})
    assert value(await sent(site.url(), success="302"))["status"] == 302


@pytest.mark.parametrize(
    "params",
    [
        {"method": "TRACE"}, {"method": "GET\r\nX: y"}, {"success": "2xx"}, {"success": [True]}, {"success": 99},
        {"headers": ["A"]}, {"headers": {"A": 1}}, {"headers": {"A": "x\r\nB: y"}}, {"headers": {"A\n": "x"}},
        {"headers": {"": "x"}}, {"headers": {"Host": "x"}}, {"headers": {"content-length": "0"}},
        {"headers": {"Transfer-Encoding": "chunked"}}, {"headers": {"X-Rota-Run": "x"}}, {"headers": {"A": "x\0"}},
        {"headers": {"Idempotency-Key": "x"}}, {"headers": {"Proxy-Authorization": "x"}},
    ],
)  # fmt: skip
async def test_bad_params_are_refused(site, params):
    end = await sent(site.url(), **params)
    assert (end.end, end.final, end.errors) == (End.FAILURE, True, ("Invalid",))
    assert site.requests == []


@pytest.mark.parametrize(
    "url",
    ["file:///etc/passwd", "gopher://x/", "ftp://x/", "unix:/run/x.sock", "data:text/plain,x", "javascript:x", "//x/",
     "/x", "", "http://", "http:///x", "x", "http://user@127.0.0.2/", "http://:pw@127.0.0.2/", "http://127.0.0.2:99999/",
     "http://[::1/", "http://127.0.0.2\\@x/", "http://a b/"],
)  # fmt: skip
async def test_what_is_no_plain_url_is_refused(url):
    end = await sent(url)
    assert (end.end, end.final) == (End.FAILURE, True)


SPELLINGS = [
    "127.0.0.1", "127.1", "127.0.1", "2130706433", "017700000001", "0177.0.0.1", "0x7f000001", "0x7f.0.0.1", "0x7f.1",
    "0", "0.0.0.0", "127.0.0.1.", "localhost", "LOCALHOST", "localhost.", "１２７.0.0.1", "①②⑦.0.0.1", "127。0。0。1",
    "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[0:0:0:0:0:ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]", "[fe80::1%25lo]", "%31%32%37.0.0.1", "127.0.0.1%00.example.com", "169.254.169.254",
    "[::ffff:a9fe:a9fe]", "example.com@127.0.0.1", "127.0.0.2@127.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("spelling", SPELLINGS)
async def test_no_spelling_of_an_internal_address_is_reached(site, spelling):
    end = await sent(site.url(host=spelling), options=HttpOptions())
    assert end.end is End.FAILURE
    assert site.requests == []


async def test_refusal_is_final_and_names_the_address(site):
    end = await sent(site.url(host=PRIVATE))
    assert (end.final, end.errors) == (True, ("Forbidden",))
    assert "127.0.0.1 is not a public address" in end.error


async def test_a_name_that_changes_its_address_is_checked_at_each_connection(site):
    answers = [[SERVER], [PRIVATE]]

    async def resolve(host, port):
        return answers.pop(0)

    site.answer = lambda request: web.Response(headers={"Connection": "close"})
    executor = HttpExecutor(ALLOWED, resolve)
    url = site.url(host="changing.example")
    first, _ = await outcome(executor, assigned(url))
    second, _ = await outcome(executor, assigned(url))
    assert (first.end, second.errors) == (End.SUCCESS, ("Forbidden",))
    assert len(site.requests) == 1
    await executor.close()


async def test_one_private_answer_among_allowed_ones_is_enough(site):
    async def resolve(host, port):
        return [SERVER, PRIVATE]

    end = await sent(site.url(host="two.example"), resolve=resolve)
    assert end.errors == ("Forbidden",)
    assert site.requests == []


def to(location, status=302):
    """The first request is sent on, later ones are answered."""
    return lambda request: (
        web.Response(status=status, headers={"Location": location}) if request.path == "/" else web.Response(text="end")
    )


@pytest.mark.parametrize(
    "target", ["http://127.0.0.1:{port}/x", "http://localhost:{port}/x", "//127.1:{port}/x", "http://[::1]:{port}/x"]
)
async def test_a_redirect_to_the_inside_is_refused(site, target):
    site.answer = to(target.format(port=site.port))
    end = await sent(site.url())
    assert (end.end, end.final) == (End.FAILURE, True)
    assert [request.path for request in site.requests] == ["/"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "gopher://127.0.0.2/", "http://user:pw@127.0.0.2/"])
async def test_a_redirect_to_what_is_no_plain_url_is_refused(site, target):
    site.answer = to(target)
    assert (await sent(site.url())).final


async def test_credentials_do_not_follow_to_another_host(site):
    headers = {"Authorization": "Bearer t", "X-Api-Key": "k", "Cookie": "c=1", "Accept": "text/plain"}
    site.answer = to(site.url("/x", OTHER), 307)
    value(await sent(site.url(), {"x": 1}, headers=headers))
    first, second = (request.headers for request in site.requests)
    assert set(headers) <= set(first)
    assert {"Authorization", "X-Api-Key", "Cookie"}.isdisjoint(second)
    assert (second["Accept"], second["Idempotency-Key"], site.bodies[1]) == ("text/plain", "run-1", b'{"x":1}')


async def test_credentials_follow_on_the_same_host(site):
    site.answer = to("/x")
    value(await sent(site.url(), {"x": 1}, headers={"Authorization": "Bearer t"}))
    assert site.requests[1].headers["Authorization"] == "Bearer t"
    assert (site.requests[1].method, site.bodies[1]) == ("GET", b"")


async def test_redirects_end(site):
    site.answer = lambda request: web.Response(status=302, headers={"Location": f"{request.path}x"})
    end = await sent(site.url())
    assert (end.end, end.final) == (End.FAILURE, True)
    assert "more than 5 redirects" in end.error
    assert len(site.requests) == 6


def memory() -> int:
    return int(psutil.Process().memory_info().rss)


async def test_an_endless_body_is_cut():
    before = memory()
    async with raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"x" * 65_536) as url:
        found = value(await sent(url))
    assert found["truncated"] is True
    assert len(found["body"]) < VALUE_LIMIT
    assert memory() - before < 20 << 20


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
async def test_a_compressed_answer_is_unpacked(site, pack):
    name = "gzip" if pack is gzip.compress else "deflate"
    headers = {"Content-Encoding": name, "Content-Type": "application/json"}
    site.answer = lambda request: web.Response(body=pack(json.dumps({"x": 1}).encode()), headers=headers)
    assert value(await sent(site.url()))["body"] == {"x": 1}


async def test_a_bomb_does_not_go_off(site):
    before = memory()
    bomb = gzip.compress(bytes(200 << 20), compresslevel=9)
    headers = {"Content-Encoding": "gzip"}
    site.answer = lambda request: web.Response(body=bomb, headers=headers)
    found = value(await sent(site.url()))
    assert found["truncated"] is True
    assert memory() - before < 20 << 20


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(b"x" * 1_000)[:-30]])
async def test_broken_compression_does_no_harm(site, body):
    site.answer = lambda request: web.Response(body=body, headers={"Content-Encoding": "gzip"})
    assert value(await sent(site.url()))["status"] == 200


async def test_a_result_stays_within_its_limit_even_if_every_character_is_escaped(site):
    site.answer = lambda request: web.Response(body=b"\x01" * 200_000)
    end = await sent(site.url())
    assert value(end)["truncated"] is True
    assert len(end.result) <= VALUE_LIMIT


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * (1 << 20) + b"\r\n\r\n",
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"",
    ],
)
async def test_an_answer_that_is_none_is_tried_again(answer):
    async with raw(answer) as url:
        end = await sent(url)
    assert (end.end, end.final) == (End.FAILURE, False)


async def test_nobody_there_is_tried_again():
    async with raw(b"") as url:
        pass
    end = await sent(url)
    assert (end.end, end.final) == (End.FAILURE, False)
    assert end.errors == ("ClientConnectorError",)


async def test_an_unknown_name_is_tried_again():
    async def resolve(host, port):
        raise OSError("no such name")

    end = await sent("http://unknown.example/", resolve=resolve)
    assert (end.end, end.final) == (End.FAILURE, False)


async def test_cancelling_drops_the_connection():
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        gone.set()
        writer.close()

    server = await asyncio.start_server(serve, SERVER, 0)
    executor = HttpExecutor(ALLOWED)
    attempt = Attempt(executor, assigned(f"http://{SERVER}:{server.sockets[0].getsockname()[1]}/"))
    async with asyncio.timeout(PATIENCE):
        await arrived.wait()
        await attempt.cancel()
        await gone.wait()
    server.close()
    await executor.close()
