"""What tasks print and log becomes lines of their run. Everything else goes where it went before."""

import logging
import os
import sys
from collections.abc import Iterable
from threading import Lock
from typing import Any, TextIO

from rota.worker.context import RunContext, current

TASKS = logging.getLogger("rota.task")
"""Above the loggers that tasks have of their context."""


class _Stream:
    """Stands in for stdout or stderr: text of a running task becomes its lines."""

    def __init__(self, name: str, behind: TextIO) -> None:
        self._name = name
        self._behind = behind
        self._lock = Lock()

    def write(self, text: str) -> int:
        context = current.get()
        if context is None:
            return self._behind.write(text)
        # A task may print from several threads of its own.
        with self._lock:
            *whole, rest = (context.unended.pop(self._name, "") + text).split("\n")
            if rest:
                context.unended[self._name] = rest[:65_536]
        for line in whole:
            context.line(self._name, "info", line)
        return len(text)

    def writelines(self, texts: Iterable[str]) -> None:
        for text in texts:
            self.write(text)

    def close(self) -> None:
        """A task cannot close what all of them write to."""
        if current.get() is None:
            self._behind.close()

    def finish(self, context: RunContext) -> None:
        """The task is over: what it left without a line end is its last line."""
        if rest := context.unended.pop(self._name, ""):
            context.line(self._name, "info", rest)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._behind, name)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        context = current.get()
        if context is None:
            self._pass_on(record)
            return
        try:
            context.line("log", record.levelname.lower(), self.format(record))
        except Exception:
            self.handleError(record)  # a bad format is told on stderr, as by any handler

    def _pass_on(self, record: logging.LogRecord) -> None:
        """Where no handler is set up, logging prints warnings by itself. Our being there must not end that."""
        last = logging.lastResort
        if last and record.levelno >= last.level and self._is_alone(logging.getLogger(record.name)):
            last.handle(record)

    def _is_alone(self, logger: logging.Logger | None) -> bool:
        while logger:
            if any(handler is not self for handler in logger.handlers):
                return False
            logger = logger.parent if logger.propagate else None
        return True


class Capture:
    """In force between `start` and `stop`; several workers of a process share one."""

    _users = 0
    _streams: tuple[_Stream, ...] = ()
    _handler = _Handler()
    _quiet = False
    """Whether the tasks' loggers had no level of their own."""

    @classmethod
    def start(cls) -> None:
        """Begin to listen."""
        cls._users += 1
        if cls._users > 1:
            return
        for name in ("stdout", "stderr"):
            # A closed one is None, to which everybody may print.
            stream = _Stream(name, getattr(sys, name) or open(os.devnull, "w"))  # noqa: SIM115 - it stays
            setattr(sys, name, stream)
            cls._streams += (stream,)
        cls._handler.setFormatter(logging.Formatter("%(message)s"))
        logging.getLogger().addHandler(cls._handler)
        # Tasks' own loggers say what they do at INFO; all loggers keep a level that the program gave them.
        cls._quiet = TASKS.level == logging.NOTSET
        if cls._quiet:
            TASKS.setLevel(logging.INFO)

    @classmethod
    def finish(cls, context: RunContext) -> None:
        """An attempt is over."""
        for stream in cls._streams:
            stream.finish(context)

    @classmethod
    def stop(cls) -> None:
        """Listen no more; streams are put back."""
        cls._users = max(cls._users - 1, 0)
        if cls._users or not cls._streams:
            return
        for name, stream in zip(("stdout", "stderr"), cls._streams, strict=True):
            if getattr(sys, name) is stream:
                setattr(sys, name, stream._behind)
        cls._streams = ()
        logging.getLogger().removeHandler(cls._handler)
        if cls._quiet:
            TASKS.setLevel(logging.NOTSET)

    @classmethod
    def forget(cls) -> None:
        """In the child of a fork: nobody takes its lines, and whoever held a lock here does not let it go."""
        cls._users = 0
        cls.stop()


os.register_at_fork(after_in_child=Capture.forget)
