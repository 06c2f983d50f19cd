"""`shell`: a command line for /bin/sh. Arguments reach it as variables, never as part of its text."""

from typing import Any

import msgspec

from rota.domain.errors import Invalid
from rota.executors.commands import VARIABLE_LIMIT, VARIABLES, CommandExecutor
from rota.executors.forms import shell
from rota.executors.outcomes import from_json
from rota.ports.desk import Assignment


class ShellExecutor(CommandExecutor):
    """Runs `task.command` by `/bin/sh -c`. Payload: ROTA_PAYLOAD, ROTA_ARG_<NAME>, and standard input."""

    kind = "shell"

    def asked(self, assignment: Assignment) -> tuple[list[str], dict[str, str]]:
        shell(assignment.task)
        return ["/bin/sh", "-c", assignment.task.command], arguments(assignment.payload)


def arguments(payload: bytes) -> dict[str, str]:
    """Variables of a payload: all of it if short enough, and each plain value of an object. Raises `Invalid`.

    Texts as they are, numbers, true and false as in JSON, null as empty text; lists and objects only in the whole.
    A payload over 64 KiB is on standard input alone.
    """
    value = from_json(payload)
    found = {"ROTA_PAYLOAD": payload.decode()} if len(payload) <= VARIABLE_LIMIT else {}
    for name, item in value.items() if isinstance(value, dict) else ():
        if VARIABLES.name.fullmatch(name) and not isinstance(item, list | dict):
            found[variable := f"ROTA_ARG_{name.upper()}"] = text = _plain(item)
            if len(text) > VARIABLE_LIMIT:
                over = f"{len(text):,} characters; variable {variable} holds at most {VARIABLE_LIMIT:,}"
                raise Invalid(f"payload.{name}", f"{over}: put it into a list, which is on standard input alone")
            if not VARIABLES.value.fullmatch(text):
                raise Invalid(f"payload.{name}", f"no variable can hold it: {VARIABLES.rule}")
    return found


def _plain(item: Any) -> str:
    if isinstance(item, str):
        return item
    return "" if item is None else msgspec.json.encode(item).decode()
