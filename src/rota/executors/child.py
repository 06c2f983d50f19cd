"""The program of a child interpreter: `python -m rota.executors.child FD`, started by `pool` for one worker.

It imports the app, then performs one attempt after the other as told over the socket FD. When the worker vanishes in
the middle of an attempt, the child ends its whole process group: nothing may run that nobody holds.
"""

import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from io import TextIOWrapper
from operator import attrgetter
from queue import SimpleQueue
from threading import Lock, Thread

from rota.domain.flow import outcome_of
from rota.domain.run import End, Outcome
from rota.executors.calls import Call
from rota.executors.frames import (
    HEAD,
    Broken,
    Done,
    FromChild,
    Hello,
    Line,
    Progress,
    Ready,
    Stop,
    ToChild,
    Work,
    length,
    packed,
    to_child,
)
from rota.executors.outcomes import no_handler
from rota.executors.output import KEEP_LIMIT, LINE_COST, LINE_LIMIT
from rota.ports.executor import About, Handlers

PROGRESS_LIMIT = 500


class Channel:
    """The socket to the worker: one thread reads, any thread writes."""

    def __init__(self, stream: socket.socket) -> None:
        self._socket, self._lock = stream, Lock()
        self._file = stream.makefile("rb")

    def send(self, message: FromChild) -> None:
        """Say something. With the worker gone nobody hears it, and the reading thread draws the conclusion."""
        with self._lock, suppress(OSError):
            self._socket.sendall(packed(message))

    def receive(self) -> ToChild | None:
        """The next message, None when the worker is gone."""
        head = self._file.read(HEAD.size)
        return to_child.decode(self._file.read(length(head))) if len(head) == HEAD.size else None


class ChildContext(About):
    """The context of an attempt here; what it says travels to the worker."""

    def __init__(self, channel: Channel, work: Work) -> None:
        self._channel = channel
        self.assignment = work.assignment
        self.deadline_at = work.deadline_at
        self.cancelled = False
        self._room = KEEP_LIMIT

    def progress(self, text: object) -> None:
        self._channel.send(Progress(str(text)[:PROGRESS_LIMIT]))

    def line(self, stream: str, level: str, text: str) -> None:
        room, self._room = self._room, self._room - len(text) - LINE_COST
        if self._room > 0:
            self._channel.send(Line(stream, level, text[:LINE_LIMIT]))
        elif room > 0:
            self._channel.send(Line(stream, "warning", "… more lines of this attempt were dropped"))


class Records(logging.Handler):
    """Passes log records on as lines of the attempt that runs."""

    def __init__(self, child: "Child") -> None:
        super().__init__()
        self._child = child

    def emit(self, record: logging.LogRecord) -> None:
        if context := self._child.context:
            context.line("log", record.levelname.lower(), self.format(record))


class Child:
    """Performs attempts on the main thread while another one listens for requests to stop."""

    def __init__(self, channel: Channel, handlers: Handlers) -> None:
        self._channel, self._handlers = channel, handlers
        self._queue: SimpleQueue[Work | None] = SimpleQueue()
        self._stop: Callable[[], None] | None = None
        # Both are set by the listening thread in the order of the messages.
        self._working = self._stopped = False
        self.context: ChildContext | None = None

    def serve(self) -> None:
        """Until the worker is gone."""
        Thread(target=self._listen, daemon=True).start()
        while (work := self._queue.get()) is not None:
            outcome = self._perform(work)
            self.context = self._stop = None
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            self._working = False
            self._channel.send(Done(outcome))

    def _perform(self, work: Work) -> Outcome:
        assignment = work.assignment
        name = assignment.task.command or assignment.task.name
        handler = self._handlers.get(name)
        if handler is None:
            return no_handler(f"no handler {name!r} in the app as the child process imported it")
        context = self.context = ChildContext(self._channel, work)
        call = Call(handler, assignment.payload, context)

        def stop() -> None:
            context.cancelled = True
            call.stop()

        self._stop = stop
        return Outcome(End.CANCELLED) if self._stopped else call.run()

    def _listen(self) -> None:
        while (message := self._channel.receive()) is not None:
            if isinstance(message, Work):
                self._working, self._stopped = True, False
                self._queue.put(message)
            elif isinstance(message, Stop):
                self._stopped = True
                if stop := self._stop:
                    stop()
        if self._working:
            _end_group()
        self._queue.put(None)


def load(target: str) -> Handlers:
    """The handlers of the object that `module:attribute` names."""
    module, _, attribute = target.partition(":")
    found: Handlers = attrgetter(f"{attribute or 'app'}.handlers")(import_module(module))
    return found


def main(fd: int) -> None:
    """Greet, import the app, work until the worker is gone."""
    channel = Channel(socket.socket(fileno=fd))
    hello = channel.receive()
    if not isinstance(hello, Hello):
        return
    sys.path[:] = hello.path
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    try:
        child = Child(channel, load(hello.app))
    except BaseException as error:
        channel.send(Broken(outcome_of(error).error))
        return
    root = logging.getLogger()
    root.addHandler(Records(child))
    root.setLevel(hello.level)
    logging.getLogger("rota.task").setLevel(logging.INFO)
    channel.send(Ready())
    child.serve()


def _end_group() -> None:
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
