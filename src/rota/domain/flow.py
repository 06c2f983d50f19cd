"""What a task's code may raise to say how its attempt ends, and how any exception becomes an outcome.

Inside Rota an end is a value; only the user's code speaks in exceptions, and `outcome_of` converts them at the edge.
"""

import traceback
from collections.abc import Iterator
from datetime import timedelta
from itertools import islice

from rota.domain.durations import LONGEST_MS
from rota.domain.errors import Invalid
from rota.domain.names import TEXT_LIMIT
from rota.domain.run import End, Outcome, Reason

HEAD_LIMIT = 1_500
"""Characters of type and message; the rest of the text is for the traceback."""
RELATED_LIMIT = 5


class Flow(Exception):
    """Base of what is raised to steer a run."""


class Snooze(Flow):
    """Try again in a while; not a failure and not counted as a try."""

    def __init__(self, after: float | timedelta) -> None:
        super().__init__(f"again after {after}")
        self.delay_ms = _milliseconds(after)


class Cancel(Flow):
    """The run is pointless: it ends as cancelled."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)


class Fail(Flow):
    """It failed, and trying again would not help."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)


class TryAgain(Flow):
    """It failed; try again, not before `after`, as long as the task's policy has tries left."""

    def __init__(self, after: float | timedelta = 0, message: str = "") -> None:
        super().__init__(message or f"again after {after}")
        self.delay_ms = _milliseconds(after)


def outcome_of(error: BaseException) -> Outcome:
    """The end of an attempt whose code raised `error`, whatever that does when it is looked at."""
    try:
        return _outcome_of(error)
    except BaseException as worse:
        kinds = [type.__repr__(type(one)) for one in (error, worse)]
        text = f"{kinds[0]}, which cannot be described: looking at it raised {kinds[1]}"
        return Outcome(End.FAILURE, reason=Reason.ERROR, error=storable(text[:TEXT_LIMIT]))


def _outcome_of(error: BaseException) -> Outcome:
    if isinstance(error, Snooze):
        return Outcome(End.SNOOZE, reason=Reason.SNOOZED, delay_ms=error.delay_ms)
    if isinstance(error, Cancel):
        return Outcome(End.CANCELLED, reason=Reason.CANCELLED, error=storable(_text(error)[:TEXT_LIMIT]))
    text = describe(error)
    if isinstance(error, TryAgain):
        # Not judged by name: whoever asks for another try gets it, whatever the policy's lists say.
        return Outcome(End.FAILURE, reason=Reason.ERROR, error=text, delay_ms=error.delay_ms)
    names = tuple(kind.__name__ for kind in type(error).__mro__ if kind not in (BaseException, object))
    return Outcome(End.FAILURE, reason=Reason.ERROR, error=text, errors=names, final=isinstance(error, Fail))


def describe(error: BaseException) -> str:
    """Type, message, what led to it, and the end of the traceback without Rota's own frames."""
    related = islice(_related(error), RELATED_LIMIT)
    text = "\n".join([_head(error), *(f"  from {_head(other)[:200]}" for other in related)])[:HEAD_LIMIT]
    if frames := _frames(error):
        room = TEXT_LIMIT - len(text) - 30
        text += f"\nTraceback (newest last):\n{frames[-room:]}"
    return storable(text)


def storable(text: str) -> str:
    """`text` with what no store can hold (NUL, lone surrogates) replaced."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def _head(error: BaseException) -> str:
    """Type, message and notes. The standard one follows causes and groups to their end, which may not exist."""
    kind = type(error)
    place = "" if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}."
    name = f"{place}{kind.__qualname__}"
    text = _text(error)[:HEAD_LIMIT]
    notes = islice(getattr(error, "__notes__", ()), RELATED_LIMIT)
    return "\n".join([f"{name}: {text}" if text else name, *(str(note)[:HEAD_LIMIT] for note in notes)])


def _text(error: BaseException) -> str:
    try:
        return str(error)
    except BaseException:
        return "<exception str() failed>"


def _related(error: BaseException) -> Iterator[BaseException]:
    """The members of a group, then the chain of causes, which may be a circle."""
    if isinstance(error, BaseExceptionGroup):
        yield from error.exceptions
    while cause := error.__cause__ or (None if error.__suppress_context__ else error.__context__):
        yield cause
        error = cause


def _frames(error: BaseException) -> str:
    kept = (
        (frame, line)
        for frame, line in traceback.walk_tb(error.__traceback__)
        if not str(frame.f_globals.get("__name__", "")).startswith("rota.")
    )
    return "".join(traceback.StackSummary.extract(kept).format()).rstrip()


def _milliseconds(after: float | timedelta) -> int:
    seconds = after.total_seconds() if isinstance(after, timedelta) else float(after)
    if not 0 <= seconds <= LONGEST_MS / 1000:
        advice = "use seconds or a timedelta, not negative and at most ten years"
        raise Invalid("after", f"{after} is no time to wait: {advice}")
    return round(seconds * 1000)
