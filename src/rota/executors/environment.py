"""The environment of scripts and commands: few names of the worker's own, the run's facts, and what the task sets.

The worker's settings and secrets stay with the worker. What would change which code is loaded or run is refused.
"""

import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from rota.domain.errors import Invalid
from rota.ports.desk import Assignment
from rota.ports.executor import Context

PASSED = frozenset({"HOME", "LANG", "PATH", "TMPDIR", "TZ", "VIRTUAL_ENV"})
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
REFUSED = re.compile(
    r"(LD_|DYLD_|GCONV_|PYTHON|PERL5|RUBY|NODE_|BASH_|ROTA_|GIT_|JAVA_TOOL_|JDK_JAVA_|GLIBC_).*"
    r"|PATH|ENV|IFS|CDPATH|SHELLOPTS|PS4|PERLLIB|CLASSPATH|_JAVA_OPTIONS"
)
"""Names through which a value becomes code (reliability: attack 38)."""
VALUE_LIMIT = 65_536
"""Bytes of one value."""


def environment(assignment: Assignment, context: Context) -> dict[str, str]:
    """The whole environment of an attempt. Raises `Invalid` for what the task may not set."""
    run, task = assignment.run, assignment.task
    found = {name: value for name, value in os.environ.items() if name in PASSED or name.startswith("LC_")}
    found.update(checked(task.params.get("env", {})))
    found.update(
        PYTHONUNBUFFERED="1",  # so that lines appear, and survive a kill, as they are written
        ROTA_RUN_ID=run.id,
        ROTA_ATTEMPT=str(run.attempt),
        ROTA_NAMESPACE=task.namespace,
        ROTA_TASK=task.name,
        ROTA_NOMINAL=_iso(run.nominal_at),
        ROTA_DEADLINE=_iso(context.deadline_at),
    )
    return found


def checked(variables: Any) -> Mapping[str, str]:
    """The `env` of a task's params if a task may set it, else `Invalid`."""
    if not isinstance(variables, Mapping):
        raise Invalid("params.env", "an object of names and texts is wanted")
    for name, value in variables.items():
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise Invalid("params.env", f"{str(name)[:60]!r} is no name of a variable: letters, digits and _")
        if REFUSED.fullmatch(name.upper()):
            raise Invalid("params.env", f"{name} decides what code is run and cannot be set by a task")
        if not isinstance(value, str):
            raise Invalid(f"params.env.{name}", "text is wanted")
        check_value(f"params.env.{name}", value)
    return variables


def check_value(field: str, value: str) -> str:
    """`value` if a variable can hold it: no NUL, valid Unicode, at most 64 KiB. Raises `Invalid`."""
    if "\0" in value:
        raise Invalid(field, "a variable cannot hold NUL")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise Invalid(field, "the text holds a lone surrogate; send valid Unicode") from None
    if size > VALUE_LIMIT:
        raise Invalid(field, f"{size:,} bytes are too long for a variable; read the payload from standard input")
    return value


def _iso(moment: int | None) -> str:
    """An instant as ISO 8601 in UTC with milliseconds, empty for none."""
    if moment is None:
        return ""
    return datetime.fromtimestamp(moment / 1000, UTC).isoformat(timespec="milliseconds")
