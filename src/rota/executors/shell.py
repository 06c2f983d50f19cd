"""`shell`: a command line for /bin/sh. Arguments reach it as variables, never as part of its text."""

from collections.abc import Mapping
from typing import Any

import msgspec

from rota.domain.errors import Invalid
from rota.domain.run import Outcome, Reason
from rota.executors.commands import DEFAULTS, CommandOptions, Order, perform
from rota.executors.environment import NAME, VALUE_LIMIT, check_value
from rota.executors.outcomes import failure, from_json, refused
from rota.ports.desk import Assignment
from rota.ports.executor import Context


class ShellExecutor:
    """Runs `task.command` by `/bin/sh -c`. Payload: ROTA_PAYLOAD, ROTA_ARG_<NAME>, and standard input."""

    kind = "shell"

    def __init__(self, options: CommandOptions = DEFAULTS) -> None:
        self._options = options

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        command = assignment.task.command
        if not command.strip() or "\0" in command:
            return failure("command: a command line is wanted, without NUL", final=True, name="Invalid")
        try:
            variables = arguments(assignment.payload)
        except Invalid as error:
            return refused(Reason.BAD_PAYLOAD, error)
        return await perform(Order(["/bin/sh", "-c", command], assignment, context, variables), self._options)

    async def close(self) -> None:
        """Nothing outlives an attempt."""


def arguments(payload: bytes) -> dict[str, str]:
    """Variables of a payload: all of it if short enough, and each plain value of an object. Raises `Invalid`.

    Texts as they are, numbers, true and false as in JSON, null as empty text; lists and objects only in the whole.
    A payload over 64 KiB is on standard input alone.
    """
    value = from_json(payload)
    found = {"ROTA_PAYLOAD": check_value("payload", payload.decode())} if len(payload) <= VALUE_LIMIT else {}
    if isinstance(value, Mapping):
        for name, item in value.items():
            if NAME.fullmatch(name) and not isinstance(item, list | dict):
                found[f"ROTA_ARG_{name.upper()}"] = check_value(f"payload.{name}", _plain(item))
    return found


def _plain(item: Any) -> str:
    if isinstance(item, str):
        return item
    return "" if item is None else msgspec.json.encode(item).decode()
