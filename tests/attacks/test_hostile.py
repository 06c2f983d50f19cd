"""Hostile content in the right places: attacks 34 to 49, 54 and 56 of the list, over the whole API."""

import json
import time
from typing import Any
from urllib.parse import quote

import pytest

from rota.ports.store import Line
from tests.attacks.fuzzing import NEEDS, OPERATIONS
from tests.attacks.support import HOST, Platform
from tests.attacks.test_rights import SAMPLES
from tests.attacks.test_values import asker, body_schema, fields, operation, place_of

TAKING = [label for label in OPERATIONS if body_schema(label)]
WORKER_CALLS = [f"POST /api/worker/{call}" for call in ("enter", "leave", "claim", "beat", "held", "report", "settle")]


def task(executor: str, command: str, **params: Any) -> dict[str, Any]:
    return {"name": "evil", "executor": executor, "command": command, "params": params}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        *((task("http", f"{scheme}//127.0.0.1/x"), "command")
          for scheme in ("file:", "gopher:", "ftp:", "unix:", "data:", "javascript:", "ldap:", "")),
        (task("http", "data:text/html,<script>"), "command"),
        (task("http", "https://rota@evil.example/"), "command"),
        *((task(kind, command, env={name: "x"}), "params.env")
          for kind, command in (("shell", "true"), ("script", "a.py"))
          for name in ("LD_PRELOAD", "PYTHONPATH", "PATH", "BASH_ENV", "LD_LIBRARY_PATH", "PYTHONSTARTUP", "IFS",
                       "ROTA_TOKEN")),
        *((task("script", path), "command")
          for path in ("../../etc/passwd.py", "/etc/x.py", "a/../../b.py", "a\0.py")),
        (task("http", "https://example.org/", headers={"X": "a\r\nEvil: 1"}), "params.headers"),
        (task("http", "https://example.org/", headers={"Host": "evil"}), "params.headers"),
        (task("shell", "echo \0"), "command"),
    ],
)  # fmt: skip
def test_what_no_worker_may_be_asked_for_is_refused_where_it_is_defined(
    platform: Platform, body: dict[str, Any], field: str
) -> None:
    """34, 37, 38, 40, 49: by all three ways that a definition comes in, and nothing changes."""
    assert platform.say("developer", "POST", "/api/tasks", task("python", "x")).status == 201
    before = platform.kept()
    for method, path, sent in (
        ("POST", "/api/tasks", {**body, "name": "other"}), ("PATCH", "/api/tasks/evil", body),
        ("PUT", "/api/tasks/evil", body),
    ):  # fmt: skip
        told = platform.say("developer", method, path, sent)
        assert (told.status, [one.partition(".LD")[0].split("[")[0] for one in told.fields]) == (422, [field]), told
    assert platform.kept() == before


PLACES = [
    "..", ".", "%2e%2e%2f", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "a%2f..%2f..%2fb", "..%5c..%5cx",
    "%c0%ae%c0%ae%c0%af", "%252e%252e%252f", "a%00b", "~root", "report%2f..", "%e2%80%ae", "report;x", "%20",
]  # fmt: skip


@pytest.mark.parametrize("label", [label for label in NEEDS if "{" in label])
def test_no_name_in_a_path_leads_elsewhere(platform: Platform, label: str) -> None:
    """40: to read and to delete; nothing is found, nothing is removed."""
    before, (method, path) = platform.kept(), label.split(" ")
    for place in PLACES:
        where = "/".join(place if part.startswith("{") else part for part in path.split("/"))
        told = platform.say("admin", method, where, SAMPLES.get(label))
        assert told.status in (404, 405, 422), (label, place, told)
        assert b"root:" not in told.body
    assert platform.kept() == before


INJECTED = ["'", '"', "' OR '1'='1", "1=1", "x'; DROP TABLE runs;--", "%", "_", "%_" * 90, "\\", "\\'", "/*", "--", ";",
            "') UNION SELECT password FROM users--", "\x1b[31m", "*", "$where", "{{7*7}}"]  # fmt: skip
LISTINGS = ["GET /api/tasks", "GET /api/schedules", "GET /api/runs", "GET /api/workers", "GET /api/system/logs",
            "GET /api/audit", "GET /api/queues", "GET /api/runs/{run}/logs"]  # fmt: skip


@pytest.mark.parametrize("label", LISTINGS)
def test_filters_are_text_and_nothing_else(platform: Platform, label: str) -> None:
    """41: each parameter of each listing; what comes is refused or empty, at once, and nothing changes."""
    before, (method, place) = platform.kept(), place_of(platform, label)
    place = place.partition("?")[0]
    for one in operation(label)["parameters"]:
        if one["in"] == "query":
            for text in INJECTED:
                began = time.process_time()
                told = platform.say("admin", method, f"{place}?{one['name']}={quote(text, safe='')}")
                assert time.process_time() - began < 1
                everything = one["name"] == "namespace" and text in "*_"  # a name, and the word for all of them
                assert told.status == 422 or told.json["items"] == [] or everything, (one["name"], text, told)
    assert platform.kept() == before


def test_a_forged_cursor_opens_nothing(platform: Platform) -> None:
    """41: changed, cut, made up, or given for another listing."""
    page = platform.say("admin", "GET", "/api/runs?limit=1").json["next"]
    assert platform.say("admin", "GET", f"/api/runs?limit=1&cursor={page}").status == 200
    for forged in (page[:-1], page[:-4] + "AAAA", "A" * 40, "0", "-1", "1 OR 1=1", f"{page}{page}", page.swapcase()):
        assert platform.say("admin", "GET", f"/api/runs?limit=1&cursor={quote(forged)}").fields == ["cursor"]
    for path in ("tasks", "schedules", "audit", "workers?state=all", "system/logs", "runs?task=report"):
        joint = "&" if "?" in path else "?"
        assert platform.say("admin", "GET", f"/api/{path}{joint}cursor={page}").fields == ["cursor"]


TEMPLATES = [
    "{{7*7}}",
    "{{''.__class__}}",
    "${7*7}",
    "#{7*7}",
    "%(x)s",
    "{0.__class__}",
    "<%= 7*7 %>",
    "$(id)",
    "`id`",
    "%s%n",
]
SCRIPTS = [
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\"><svg onload=alert(1)>", "javascript:alert(1)",
    "</title><script>", "'-alert(1)-'", "<iframe srcdoc=x>", "&#60;script&#62;", "\u2028alert(1)", "<a href='data:x'>",
]  # fmt: skip


@pytest.mark.parametrize("text", [*TEMPLATES, *SCRIPTS])
def test_text_stays_the_text_that_it_is(platform: Platform, text: str) -> None:
    """42, 47, 48: shown as it was given, as JSON that no browser takes for anything else."""
    assert platform.say("admin", "POST", "/api/tasks", {"name": text}).status == 422
    body = {
        "name": "t",
        "description": text,
        "task_type": text,
        "command": text,
        "payload": {text: text},
        "schedule": "@daily",
    }
    made = platform.say("admin", "POST", "/api/tasks", body)
    assert [made.json[name] for name in ("description", "task_type", "command", "payload")] == [
        text,
        text,
        text,
        {text: text},
    ]
    run = platform.say("admin", "POST", "/api/tasks/t/trigger", {"payload": text}).json["id"]
    assert platform.say("admin", "POST", "/api/schedules/t/pause", {"why": text}).status == 200
    platform.run(platform.house.store.logs.append([Line(run, 1, 5, "stdout", "info", text)]))
    for path in ("tasks/t", "schedules/t", f"runs/{run}", f"runs/{run}/logs", "tasks", "audit", "system/logs"):
        told = platform.say("admin", "GET", f"/api/{path}")
        assert text in json.dumps(told.json, ensure_ascii=False) or json.dumps(text)[1:-1] in json.dumps(told.json), (
            path
        )
        plain(told.headers)
    stream = platform.say("admin", "GET", f"/api/runs/{run}/logs/stream")
    assert b"49" not in stream.body.replace(run.encode(), b"") or "49" in text
    assert stream.headers["content-type"] == ["text/event-stream; charset=utf-8"]


def plain(headers: dict[str, list[str]]) -> None:
    """An answer that a browser neither draws nor runs."""
    assert headers["content-type"] in (["application/json"], ["application/problem+json"])
    assert headers["x-content-type-options"] == ["nosniff"]
    assert headers["content-security-policy"] == ["default-src 'none'; frame-ancestors 'none'"]


def test_no_answer_is_a_page(platform: Platform) -> None:
    """47, 48: but for the one of the login link, which shows nothing that anybody gave."""
    for label in OPERATIONS:
        told = platform.say(asker(label), *place_of(platform, label), SAMPLES.get(label))
        kind = told.headers.get("content-type", ["none"])[0].partition(";")[0]
        assert kind in ("application/json", "application/problem+json", "text/event-stream", "text/plain", "none"), (
            label
        )
        assert told.headers["x-content-type-options"] == ["nosniff"]


def test_the_agent_and_the_host_of_a_request_are_shown_nowhere(platform: Platform) -> None:
    """47: what strangers send is in no answer."""
    for headers in ({"user-agent": SCRIPTS[0]}, {"referer": SCRIPTS[0]}, {"x-request-id": SCRIPTS[0]}):
        told = platform.ask("GET", f"{HOST}/api/{quote(SCRIPTS[0])}", b"", headers)
        assert b"script" not in told.body
        assert "script" not in repr(told.headers)


BOMBS = {
    "deep lists": b'{"payload": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "deep objects": b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "open lists": b"[" * 100_000,
    "a key twice": b'{"name": "a", "name": "b"}',
    "NaN": b'{"payload": NaN}',
    "infinity": b'{"payload": -Infinity}',
    "1e400": b'{"payload": 1e400}',
    "a long number": b'{"payload": ' + b"9" * 3_000_000 + b"}",
    "no text": b'{"payload": "\xff\xfe"}',
    "a surrogate": b'{"payload": "\\ud800"}',
    "NUL": b"\0" * 1_000,
    "a pickle": b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94.",
    "many keys": b"{" + b",".join(b'"k%d": 1' % number for number in range(20_000)) + b"}",
    "too much": b" " * (5 << 20),
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_body_that_is_a_bomb_does_not_go_off(platform: Platform, bomb: str) -> None:
    """43, 44: on every route that takes a body, those of workers too: refused within a second, and nothing changes."""
    before = platform.kept()
    for label in [*TAKING, *WORKER_CALLS]:
        began = time.process_time()
        told = platform.say(asker(label), *place_of(platform, label), BOMBS[bomb])
        assert time.process_time() - began < 1, label
        assert told.status in (400, 413, 422), (label, told)
        assert len(told.body) < 100_000, label
    assert platform.kept() == before


KINDS = [
    "application/x-python-serialize", "application/yaml", "text/plain", "application/xml", "", "multipart/form-data",
    "application/x-www-form-urlencoded", "application/jsonx", "text/json",
]  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_body_of_another_kind_is_not_read(platform: Platform, kind: str) -> None:
    """44, 50: only what says that it is JSON is taken for it."""
    before = platform.kept()
    for label in TAKING:
        sent = json.dumps(SAMPLES.get(label, {})).encode()
        method, place = place_of(platform, label)
        told = platform.ask(method, HOST + place, sent, {"content-type": kind}, asker(label))
        assert told.status == 415, (label, told)
    assert platform.kept() == before


def bombs(label: str) -> dict[str, bytes]:
    """Bodies of a route that are large, and wrong at many places."""
    many = ",".join(f'"a{number}": 1' for number in range(70_000))
    names = [path[0] for path, _ in fields(body_schema(label) or {}) if path] or ["a"]
    lists = {name: list(range(150_000 // len(names))) for name in names}
    return {
        "unknown members": f"{{{many}}}".encode(),
        "unknown members of a member": f'{{"{names[0]}": {{{many}}}, "where": {{"b": 1}}}}'.encode(),
        "a key twice, at last": f'{{{many}, "b": 1, "b": 1}}'.encode(),
        "long lists": json.dumps(lists).encode(),
        "over the limit": b'"' + b"x" * (1 << 20) + b'"',
    }


def test_a_large_body_that_is_wrong_everywhere_is_refused_at_once(platform: Platform) -> None:
    """43, 56: whoever sends one holds up nobody else."""
    before = platform.kept()
    for label in TAKING:
        method, path = place_of(platform, label)
        for name, body in bombs(label).items():
            began = time.process_time()
            told = platform.say(asker(label), method, path, body)
            assert (told.status in (400, 413, 422, 429), time.process_time() - began < 1) == (True, True), (label, name)
            assert len(told.body) < 100_000
    assert platform.kept() == before


CRONS = [
    "0 0 31 2 *", "0 0 30 2 *", "*/0 * * * *", "*/999999999 * * * *", "0 0 * * " + "1," * 50_000 + "1", "* " * 50_000,
    "1-999999999 * * * *", "@never", "every 0s", "every -5m", "every 0.0000001s", "every 99999999999999d", "?",
    "at 0000-01-01T00:00", "at 1000000-01-01T00:00", "60 24 32 13 8", "L L L L L", "\0 * * * *", "１ * * * *",
    "*/1e9 * * * *",
]  # fmt: skip


@pytest.mark.parametrize("text", CRONS)
def test_a_schedule_that_is_a_bomb_is_refused(platform: Platform, text: str) -> None:
    """54: wherever one can be given, in no time."""
    before = platform.kept()
    for method, path, body in (
        ("POST", "/api/tasks", {"name": "t", "schedule": text}), ("PATCH", "/api/tasks/report", {"schedule": text}),
        ("POST", "/api/schedules", {"task": "report", "name": "t", "schedule": text}),
        ("PUT", "/api/schedules/report", {"schedule": text}),
        ("POST", "/api/schedules/preview", {"schedule": text, "count": 1_000}),
    ):  # fmt: skip
        began = time.process_time()
        told = platform.say("developer", method, path, body)
        assert (told.status, time.process_time() - began < 0.25) == (422, True), told
    assert platform.kept() == before


def test_pages_have_a_size(platform: Platform) -> None:
    """56: no listing gives all at once, or skips ahead."""
    for label in LISTINGS:
        method, place = place_of(platform, label)
        place = place.partition("?")[0]
        for query in ("offset=1000000000000", "page=2", "skip=-1"):
            assert platform.say("admin", method, f"{place}?{query}").status == 422
        if any(one["name"] == "limit" for one in operation(label)["parameters"]):
            for limit in ("1000000000", "501", "0", "-1", "1e9", "", "NaN"):
                assert platform.say("admin", method, f"{place}?limit={limit}").fields == ["limit"]
    assert platform.say("admin", "POST", "/api/runs/bulk", {"runs": [{"task": "report"}] * 1_001}).status == 422
    assert platform.say("admin", "POST", "/api/tasks/trigger", {"ids": ["report"] * 1_001}).status == 422


@pytest.mark.parametrize("shape", [(b"[", b"]"), (b'{"a":', b"}")])
def test_what_is_nested_deeply_shuts_no_listing(platform: Platform, shape: tuple[bytes, bytes]) -> None:
    """43: neither where it comes in nor where it is told of later, as each level costs the reader some of its own."""
    for levels in (150, *range(210, 1_000, 30)):
        value = shape[0] * levels + b"1" + shape[1] * levels
        for method, path, body in (
            ("POST", "/api/tasks/report/trigger", b'{"payload": %s}'),
            ("PATCH", "/api/tasks/report", b'{"params": {"a": %s}}'),
            ("PATCH", "/api/schedules/report", b'{"trigger": {"kind": "cron", "expression": %s}}'),
        ):
            told = platform.say("developer", method, path, body % value)
            assert told.status == 400 if levels > 200 else told.status in (200, 201, 422), (levels, path)
        for listing in ("/api/tasks", "/api/runs", "/api/audit"):
            assert platform.say("admin", "GET", listing).status == 200, (levels, listing)
