"""The program of a child interpreter: `python -m rota.executors.child APP LEVEL GRACE_MS PATH…`, started by `pool`.

It imports the app, then performs one attempt after the other as told over its standard input, a socket. When nothing
more comes from there, its worker wants it to stop or has vanished: the attempt may use the grace, then the child ends
its whole process group, as nothing may run that nobody holds.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from importlib import import_module
from io import TextIOWrapper
from operator import attrgetter
from queue import SimpleQueue
from threading import Event, Lock, Thread

from rota.domain.flow import storable
from rota.domain.run import Outcome
from rota.executors.calls import Call
from rota.executors.outcomes import having, no_handler
from rota.executors.pool import WORK, Said, Work, packed
from rota.executors.programs import KEEP_LIMIT, LINE_COST, LINE_LIMIT
from rota.executors.surroundings import is_changed, surroundings
from rota.ports.executor import IMPORTING, About, Handlers
from rota.ports.runtime import TRACE

CUT = b"it closed a descriptor that was not its own: the one over which a child process tells its outcome\n"


class ChildContext(About):
    """The context of an attempt here; what it says travels to the worker."""

    def __init__(self, work: Work, send: Callable[[Said], None]) -> None:
        self.assignment, self.deadline_at = work.assignment, work.deadline_at
        self.cancelled = self.ended = False
        self._send, self._room = send, KEEP_LIMIT

    def progress(self, text: object) -> None:
        self._say(Said(progress=storable(str(text)[:500])))

    def line(self, stream: str, level: str, text: str) -> None:
        room, self._room = self._room, self._room - len(text) - LINE_COST
        if self._room > 0:
            stream, level, text = (storable(one[:LINE_LIMIT]) for one in (stream, level, text))
            self._say(Said(line=(stream, level, text)))
        elif room > 0:
            self._say(Said(line=(stream, "warning", "… more lines of this attempt were dropped")))

    def _say(self, said: Said) -> None:
        if not self.ended:  # a thread that it left behind would be heard as the next attempt
            self._send(said)


class Child:
    """Performs attempts on the main thread while another one listens to the worker."""

    def __init__(self, worker: socket.socket, grace_ms: int) -> None:
        self._worker, self._sending, self._grace_ms = worker, Lock(), grace_ms
        self._line = os.fstat(worker.fileno())
        self._works: SimpleQueue[Work] = SimpleQueue()
        self._call: Call | None = None
        self._ended = Event()
        self.context: ChildContext | None = None
        """Of the attempt that runs."""
        Thread(target=self._listen, daemon=True).start()
        os.register_at_fork(after_in_child=self._mute)

    def serve(self, handlers: Handlers) -> None:
        """Until the end."""
        unchanged = surroundings()
        while True:
            outcome = self._perform(self._works.get(), handlers)
            self.context = self._call = None
            self._ended.set()
            if not self._is_connected():
                with suppress(OSError):
                    os.write(2, CUT)
                os._exit(1)
            self._send(Said(outcome=outcome, spent=is_changed(unchanged)))

    def _perform(self, work: Work, handlers: Handlers) -> Outcome:
        assignment = work.assignment
        name = assignment.task.command or assignment.task.name
        handler = handlers.get(name)
        if handler is None:
            where = f"in the app as the child process imported it{having(handlers)}"
            return no_handler(f"no handler {name!r} {where}")
        self.context = ChildContext(work, self._send)
        self._call = Call(handler, assignment.payload, self.context)
        try:
            return copy_context().run(self._within, work.trace, self._call)
        finally:
            self.context.ended = True

    def _within(self, trace: str, call: Call) -> Outcome:
        """Call in the trace of the attempt, where there is one."""
        if trace:
            from opentelemetry import context
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

            TRACE.set(trace)
            context.attach(TraceContextTextMapPropagator().extract({"traceparent": trace}))
        return call.run()

    def _send(self, said: Said) -> None:
        # With the worker gone nobody hears it, and the listening thread draws the conclusion.
        with self._sending, suppress(OSError):
            if self._is_connected():
                self._worker.sendall(packed(said))

    def _is_connected(self) -> bool:
        """Whether its descriptor is still the one to the worker: the code may close any, and get its number anew."""
        with suppress(OSError):
            return os.path.samestat(os.fstat(self._worker.fileno()), self._line)
        return False

    def _mute(self) -> None:
        """A copy that an attempt makes of its process has nothing to say, and must not hold the worker's end open."""
        self._sending = Lock()
        with suppress(OSError):  # a copy of a copy has it no more
            os.close(self._worker.detach())

    def _listen(self) -> None:
        for line in self._worker.makefile("rb"):
            self._ended.clear()
            self._works.put(WORK.decode(line))
        context, call = self.context, self._call
        if context and call:
            context.cancelled = True
            call.stop()
            self._ended.wait(self._grace_ms / 1000)
        os.killpg(os.getpid(), signal.SIGKILL)


class Records(logging.Handler):
    """Passes log records on as lines of the attempt that runs."""

    def __init__(self, child: Child) -> None:
        super().__init__()
        self._child = child

    def emit(self, record: logging.LogRecord) -> None:
        if context := self._child.context:
            try:
                context.line("log", record.levelname.lower(), self.format(record))
            except Exception:
                self.handleError(record)  # a bad format is told on stderr, as by any handler


def main(app: str, level: str, grace_ms: str, *path: str) -> None:
    """Import the app, work until the worker is gone."""
    child = Child(socket.socket(fileno=os.dup(0)), int(grace_ms))
    # The socket is ours; the app's code, and what it starts, find nothing on standard input.
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    sys.path[:] = path
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    module, _, attribute = app.partition(":")
    importing = IMPORTING.set(True)
    try:
        handlers: Handlers = attrgetter(f"{attribute or 'app'}.handlers")(import_module(module))
    except BaseException as error:
        raise ImportError(f"the child process cannot import the app {app}") from error
    IMPORTING.reset(importing)
    root = logging.getLogger()
    root.addHandler(Records(child))
    root.setLevel(int(level))
    logging.getLogger("rota.task").setLevel(logging.INFO)
    child.serve(handlers)


if __name__ == "__main__":
    main(*sys.argv[1:])
