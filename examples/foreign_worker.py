"""A worker without Rota: it serves HTTP, takes what is posted to it, prints it, and calls back. Any language can do so.

ROTA_TOKEN=rota_key_… python foreign_worker.py http://127.0.0.1:8080 [PORT]

Its queue needs a strategy: rota queues dispatch default round_robin. See docs/workers.md.
"""

import base64
import hashlib
import hmac
import json
import os
import sys
import threading
import time
import urllib.parse
from contextlib import closing
from http.client import HTTPConnection, HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SCHEDULER, TOKEN = sys.argv[1], os.environ["ROTA_TOKEN"]
KEY = hashlib.sha256(TOKEN.split("_", 3)[3].encode()).hexdigest().encode()
BEAT_S = 5
seen: dict[str, int] = {}
known: set[tuple[str, int]] = set()
sessions: list[str] = [""]


def call(path: str, said: object) -> Any:
    """Ask the scheduler."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    url = urllib.parse.urlsplit(SCHEDULER)
    line = (HTTPSConnection if url.scheme == "https" else HTTPConnection)(url.netloc, timeout=10)
    with closing(line):
        line.request("POST", f"/api/worker/{path}", json.dumps(said), headers)
        answer = line.getresponse()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.read(500)!r}")
        return json.load(answer)


def signature(head: bytes, body: bytes) -> str:
    """What proves that it is from who knows the key."""
    return hmac.new(KEY, head + b"\n" + body, "sha256").hexdigest()


def refused(letter: dict[str, Any]) -> int:
    """The status if it is not for us, not for now, or was here before; else 0."""
    now = time.time_ns() // 1_000_000
    if letter["kind"] != "question" or letter["to"] != sessions[-1]:
        return 403
    if letter["until"] < now:
        return 408
    if letter["id"] in seen:
        return 409
    for one in [one for one, until in seen.items() if until < now]:
        del seen[one]
    seen[letter["id"]] = letter["until"]
    return 0


def work(run: dict[str, Any], payload: str) -> None:
    """Do a run, and tell how it went."""
    fence = {"run": run["id"], "attempt": run["attempt"], "token": run["token"]}
    started_at = time.time_ns() // 1_000_000
    call("report", {"v": 1, "progress": [fence | {"started_at": started_at}]})
    result = {"said": json.loads(base64.b64decode(payload)), "by": sessions[-1]}
    # In one piece: other threads print, too.
    print(f"{run['task']} {run['id']} attempt {run['attempt']}: {result}\n", end="", flush=True)
    end = {"end": "success", "started_at": started_at, "result": base64.b64encode(json.dumps(result).encode()).decode()}
    call("settle", {"v": 1, "settlements": [fence | end]})


class Handler(BaseHTTPRequestHandler):
    """POST /api/task/execute."""

    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_POST(self) -> None:
        """Take what is posted."""
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), 4 << 20))
        head = self.headers.get("Rota-Letter", "").encode()
        proved = hmac.compare_digest(signature(head, body), self.headers.get("Rota-Signature", ""))
        if self.path != "/api/task/execute" or not proved:
            return self.answer(401, b"{}", "")
        letter = json.loads(head)
        if status := refused(letter):
            return self.answer(status, b"{}", letter["id"])
        given = json.loads(body)["runs"]
        self.answer(202, json.dumps({"v": 1, "runs": [one["run"]["id"] for one in given]}).encode(), letter["id"])
        for one in given:
            name = one["run"]["id"], one["run"]["attempt"]
            if name not in known:
                known.add(name)
                threading.Thread(target=work, args=(one["run"], one["payload"])).start()

    def answer(self, status: int, body: bytes, question: str) -> None:
        """Answer; signed, once it is proved who asks."""
        self.send_response(status)
        if question:
            said = {"kind": "answer", "id": question, "status": status, "at": time.time_ns() // 1_000_000}
            self.send_header("Rota-Letter", json.dumps(said))
            self.send_header("Rota-Signature", signature(json.dumps(said).encode(), body))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    """Serve, and say every few seconds that it lives."""
    server = ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2]) if len(sys.argv) > 2 else 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    said = call("register", {"url": url, "slots": 4})
    sessions.append(said["session"])
    print(f"{url} is session {sessions[-1]}: {said['detail']}", flush=True)
    while True:
        time.sleep(BEAT_S)
        sessions[-1] = call("heartbeat", {"url": url, "slots": 4})["session"]


if __name__ == "__main__":
    main()
