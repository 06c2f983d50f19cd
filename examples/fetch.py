"""A fetch that outlives a server's bad moments: what may pass is tried again, what will not is not.

Without a URL it fetches from a small server of its own, which answers every new path with 503 at first.
"""

import functools
import json
import threading
from collections import Counter
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp

from rota import Context, Fail, TryAgain

TIMEOUT = aiohttp.ClientTimeout(total=5)


@dataclass(frozen=True)
class Fetched:
    """A document, and the failed tries that it took."""

    url: str
    failed_tries: int
    document: dict[str, Any]


async def fetch_json(context: Context, url: str = "") -> Fetched:
    """Fetch a JSON document."""
    url = url or f"{shaky_server().url}/{context.run_id}"
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.get(url) as response:
        if response.status == 429:
            raise TryAgain(float(response.headers.get("Retry-After", 1)), f"{url} asks to wait")
        if 400 <= response.status < 500:
            raise Fail(f"{url} answers {response.status}: no use in asking again")
        # 5xx, a timeout or a broken connection raise ordinary errors: the task's retry policy decides.
        response.raise_for_status()
        document = await response.json()
    print(f"fetched {url} after {context.tries} failed tries")
    return Fetched(url, context.tries, document)


class ShakyServer(ThreadingHTTPServer):
    """Answers a path with 503 until it was asked `failures` times, then with a document; /missing with 404."""

    daemon_threads = True

    def __init__(self, failures: int = 2) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.failures = failures
        self.asked: Counter[str] = Counter()
        self._thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "ShakyServer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class Answer(BaseHTTPRequestHandler):
    """One request to a `ShakyServer`."""

    server: ShakyServer

    def do_GET(self) -> None:
        """Count and answer."""
        self.server.asked[self.path] += 1
        count = self.server.asked[self.path]
        if self.path == "/missing":
            self._answer(404, {"error": "no such document"})
        elif count <= self.server.failures:
            self._answer(503, {"error": "not now"})
        else:
            self._answer(200, {"path": self.path, "asked": count})

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name is the base class's
        """Say nothing."""

    def _answer(self, status: int, document: dict[str, Any]) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@functools.cache
def shaky_server() -> ShakyServer:
    """One server for this process, started when first needed."""
    return ShakyServer().__enter__()
