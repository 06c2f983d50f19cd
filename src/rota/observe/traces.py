"""Traces: a submission, the attempts of its runs, and the requests that these make, as spans of one trace.

Whoever sets up an OpenTelemetry SDK in this process, `start` or the program around Rota, gets spans. Where nobody did,
nothing is imported and no span is made; who asks for a run may still say a trace, and the run keeps it for its worker.
"""

import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from typing import Any

from rota.domain.run import End, Outcome
from rota.ports.desk import Assignment
from rota.ports.executor import Context, Executor
from rota.ports.runtime import TRACE

PARENT = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
HOST = re.compile(r"(?:\w+://)?(?:[^/@?#]*@)?(\[[^\]]*\]|[^/:?#]*)")
REMOTE = frozenset({"http", "grpc"})
"""Kinds of executors that call another machine."""

_root: ContextVar[str] = ContextVar("rota_root", default="")
"""The run whose id names the next trace."""


def parent_of(text: str) -> str:
    """The traceparent that somebody sent, if it is one."""
    return text if PARENT.fullmatch(text) else ""


def current() -> str:
    """The traceparent of what is under way here, empty outside of any trace."""
    if api := sys.modules.get("opentelemetry.trace"):
        span = api.get_current_span().get_span_context()
        if span.is_valid:
            return f"00-{span.trace_id:032x}-{span.span_id:016x}-{span.trace_flags:02x}"
    return TRACE.get()


def active() -> bool:
    """Whether somebody set up an SDK, so that spans go anywhere."""
    api = sys.modules.get("opentelemetry.trace")
    return api is not None and not isinstance(api.get_tracer_provider(), api.ProxyTracerProvider)


@contextmanager
def span(name: str, kind: str, parent: str, about: Mapping[str, Any] | None = None, root: str = "") -> Iterator[Any]:
    """A span, current while the block lasts, in `TRACE` too. Without a parent it begins a trace, which `root` names."""
    from opentelemetry import trace
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    above = TraceContextTextMapPropagator().extract({"traceparent": parent})
    named = _root.set(root)
    made = trace.get_tracer("rota").start_span(name, above, trace.SpanKind[kind], about)
    _root.reset(named)
    with trace.use_span(made, end_on_exit=True, record_exception=False, set_status_on_exception=False):
        mark = TRACE.set(current())
        try:
            yield made
        except BaseException as error:
            # Its name only: what errors say may hold secrets, and stands in the run for those who may read that.
            failed(made, type(error).__name__)
            raise
        finally:
            TRACE.reset(mark)


def failed(made: Any, why: str) -> None:
    """Mark a span as failed."""
    from opentelemetry.trace import Status, StatusCode

    made.set_status(Status(StatusCode.ERROR, why))


@contextmanager
def submission(name: str) -> Iterator[str]:
    """What runs that are submitted in the block are to keep: its own span, or the trace that it is in."""
    with span(f"submit {name}", "PRODUCER", current()) if active() else nullcontext():
        yield current()


class Traced:
    """An executor whose attempts are spans. Those of one run lie side by side in its trace."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        """Its kind, what it left behind and its end are those of the executor."""
        return getattr(self._inner, name)

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        run = assignment.run
        about = {f"rota.{name}": getattr(run, name) for name in ("id", "namespace", "task", "queue", "attempt")}
        with span(f"run {run.task}", "CONSUMER", run.trace, about, root=run.id) as made:
            if self.kind not in REMOTE:
                return _told(made, await self._inner.run(assignment, context))
            found = HOST.match(assignment.task.command)
            with span(self.kind, "CLIENT", current(), {"server.address": found[1] if found else ""}) as call:
                return _told(made, _told(call, await self._inner.run(assignment, context)))


def traced(made: Mapping[str, Executor]) -> Mapping[str, Executor]:
    """Executors by kind, each wrapped."""
    return {kind: Traced(one) for kind, one in made.items()}


def start(endpoint: str) -> None:
    """Set up the SDK, unless somebody did: spans go to `endpoint` by OTLP over HTTP, in batches, in the background.

    The last ones are sent when the program ends.
    """
    if active():
        return
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    url = f"{endpoint.rstrip('/')}/v1/traces" if endpoint else None
    provider = TracerProvider(resource=Resource.create({"service.name": "rota"}), id_generator=_ids())
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(url)))
    trace.set_tracer_provider(provider)


def _ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """A trace that begins with a run has the run's id, so that its later attempts find it."""

        def generate_trace_id(self) -> int:
            return int(_root.get() or "0", 16) or super().generate_trace_id()

        def is_trace_id_random(self) -> bool:
            return False

    return Ids()


def _told(made: Any, outcome: Outcome) -> Outcome:
    if outcome.end is not End.SUCCESS:
        made.set_attribute("rota.end", str(outcome.end))
    if outcome.end is End.FAILURE:
        failed(made, outcome.reason)
    return outcome
