"""Commands whose server, or what lies before it, goes away in the middle."""

import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest

RUN = {"id": "0" * 32, "created": True, "warning": ""}
TASK = {"name": "test-task", "command": "echo", "queue": "default", "warning": ""}
UNCLEAR = "it may or may not have happened: look, before you repeat it\n"


class Far(ThreadingHTTPServer):
    """A server that gives these answers, a status each, and then hangs up on whoever asks."""

    answers: list[tuple[int, Any]]

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)


class Answering(BaseHTTPRequestHandler):
    server: Far

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.close_connection = True
        if self.server.answers:
            status, body = self.server.answers.pop(0)
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if status < 300 else "text/html")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

    do_POST = do_GET  # noqa: N815  # the library's word

    def log_message(self, *_: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def far(rota, monkeypatch) -> Iterator[Far]:
    with Far() as server:
        monkeypatch.setenv("ROTA_SERVER", f"http://127.0.0.1:{server.server_address[1]}")
        monkeypatch.setenv("ROTA_TOKEN", "x")
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("answers", [[], [(504, "<html>")]])
def test_what_was_sent_and_not_answered_may_have_happened(rota, far, answers):
    far.answers = list(answers)
    made = rota("tasks", "trigger", "a")
    assert (made.code, made.err.endswith(UNCLEAR)) == (1, True), made
    far.answers = list(answers)
    looked = rota("tasks", "show", "a")
    assert (looked.code, "may or may not" in looked.err) == (1, False), looked


def test_who_waits_for_a_run_is_told_which_when_the_server_goes(rota, far):
    far.answers = [(201, RUN)]
    ended = rota("tasks", "trigger", "a", "--wait")
    assert (ended.code, ended.out) == (1, "")
    assert f"run {RUN['id']} goes on: " in ended.err


def test_what_the_client_has_submitted_is_told_when_the_server_goes(rota, far):
    far.answers = [(200, TASK), (201, {"items": [RUN] * 1_000})]
    ended = rota("client", "--count", "2000")
    assert (ended.code, ended.out) == (1, "")
    assert ended.err.startswith("submitted before: 1000 runs; see `rota runs list -n main --task test-task`\nerror: ")
    assert ended.err.endswith(UNCLEAR)
