"""One attempt of an outside program, as `script` and `shell` share it.

Payload on standard input; a file named by ROTA_RESULT whose JSON is the result; output told line by line; an exit code
other than 0 is a failure. Nothing that the program started in its process group outlives the attempt.
"""

import os
import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

from rota.domain.errors import Invalid
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import SUCCESS, End, Outcome, Reason
from rota.executors.environment import environment
from rota.executors.outcomes import NOT_JSON, died, failure, refused, within_limit
from rota.executors.programs import Command, Program
from rota.ports.desk import Assignment
from rota.ports.executor import Context


@dataclass(frozen=True, slots=True)
class CommandOptions:
    """How outside programs are run."""

    grace_ms: int = 5_000
    """From SIGTERM to SIGKILL."""
    cwd: str | None = None
    """Where they start; None: for scripts the scripts' folder, for commands that of the worker."""


DEFAULTS = CommandOptions()


@dataclass(frozen=True, slots=True)
class Order:
    """An attempt ready to start."""

    argv: Sequence[str]
    assignment: Assignment
    context: Context
    variables: dict[str, str]
    """Environment beyond what every attempt gets."""


async def perform(order: Order, options: CommandOptions) -> Outcome:
    """Start it, wait, say how it ended."""
    try:
        env = environment(order.assignment, order.context) | order.variables
    except Invalid as error:
        return refused(Reason.ERROR, error)
    with TemporaryDirectory(prefix="rota-", ignore_cleanup_errors=True) as folder:
        result = Path(folder, "result")
        try:
            program = _start(order, options, env | {"ROTA_RESULT": str(result)}, Path(folder, "payload"))
        except (OSError, ValueError) as error:
            return failure(f"cannot start: {error}", name=type(error).__name__)
        code, last = await _watched(program, order.context, options.grace_ms)
        return _result(result) if code == 0 else died(code, last)


def _start(order: Order, options: CommandOptions, env: dict[str, str], payload: Path) -> Program:
    # A file, not a pipe: nobody has to feed a program that may never read.
    payload.write_bytes(order.assignment.payload)
    with payload.open("rb") as stdin:
        return Program(Command(order.argv, env, options.cwd, stdin))


async def _watched(program: Program, context: Context, grace_ms: int) -> tuple[int, str]:
    """Exit code and last words. Cancelled, it returns only when nothing of the program's group runs."""
    program.output.attach(context)
    try:
        code = await program.ended()
        return code, program.output.detach()
    except BaseException:
        await program.stop(grace_ms)
        raise
    finally:
        program.output.detach()
        program.output.close()


def _result(path: Path) -> Outcome:
    """The outcome of a program that ended well and may have left a result."""
    try:
        data = within_limit(_read(path))
        if data:
            msgspec.json.decode(data)
    except FileNotFoundError:
        return SUCCESS
    except Invalid as error:
        return refused(Reason.BAD_RESULT, error)
    except (OSError, *NOT_JSON) as error:
        return failure(f"the file of ROTA_RESULT holds no JSON: {error}", Reason.BAD_RESULT, final=True)
    return Outcome(End.SUCCESS, data) if data else SUCCESS


def _read(path: Path) -> bytes:
    """A plain file, a byte over the limit at most; a link or a pipe in its place could show or block anything."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError("not a plain file")
        return file.read(VALUE_LIMIT + 1)
