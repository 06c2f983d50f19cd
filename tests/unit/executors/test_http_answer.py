import gzip
import json
import zlib

import psutil
import pytest
from aiohttp import web

from rota.domain.payload import DEEPEST, check_payload
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End
from tests.unit.executors.website import raw, sent, value


async def test_text_is_text_whatever_its_charset_says(site):
    site.answer = lambda request: web.Response(body=b"caf\xe9", headers={"Content-Type": "text/plain; charset=latin-1"})
    assert value(await sent(site.url()))["body"] == "café"
    for charset in ("no-such", "zlib", "idna", "utf-7", "utf-8", "unicode_escape"):
        headers = {"Content-Type": f"text/plain; charset={charset}"}
        site.answer = lambda request, headers=headers: web.Response(body=b"caf\xe9 \\ud800 +2AA-\0", headers=headers)
        assert value(await sent(site.url()))["body"].startswith("caf")


@pytest.mark.parametrize("charset", ["punycode", "Punycode", " punycode"])
async def test_a_body_is_never_read_as_punycode_which_would_take_its_length_squared(site, charset):
    for kind in ("text/plain", "application/json"):
        headers = {"Content-Type": f'{kind}; charset="{charset}"'}
        site.answer = lambda request, headers=headers: web.Response(body=b"1caf-dma", headers=headers)
        assert value(await sent(site.url()))["body"] == "1caf-dma"


@pytest.mark.parametrize("body", [b"{", b'{"x":1,"x":2}', b"NaN", b"1e400", b"[" * 100_000, b"\xff", b'"\xff"', b""])
async def test_json_that_is_none_is_text(site, body):
    site.answer = lambda request: web.Response(body=body, content_type="application/json")
    assert isinstance(value(await sent(site.url()))["body"], str)


async def test_json_may_be_in_a_charset_of_its_own(site):
    for charset in ("latin-1", "utf-16", "no-such"):
        body = '{"name":"caf\xe9"}'.encode("utf-8" if charset == "no-such" else charset)
        headers = {"Content-Type": f"application/json; charset={charset}"}
        site.answer = lambda request, body=body, headers=headers: web.Response(body=body, headers=headers)
        assert value(await sent(site.url()))["body"] == {"name": "café"}
    site.answer = lambda request: web.Response(body=b'"' + b"\xe9" * 200_000 + b'"', headers=headers)
    headers = {"Content-Type": "application/json; charset=latin-1"}
    assert value(await sent(site.url()))["truncated"]


async def test_json_is_told_as_text_where_the_result_would_be_too_deep(site):
    for levels in (DEEPEST - 1, DEEPEST, 5_000):
        body = b"[" * levels + b"]" * levels
        site.answer = lambda request, body=body: web.Response(body=body, content_type="application/json")
        end = await sent(site.url())
        check_payload(end.result)
        assert isinstance(value(end)["body"], str if levels >= DEEPEST else list)


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
        ("Wed, 21 Oct 2015 07:28:30 +99999999999999999999", 0),
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
    bomb = gzip.compress(bytes(200 << 20), compresslevel=9)
    before = memory()
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
async def test_an_answer_that_is_none_is_tried_again_and_tells_no_secret(answer):
    async with raw(answer) as url:
        end = await sent(f"{url}?token=secret")
    assert (end.end, end.final) == (End.FAILURE, False)
    assert end.error.startswith("no answer: ")
    assert "secret" not in end.error


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
