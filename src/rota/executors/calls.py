"""Calling a handler: on the loop, or on a thread of its own (of this process or of a child)."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from functools import partial
from inspect import iscoroutinefunction
from typing import Any

from rota.domain.flow import outcome_of
from rota.domain.run import Outcome, Reason
from rota.executors.outcomes import refused, success
from rota.executors.threads import Threads
from rota.ports.executor import Context, Handler


def is_async(function: Callable[..., Any]) -> bool:
    """Whether calling it gives a coroutine."""
    return iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__)


async def on_loop(handler: Handler, payload: bytes, context: Context) -> Outcome:
    """Await an async handler in the caller's own task."""
    try:
        args, kwargs = handler.decode(payload, context)
    except Exception as error:
        return refused(Reason.BAD_PAYLOAD, error)
    try:
        result = await handler.function(*args, **kwargs)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
        # Nobody cancelled the attempt: something that the code awaited was, and that is the code's error.
        return outcome_of(error)
    except (Exception, SystemExit) as error:
        return outcome_of(error)
    return success(handler, result)


def in_place(handler: Handler, payload: bytes, context: Context) -> Outcome:
    """Call a synchronous handler and wait."""
    try:
        args, kwargs = handler.decode(payload, context)
    except Exception as error:
        return refused(Reason.BAD_PAYLOAD, error)
    try:
        result = handler.function(*args, **kwargs)
    except BaseException as error:
        return outcome_of(error)
    return success(handler, result)


class Call:
    """One call of a handler that blocks its thread; an async handler gets a loop there."""

    def __init__(self, handler: Handler, payload: bytes, context: Context) -> None:
        self._handler, self._payload, self._context = handler, payload, context
        self._cancel: Callable[[], object] | None = None
        self._stopped = False

    def run(self) -> Outcome:
        """The outcome; never raises."""
        try:
            if not is_async(self._handler.function):
                return in_place(self._handler, self._payload, self._context)
            with asyncio.Runner() as runner:
                return runner.run(self._drive())
        except BaseException as error:
            return outcome_of(error)

    def stop(self) -> None:
        """From any thread: cancel an async handler. A synchronous one must look at `context.cancelled` by itself."""
        self._stopped = True
        if self._cancel:
            # The loop may have closed just now: then there is nothing left to cancel.
            with suppress(RuntimeError):
                self._cancel()

    async def _drive(self) -> Outcome:
        task = asyncio.current_task()
        if task is not None:
            self._cancel = partial(asyncio.get_running_loop().call_soon_threadsafe, task.cancel)
            if self._stopped:
                task.cancel()
        return await on_loop(self._handler, self._payload, self._context)


class _Ticket:
    """A call in a thread as its loop sees it. All but the call itself happens on the loop."""

    def __init__(self) -> None:
        self.future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self.ended = False
        self.then: Callable[[], None] | None = None

    def end(self, outcome: Outcome) -> None:
        self.ended = True
        if not self.future.done():
            self.future.set_result(outcome)
        if self.then:
            self.then()


class ThreadCalls:
    """Calls handlers in threads and counts those threads that nobody waits for any more."""

    def __init__(self, grace_ms: int) -> None:
        self.abandoned = 0
        self._grace_ms = grace_ms
        self._threads = Threads()

    async def run(self, handler: Handler, payload: bytes, context: Context) -> Outcome:
        """Cancelled, it gives the thread the grace to notice, then leaves it behind; a second cancel ends the grace."""
        loop, ticket, call = asyncio.get_running_loop(), _Ticket(), Call(handler, payload, context)
        work = partial(copy_context().run, call.run)
        self._threads.start(work, partial(_tell, loop, ticket))
        try:
            return await ticket.future
        except asyncio.CancelledError:
            call.stop()
            await self._wait(ticket, context)
            raise

    def close(self) -> None:
        """Let the threads go."""
        self._threads.close()

    async def _wait(self, ticket: _Ticket, context: Context) -> None:
        if ticket.ended:
            return
        ticket.future = asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait([ticket.future], timeout=self._grace_ms / 1000)
        finally:
            if not ticket.ended:
                self._abandon(ticket, context)

    def _abandon(self, ticket: _Ticket, context: Context) -> None:
        self.abandoned += 1
        ticket.then = self._returned
        text = (
            f"the thread did not stop within {self._grace_ms} ms and was left behind, its result will not count; "
            "look at context.cancelled in long loops, or set isolation to process"
        )
        context.line("log", "warning", text)

    def _returned(self) -> None:
        self.abandoned -= 1


def _tell(loop: asyncio.AbstractEventLoop, ticket: _Ticket, outcome: Outcome) -> None:
    # A thread left behind may end after the loop.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(ticket.end, outcome)
