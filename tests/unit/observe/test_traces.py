import importlib
import subprocess
import sys

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from rota.executors.outgoing import Outgoing
from rota.observe import traces
from rota.ports.runtime import TRACE
from tests.unit.executors.support import assigned, outcome
from tests.unit.executors.website import ALLOWED, serving

ABOVE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
UNSAMPLED = f"{ABOVE[:-2]}00"
TRACE_ID = int(ABOVE[3:35], 16)


@pytest.fixture
def spans(monkeypatch):
    """An SDK as `start` sets it up, but for where spans go."""
    found = InMemorySpanExporter()
    provider = TracerProvider(id_generator=traces._ids(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(found))
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    return found


@pytest.fixture
async def app():
    module = importlib.reload(importlib.import_module("tests.unit.observe.tasks_traced"))
    async with module.app.running(slots=4):
        yield module


def named(spans, name):
    return [one for one in spans.get_finished_spans() if one.name == name]


def text_of(span):
    return f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


@pytest.mark.parametrize("task", ["whole", "threaded", "isolated"])
async def test_a_submission_its_attempt_and_its_function_share_a_trace(spans, app, task):
    with trace.get_tracer("theirs").start_as_current_span("theirs") as theirs:
        handle = await getattr(app, task).asubmit()
    seen = await handle.aresult(30)
    (submitted,), (attempt,) = named(spans, f"submit {task}"), named(spans, f"run {task}")
    assert submitted.parent.span_id == theirs.get_span_context().span_id
    assert attempt.parent.span_id == submitted.context.span_id
    assert (submitted.kind, attempt.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert seen == text_of(attempt)
    assert attempt.attributes["rota.id"] == handle.id
    assert (await app.app.client.run(handle.id)).trace == text_of(submitted)


async def test_what_a_task_submits_goes_on_in_its_trace(spans, app):
    inner = await (await app.more.asubmit()).aresult(30)
    await app.app.client.ended(inner, 30)
    (outer,), (submitted,) = named(spans, "run more"), named(spans, "submit whole")
    assert submitted.parent.span_id == outer.context.span_id


async def test_many_submissions_share_a_span(spans, app):
    await app.whole.asubmit_many([()])
    await app.whole.asubmit_many([(), ()])
    assert len(named(spans, "submit whole")) == len(named(spans, "submit 2 runs")) == 1


async def test_tries_lie_side_by_side(spans, app):
    handle = await app.again.asubmit()
    await app.app.client.ended(handle.id, 30)
    (submitted,), tries = named(spans, "submit again"), named(spans, "run again")
    assert [one.parent.span_id for one in tries] == [submitted.context.span_id] * 2
    assert [one.attributes["rota.attempt"] for one in tries] == [1, 2]
    assert {one.status.status_code for one in tries} == {StatusCode.ERROR}
    assert "canary" not in "".join(one.to_json() for one in tries)


async def test_without_sdk_a_run_keeps_the_trace_and_makes_no_span(app):
    mark = TRACE.set(ABOVE)
    handle = await app.whole.asubmit()
    TRACE.reset(mark)
    assert await handle.aresult(30) == ""
    assert (await app.app.client.run(handle.id)).trace == ABOVE


def request(url, above, run="5" * 32):
    found = assigned(url, {"a": 1}, executor="http")
    return found._replace(run=found.run._replace(id=run, trace=above))


async def test_a_request_carries_the_trace_on(spans):
    async with serving() as site:
        executor = traces.traced({"http": Outgoing("http", ALLOWED)})["http"]
        end, _ = await outcome(executor, request(site.url("/path?key=canary"), ABOVE))
        await executor.close()
    (attempt,), (call,) = named(spans, "run t"), named(spans, "http")
    assert end.result
    assert (call.kind, call.parent.span_id) == (SpanKind.CLIENT, attempt.context.span_id)
    assert call.attributes["server.address"] == "127.0.0.2"
    assert "canary" not in call.to_json() + attempt.to_json()
    assert site.requests[0].headers["traceparent"] == text_of(call)
    assert call.context.trace_id == TRACE_ID


async def test_who_is_not_sampled_above_is_not_sampled_here(spans):
    async with serving() as site:
        executor = traces.Traced(Outgoing("http", ALLOWED))
        await outcome(executor, request(site.url(), UNSAMPLED))
        await executor.close()
    assert spans.get_finished_spans() == ()
    said = site.requests[0].headers["traceparent"]
    assert (said[3:35], said[-2:]) == (UNSAMPLED[3:35], "00")


async def test_a_run_that_nobody_asked_for_in_a_trace_gives_its_own_id_to_one(spans):
    async with serving() as site:
        executor = traces.Traced(Outgoing("http", ALLOWED))
        for _ in range(2):
            await outcome(executor, request(site.url(), ""))
        await executor.close()
    assert {one.context.trace_id for one in named(spans, "run t")} == {int("5" * 32, 16)}
    assert all(one.parent is None for one in named(spans, "run t"))


async def test_without_sdk_a_request_says_no_trace():
    async with serving() as site:
        executor = Outgoing("http", ALLOWED)
        await outcome(executor, request(site.url(), ABOVE))
        await executor.close()
    assert "traceparent" not in site.requests[0].headers


@pytest.mark.parametrize(
    "text", ["", "x", ABOVE.upper(), f"{ABOVE}-more", ABOVE.replace("0af", "\n0af"), f"00-{'0' * 32}-{'1' * 16}-01"]
)
def test_what_is_no_traceparent_is_not_followed(text):
    assert traces.parent_of(text) == ""
    assert traces.parent_of(ABOVE) == ABOVE


def test_nothing_of_the_sdk_is_loaded_where_nobody_wants_it():
    code = (
        "import asyncio, sys\n"
        "from rota import Rota\n"
        "async def main():\n"
        "    app = Rota('sqlite://')\n"
        "    @app.task\n"
        "    async def hello(): pass\n"
        "    async with app.running():\n"
        "        await (await hello.asubmit()).aresult(20)\n"
        "asyncio.run(main())\n"
        "print([name for name in sys.modules if name.startswith(('opentelemetry', 'structlog', 'prometheus'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
