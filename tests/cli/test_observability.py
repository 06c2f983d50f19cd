"""What a real process tells of itself: log lines, metrics and traces, and never a secret."""

import json
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

JOBS = Path(__file__).with_name("tasks_jobs.py")
CANARY = "canary-7Qm2"
ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def collector():
    """An OTLP collector: its address, and the spans that came."""
    found: list[Any] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self):
            assert self.path == "/v1/traces"
            data = self.rfile.read(int(self.headers["Content-Length"]))
            for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
                found.extend(span for scope in resource.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", found
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def up(rota, start, tmp_path, collector):
    """`rota up`, with everything on, and a client with the first key."""
    (tmp_path / "jobs.py").write_text(JOBS.read_text())
    env = {"LOG_FORMAT": "json", "TRACING_ENABLED": "true", "OTLP_ENDPOINT": collector[0]}
    settings = {f"ROTA_OBSERVABILITY__{name}": value for name, value in env.items()}
    process = start("up", "--app", "jobs:app", "--data", "rota-data", **settings, CANARY=CANARY)
    (place,) = (line for line in process.until("stop: Ctrl-C") if line.startswith("api: "))
    key = rota.line("token", "--store", "sqlite:///rota-data/rota.db")
    with httpx.Client(base_url=place.removeprefix("api: "), headers={"Authorization": f"Bearer {key}"}) as client:
        yield process, client, key


def triggered(process, client, task, **headers):
    """A run of a task, once it has ended."""
    body = {"payload": {"name": CANARY}} if task == "greet" else {}
    run = client.post(f"/api/tasks/{task}/trigger", json=body, headers=headers).json()["id"]
    process.until(run)
    return run


def test_a_process_tells_all_but_secrets(up, collector):
    """18, 46, 60"""
    process, client, key = up
    run = triggered(process, client, "greet", **{"X-Request-ID": "my-request-1", "traceparent": ABOVE})
    triggered(process, client, "fails")
    wrong = {"Authorization": f"Bearer {CANARY}", "X-API-Key": CANARY, "Referer": f"/?token={key}", "X-Other": CANARY}
    assert client.get(f"/api/tasks?token={key}&search={CANARY}", headers=wrong).status_code == 401
    assert client.get(f"/api/{key}").status_code == 404
    assert client.get("/x%0d%0aforged%1b[31m").status_code == 404
    told = client.get("/metrics")
    process.tell(signal.SIGTERM)
    code, _, err = process.ended()
    assert (code, CANARY in err, key.split("_", 3)[3] in err) == (0, False, False)
    lines = [json.loads(line) for line in err.splitlines()]
    (asked,) = (line for line in lines if line.get("request") == "my-request-1")
    assert (asked["event"], asked["status"]) == ("POST /api/tasks/greet/trigger 201", 201)
    assert asked["actor"].startswith("token:")
    assert [line["event"] for line in lines if line["status"] == 401] == ["GET /api/tasks 401"]
    assert all(line["event"].isprintable() for line in lines)
    check_metrics(told)
    check_spans(collector[1], run)


def check_metrics(told):
    assert (told.status_code, told.headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    values = dict(line.rsplit(" ", 1) for line in told.text.splitlines() if not line.startswith("#"))
    assert values['task_failures_total{namespace="main",task="fails"}'] == "1.0"
    assert values['rota_runs_submitted_total{namespace="main",queue="default"}'] == "2.0"
    assert values['rota_runs_settled_total{state="success"}'] == "1.0"
    assert (values["rota_workers"], values["rota_leader"], values["rota_store_up"]) == ("1.0", "1.0", "1.0")
    assert CANARY not in told.text
    assert "_created" not in told.text


def check_spans(spans, run):
    submitted, attempt = (next(one for one in spans if one.name == f"{verb} greet") for verb in ("submit", "run"))
    assert submitted.trace_id.hex() == attempt.trace_id.hex() == ABOVE[3:35]
    assert submitted.parent_span_id.hex() == ABOVE[36:52]
    assert attempt.parent_span_id == submitted.span_id
    assert run in str(attempt.attributes)
    assert CANARY not in str(spans)


def test_a_worker_tells_its_metrics_where_it_is_told_to(start, tmp_path, unused_tcp_port):
    place = {"ROTA_OBSERVABILITY__METRICS_PORT": str(unused_tcp_port)}
    process = start("worker", "--data", "rota-data", **place)
    process.until("stop: Ctrl-C")
    url = f"http://127.0.0.1:{unused_tcp_port}"
    told = httpx.get(f"{url}/metrics")
    assert 'rota_sessions_total{event="opened"} 1.0' in told.text
    assert "\nrota_workers " not in told.text
    assert httpx.get(f"{url}/api/runs").status_code == 404
    taken = start("worker", "--data", "rota-data", **place)
    code, _, err = taken.ended()
    assert (code, "observability.metrics_port" in err) == (2, True)


def test_an_api_that_nobody_has_asked_yet_tells_the_numbers_of_the_store(start, tmp_path, unused_tcp_port):
    place = {"ROTA_OBSERVABILITY__METRICS_PORT": str(unused_tcp_port), "ROTA_API__PORT": "0"}
    start("api", "--data", "rota-data", **place).until("stop: Ctrl-C")
    assert "\nrota_store_up 1.0" in httpx.get(f"http://127.0.0.1:{unused_tcp_port}/metrics").text


def test_with_json_lines_all_of_standard_error_is_json(start, tmp_path, unused_tcp_port):
    """Warnings, troubles and the last word of a process too."""
    (tmp_path / "jobs.py").write_text("from rota import Rota\napp = Rota('sqlite:///elsewhere.db')\n")
    style = {"ROTA_OBSERVABILITY__LOG_FORMAT": "json"}
    process = start("up", "--app", "jobs:app", "--data", "d", **style, ROTA_API__PORT=str(unused_tcp_port))
    process.until("stop: Ctrl-C")
    late = start("up", "--data", "late", **style, ROTA_API__PORT=str(unused_tcp_port))
    (taken,) = (json.loads(line) for line in late.ended()[2].splitlines())
    assert (taken["level"], "api.port" in taken["event"]) == ("error", True)
    (tmp_path / "d" / "rota.db").unlink()
    process.tell(signal.SIGTERM)
    warning, *lines = (json.loads(line) for line in process.ended()[2].splitlines())
    assert (warning["level"], "sqlite:///elsewhere.db" in warning["event"]) == ("warning", True)
    assert any(line["level"] == "error" and "was deleted" in line["event"] for line in lines)
