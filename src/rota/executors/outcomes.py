"""What executors share: ends, payloads and results as JSON, texts that a task sets in its params."""

import json
import re
import signal
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import msgspec

from rota.domain.errors import Invalid, TooLarge
from rota.domain.flow import storable
from rota.domain.names import TEXT_LIMIT
from rota.domain.payload import decoded
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End, Outcome, Reason, Run
from rota.domain.task import Task
from rota.ports.runtime import TRACE

NOT_JSON = (msgspec.MsgspecError, ValueError, RecursionError)
"""What decoding raises: for bad syntax, for text that is no UTF-8, for endless nesting."""
GRACE_MS = 5_000
"""From the request to stop until force."""
KNOWN = 10
"""Names told of what a worker has, where it lacks one."""
UNTOLD = "its exit code is not known: something in the worker's process ignores SIGCHLD, or waits for any child"
REASONS = {"payload": Reason.BAD_PAYLOAD, "result": Reason.BAD_RESULT}


def failure(
    error: str, *, name: str = "", final: bool = False, reason: Reason = Reason.ERROR, delay_ms: int = 0
) -> Outcome:
    """A failed attempt; `name` is what a retry policy knows it by, if anything."""
    errors = (name,) if name else ()
    text = storable(error[:TEXT_LIMIT])
    return Outcome(End.FAILURE, reason=reason, error=text, errors=errors, final=final, delay_ms=delay_ms)


def refused(error: Invalid, reason: Reason | None = None) -> Outcome:
    """No other try would make it valid; its field tells the reason if none is given."""
    reason = reason or REASONS.get(error.field.partition(".")[0], Reason.ERROR)
    return failure(str(error), name=type(error).__name__, final=True, reason=reason)


def no_handler(error: str) -> Outcome:
    """This worker lacks what the task names; another may have it, so the run goes back in line unburnt."""
    return Outcome(End.RETURNED, reason=Reason.NO_HANDLER, error=storable(error[:TEXT_LIMIT]))


def having(known: Iterable[str]) -> str:
    """What a worker has instead, a few of it, as the end of such an error."""
    names = sorted(known)
    return f"; it has {', '.join(names[:KNOWN])}{' …' if len(names) > KNOWN else ''}" if names else ""


def died(code: int | None, last: str) -> Outcome:
    """The end of a program that exited with `code` (negative: by a signal; None: unknown) after its `last` words."""
    text, name = UNTOLD if code is None else f"exit code {code}", "ExitCode"
    if code is not None and code < 0:
        text, name = f"killed by signal {-code}", "Killed"
        with suppress(ValueError):  # real-time signals have no name
            text += f" ({signal.Signals(-code).name})"
    return failure(f"{text}:\n{last}" if last else text, name=name)


def marks(run: Run) -> dict[str, str]:
    """What goes along to another program, so that it can tell a repetition and go on in the trace."""
    found = {"idempotency-key": run.id, "x-rota-run": run.id, "x-rota-attempt": str(run.attempt)}
    return found | ({"traceparent": trace} if (trace := TRACE.get()) else {})


def from_json(data: bytes, field: str = "payload") -> Any:
    """The value of `data`, None for none. Raises `Invalid`."""
    if not data:
        return None
    try:
        return msgspec.json.decode(data)
    except NOT_JSON as error:
        raise Invalid(field, f"not JSON: {error}") from None


def to_json(result: Any) -> bytes | None:
    """JSON of a result, None for None. Raises `Invalid` for what is not JSON, `TooLarge` over the limit."""
    if result is None:
        return None
    try:
        data = msgspec.json.encode(result)
        if len(data) <= VALUE_LIMIT:
            decoded(data)
            if b"null" in data:  # so NaN is written, without a word
                decoded(json.dumps(msgspec.to_builtins(result, str_keys=True)).encode())
    except (TypeError, *NOT_JSON) as error:
        raise Invalid("result", f"{type(result).__name__} is not JSON ({error}); return plain values") from None
    if len(data) > VALUE_LIMIT:
        text = f"{len(data):,} bytes are over the limit of {VALUE_LIMIT:,}: return a reference instead"
        raise TooLarge("result", text)
    return data


class Texts(NamedTuple):
    """Which texts by name a task may set in `field` of its params; `rule` says it for people."""

    field: str
    name: re.Pattern[str]
    reserved: re.Pattern[str]
    value: re.Pattern[str]
    rule: str

    def of(self, task: Task) -> dict[str, str]:
        """What a task sets, if it may. Raises `Invalid`."""
        given, field = task.params.get(self.field, {}), f"params.{self.field}"
        if not isinstance(given, Mapping):
            raise Invalid(field, "an object of names and texts is wanted")
        for name, value in given.items():
            known = self.name.fullmatch(name) and not self.reserved.fullmatch(name)
            if not known or not isinstance(value, str) or not self.value.fullmatch(value):
                raise Invalid(field, f"{name[:60]!r} cannot be set so: {self.rule}")
        return dict(given)
