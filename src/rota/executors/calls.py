"""Calling a handler: on the loop, or on a thread of its own (of this process or of a child)."""

import asyncio
import os
import sys
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import iscoroutinefunction
from typing import Any, cast

from rota.domain.errors import Invalid
from rota.domain.flow import outcome_of
from rota.domain.run import End, Outcome, Reason
from rota.executors.outcomes import refused
from rota.executors.threads import Threads
from rota.ports.executor import Context, Handler
from rota.ports.loops import at_once, on_loop

LEFT = (
    "the thread did not stop within {} ms and was left behind, its result will not count; "
    "look at context.cancelled in long loops, or set isolation to process"
)


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


def _status(error: BaseException | None) -> int:
    """With which a program exits that ends so."""
    code = error.code if isinstance(error, SystemExit) else error
    return code & 0xFF if isinstance(code, int) else int(code is not None)


async def called(handler: Handler, payload: bytes, context: Context, awaited: bool) -> Outcome:
    """The outcome of a call, `awaited` in the caller's own task if it is async."""
    at, process = Reason.BAD_PAYLOAD, os.getpid()
    try:
        args, kwargs = handler.decode(payload, context)
        at = Reason.ERROR
        try:
            result = handler.function(*args, **kwargs)
            if awaited:
                result = await result
        finally:
            # A copy that the code makes of its process by a fork ends with the code: the outcome is the original's to
            # tell.
            if os.getpid() != process:
                os._exit(_status(sys.exception()))
        at = Reason.BAD_RESULT
        return Outcome(End.SUCCESS, handler.encode(result))
    except asyncio.CancelledError as error:
        if on_loop() and ((task := asyncio.current_task()) is None or task.cancelling()):
            raise
        # Nobody cancelled the attempt: something that the code awaited was, and that is the code's error.
        return outcome_of(error)
    except (GeneratorExit, KeyboardInterrupt):
        raise  # its loop was closed around it, or the program is to end
    except BaseException as error:
        # Raised by the code itself, `Invalid` is an error as any other.
        if at is not Reason.ERROR and issubclass(type(error), Invalid):  # by its type: `__class__` may be anything
            return refused(cast(Invalid, error), at)
        return outcome_of(error)


class Call:
    """One call of a handler that blocks its thread; an async handler gets a loop there."""

    def __init__(self, handler: Handler, payload: bytes, context: Context) -> None:
        self._handler, self._payload, self._context = handler, payload, context
        self._cancel: Callable[[], object] | None = None
        self._stopped = False

    def run(self) -> Outcome:
        """The outcome; never raises, not even what would end the program."""
        try:
            if is_async(self._handler.function):
                return asyncio.run(self._on_loop())
            return at_once(called(self._handler, self._payload, self._context, awaited=False))
        except BaseException as error:
            return outcome_of(error)

    def stop(self) -> None:
        """From any thread: cancel an async handler. A synchronous one must look at `context.cancelled` by itself."""
        self._stopped = True
        if self._cancel:
            # The loop may have closed just now: then there is nothing left to cancel.
            with suppress(RuntimeError):
                self._cancel()

    async def _on_loop(self) -> Outcome:
        work = asyncio.ensure_future(called(self._handler, self._payload, self._context, awaited=True))
        self._cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, work.cancel)
        if self._stopped:
            work.cancel()
        return await work


class Calls:
    """What executors of handlers share: async ones are awaited on the loop, others called in threads."""

    def __init__(self, grace_ms: int) -> None:
        self._grace_ms = grace_ms
        self._threads = Threads[Outcome]()
        self._abandoned: list[Future[Outcome]] = []

    @property
    def abandoned(self) -> int:
        """Threads left behind after a cancel or timeout that still run."""
        self._abandoned = [ended for ended in self._abandoned if not ended.done()]
        return len(self._abandoned)

    async def close(self) -> None:
        self._threads.close()

    async def call(self, handler: Handler, payload: bytes, context: Context, thread: bool = False) -> Outcome:
        """Cancelled, it gives a thread the grace to notice, then leaves it behind; a second cancel ends the grace."""
        if not thread and is_async(handler.function):
            return await called(handler, payload, context, awaited=True)
        call = Call(handler, payload, context)
        ended = self._threads.start(partial(copy_context().run, call.run))
        try:
            return await asyncio.wrap_future(ended)
        except asyncio.CancelledError:
            call.stop()
            try:
                with suppress(TimeoutError):
                    await asyncio.wait_for(asyncio.wrap_future(ended), self._grace_ms / 1000)
            finally:
                if not ended.done():
                    self._abandoned.append(ended)
                    context.line("log", "warning", LEFT.format(self._grace_ms))
            raise
