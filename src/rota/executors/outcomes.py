"""Ends that every executor shares, and results as JSON."""

import signal
from typing import Any

import msgspec

from rota.domain.errors import Invalid, TooLarge
from rota.domain.flow import outcome_of, storable
from rota.domain.names import TEXT_LIMIT
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import SUCCESS, End, Outcome, Reason
from rota.ports.executor import Handler

NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises: for bad syntax, for text that is no UTF-8, for endless nesting."""


def failure(
    error: str, reason: str = Reason.ERROR, *, final: bool = False, delay_ms: int = 0, name: str = ""
) -> Outcome:
    """A failed attempt; `name` is what a retry policy knows it by, if anything."""
    errors = (name,) if name else ()
    text = storable(error[:TEXT_LIMIT])
    return Outcome(End.FAILURE, reason=reason, error=text, errors=errors, final=final, delay_ms=delay_ms)


def no_handler(error: str) -> Outcome:
    """This worker lacks what the task names; another may have it, so the run goes back in line unburnt."""
    return Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error=storable(error[:TEXT_LIMIT]))


def refused(reason: Reason, error: BaseException) -> Outcome:
    """A payload or result that was found `Invalid`; any other error of the conversion is one of the code."""
    if isinstance(error, Invalid):
        return failure(str(error), reason, final=True, name=type(error).__name__)
    return outcome_of(error)


def success(handler: Handler, result: Any) -> Outcome:
    """The end of a handler that returned."""
    try:
        data = handler.encode(result)
    except Exception as error:
        return refused(Reason.BAD_RESULT, error)
    return SUCCESS if data is None else Outcome(End.SUCCESS, data)


def died(code: int, last: str = "") -> Outcome:
    """The end of a program that exited with `code` (negative: by a signal) after its `last` words."""
    said = f":\n{last}" if last else ""
    return failure(exit_text(code) + said, name="Killed" if code < 0 else "ExitCode")


def exit_text(code: int) -> str:
    """An exit code in words."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by signal {-code} ({signal.Signals(-code).name})"
    except ValueError:
        return f"killed by signal {-code}"


def to_json(result: Any) -> bytes | None:
    """JSON of a result, None for None. Raises `Invalid` for what is not JSON, `TooLarge` over the limit."""
    if result is None:
        return None
    try:
        data = msgspec.json.encode(result)
    except (TypeError, *NOT_JSON) as error:
        raise Invalid("result", f"{type(result).__name__} is not JSON ({error}); return plain values") from None
    return within_limit(data)


def within_limit(data: bytes) -> bytes:
    """`data` if a result may be that large, else `TooLarge`."""
    if len(data) > VALUE_LIMIT:
        raise TooLarge(
            "result", f"{len(data):,} bytes are over the limit of {VALUE_LIMIT:,}: return a reference instead"
        )
    return data


def from_json(payload: bytes) -> Any:
    """The value of a payload, None for an empty one. Raises `Invalid`."""
    if not payload:
        return None
    try:
        return msgspec.json.decode(payload)
    except NOT_JSON as error:
        raise Invalid("payload", f"not JSON: {error}") from None
