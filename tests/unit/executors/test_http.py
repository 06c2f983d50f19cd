import asyncio

import pytest
from aiohttp import web

from rota.domain.run import End
from rota.executors.outgoing import Outgoing
from tests.services.listener import listening
from tests.unit.executors.support import PATIENCE, Attempt, assigned, outcome
from tests.unit.executors.website import ALLOWED, OTHER, PRIVATE, SERVER, sent, value


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
    executor = Outgoing("http", ALLOWED)
    for _ in range(3):
        await outcome(executor, assigned(site.url()))
    assert len({request.transport for request in site.requests}) == 1
    await executor.close()
    await executor.close()


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
    end = await sent(site.url(host=spelling), allow=())
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
    executor = Outgoing("http", ALLOWED, resolve)
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


async def test_cancelling_drops_the_connection():
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        arrived.set()
        await reader.read()
        gone.set()
        writer.close()

    executor = Outgoing("http", ALLOWED)
    async with asyncio.timeout(PATIENCE), listening(serve, SERVER) as port:
        attempt = Attempt(executor, assigned(f"http://{SERVER}:{port}/"))
        await arrived.wait()
        await attempt.cancel()
        await gone.wait()
    await executor.close()
