"""One attempt on its way through the pipeline: begin, perform, conclude. Its end is always an `Outcome`."""

import asyncio
from collections.abc import Mapping

import msgspec

from rota.domain.flow import outcome_of, storable
from rota.domain.names import TEXT_LIMIT
from rota.domain.payload import check_payload
from rota.domain.run import End, Outcome, Reason, Run
from rota.domain.states import too_late
from rota.domain.task import OnLost
from rota.ports.desk import Assignment, Settlement
from rota.ports.executor import Executor
from rota.ports.loops import on_loop
from rota.worker.capture import Capture
from rota.worker.context import RunContext, current

CANCELLED, TIMEOUT, SILENT, TOTAL, LEAVING, FOREIGN = (
    "cancelled", "timeout", "silent", "total", "leaving", "foreign"
)  # fmt: skip
"""Why an attempt is stopped before its end."""


class Attempt:
    """A claimed run in a slot."""

    __slots__ = (
        "assignment", "began", "context", "fence", "limit", "started_at", "stopped", "task", "told_news", "told_start",
    )  # fmt: skip

    def __init__(self, assignment: Assignment, context: RunContext, began: int, limit: int | None) -> None:
        self.assignment = assignment
        self.fence = assignment.run.fence
        self.context = context
        self.began = began
        self.limit = limit
        """When its time is over. Like `began` and `stopped` on the monotonic clock, in ms: wall clocks jump."""
        self.stopped = 0
        self.started_at = 0
        self.task: asyncio.Task[None] | None = None
        self.told_start = False
        self.told_news = ""

    def stop(self, why: str, moment: int) -> None:
        """End it early; the first reason given stays."""
        if not self.context.stopping:
            self.context.stopping = why
            self.stopped = moment
            # One that has not begun must not be cancelled: its coroutine would end before it could say so.
            if self.task and self.started_at:
                self.task.cancel()

    def settlement(self, outcome: Outcome) -> Settlement:
        """Its end, ready for the desk."""
        whole = Outcome._make((*outcome[:-2], self.started_at or None, self.context.news))
        return Settlement(self.fence, whole, self.assignment.held, self.assignment.task)


def time_left(run: Run, now: int) -> int | None:
    """How long an attempt that begins now may take, by its own clock and that of all attempts; None: as it likes."""
    if run.end_by is None:
        return run.timeout_ms
    left = run.end_by - now
    return left if run.timeout_ms is None else min(left, run.timeout_ms)


async def perform(attempt: Attempt, executors: Mapping[str, Executor], now: int) -> Outcome:
    """Run the work. Whatever it does, an outcome comes back."""
    context = attempt.context
    if context.stopping:
        return cut_short(attempt)
    if reason := too_late(attempt.assignment.run, now):
        return Outcome(End.FAILURE, reason=reason, error="its time was over before it could start", final=True)
    attempt.started_at = now
    current.set(context)
    try:
        executor = executors[attempt.assignment.task.executor]
        outcome = _checked(await executor.run(attempt.assignment, context), executor)
    except asyncio.CancelledError:
        # Whoever stopped it left the reason; a task that cancels itself has failed like any other.
        _clear_cancel()
        outcome = cut_short(attempt)
    except BaseException as error:
        closed = isinstance(error, GeneratorExit) and not (on_loop() and asyncio.current_task() is attempt.task)
        if closed or isinstance(error, KeyboardInterrupt):
            raise  # its loop was closed around it, or the program is to end
        outcome = outcome_of(error)
    Capture.finish(context)
    return _conclude(attempt, outcome)


def _checked(outcome: object, executor: Executor) -> Outcome:
    """What an executor returned, in words that can travel and be kept.

    Raises `TypeError`, `ValueError` or `Invalid` where one of the user's own returned something else.
    """
    if not isinstance(outcome, Outcome):
        raise TypeError(f"the executor returned {type(outcome).__name__} instead of an Outcome")
    if type(executor).__module__.startswith("rota.executors."):
        return outcome  # ours have looked; who wraps one has not
    made = msgspec.convert(tuple(outcome), Outcome, builtin_types=(bytes,))
    check_payload(made.result or b"", "result")
    reason, error = (storable(text[:TEXT_LIMIT]) for text in (made.reason, made.error))
    return made._replace(reason=reason, error=error, errors=tuple(map(storable, made.errors)))


def _clear_cancel() -> None:
    task = asyncio.current_task()
    while task and task.cancelling():
        task.uncancel()


def _conclude(attempt: Attempt, outcome: Outcome) -> Outcome:
    """A result that comes after the attempt's time was over does not count; one that beat a drain does.

    Who gives up when told to leave has neither failed nor cancelled: the run goes on elsewhere.
    """
    why = attempt.context.stopping
    late = why in (TIMEOUT, SILENT, TOTAL) or (why == LEAVING and outcome.end in (End.FAILURE, End.CANCELLED))
    return cut_short(attempt) if late else outcome


def cut_short(attempt: Attempt) -> Outcome:
    """The outcome of an attempt that was ended early."""
    clocks, run = attempt.assignment.task.clocks, attempt.assignment.run
    match attempt.context.stopping:
        case "cancelled":
            return Outcome(End.CANCELLED)
        case "timeout":
            text = f"longer than its limit of {(run.timeout_ms or 0) / 1000:g} s (the task's `timeout`)"
            return Outcome(End.FAILURE, reason=Reason.TIMEOUT, error=text)
        case "silent":
            text = f"no progress for {(clocks.silence_ms or 0) / 1000:g} s (the task's `silence_timeout`)"
            return Outcome(End.FAILURE, reason=Reason.SILENT, error=text)
        case "total":
            text = f"all attempts together took longer than {(clocks.total_ms or 0) / 1000:g} s (`total_timeout`)"
            return Outcome(End.FAILURE, reason=Reason.TOTAL_TIMEOUT, error=text, final=True)
        case "leaving" if attempt.assignment.task.on_lost is OnLost.FAIL and attempt.started_at:
            # It may have done half of its work: run again, that half would be done twice.
            return Outcome(End.FAILURE, reason=Reason.LOST, error="its worker was stopped", final=True)
        case "leaving":
            return Outcome(End.RETURNED, reason="its worker was stopped")
        case "foreign":
            return Outcome(End.RETURNED, reason="its worker does not hold it any more")
        case _:
            return Outcome(End.FAILURE, reason=Reason.ERROR, error="the task raised CancelledError by itself")
