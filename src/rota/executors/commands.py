"""`script`: a Python file below one folder, run by an interpreter of its own. `shell`: a command line for /bin/sh; its
arguments reach it as variables, never as part of its text.

Payload on standard input; a file named by ROTA_RESULT whose JSON is the result; output told line by line; an exit code
other than 0 is a failure. Nothing that the program started in its process group outlives the attempt. The worker's
settings and secrets stay with the worker: a program sees few names of its environment.
"""

import errno
import os
import re
import stat
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import msgspec

from rota.domain.errors import Invalid, NotFound
from rota.domain.payload import check_payload
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End, Outcome
from rota.executors import forms
from rota.executors.folders import held_folder, sweep
from rota.executors.outcomes import GRACE_MS, died, failure, from_json, having, no_handler, refused
from rota.executors.programs import Program
from rota.ports.desk import Assignment
from rota.ports.executor import Context

PASSED = re.compile(r"HOME|LANG|LC_.*|PATH|TMPDIR|TZ|VIRTUAL_ENV")


class CommandExecutor(ABC):
    """What the executors of outside programs share."""

    def __init__(self, cwd: str | None = None, grace_ms: int = GRACE_MS) -> None:
        """`cwd`: where programs start, None: where the worker is."""
        self._cwd, self._grace_ms = cwd, grace_ms
        sweep()

    @abstractmethod
    def asked(self, assignment: Assignment) -> tuple[list[str], dict[str, str]]:
        """The program with its arguments, and variables beyond what every attempt gets.

        Raises `Invalid`, and `NotFound` for what another worker may have.
        """

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        argv: list[str] = []
        env: dict[str, str] = {}
        try:
            argv, variables = self.asked(assignment)
            env = environment(assignment, context) | variables
            with held_folder() as folder, TemporaryFile() as stdin:
                # A file, not a pipe: nobody has to feed a program that may never read.
                stdin.write(assignment.payload)
                stdin.seek(0)
                result = env["ROTA_RESULT"] = os.path.join(folder, "result")
                program = Program(argv, env, self._cwd, stdin.fileno())
                code, last = await _watched(program, context, self._grace_ms)
                return Outcome(End.SUCCESS, _read(result)) if code == 0 else died(code, last)
        except Invalid as error:
            return refused(error)
        except NotFound as error:
            return no_handler(str(error))
        except (OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.E2BIG:
                return failure(too_long(argv, env), name=type(error).__name__, final=True)
            return failure(f"cannot be run: {error}", name=type(error).__name__)

    async def close(self) -> None:
        """Nothing outlives an attempt, but for folders of workers that were killed."""
        sweep()


class ScriptExecutor(CommandExecutor):
    """Runs `task.command`, a `.py` file below `scripts_dir`, with this worker's interpreter."""

    kind = "script"

    def __init__(self, scripts_dir: str | Path, grace_ms: int = GRACE_MS) -> None:
        super().__init__(str(scripts_dir), grace_ms)
        self._folder = Path(scripts_dir)

    def asked(self, assignment: Assignment) -> tuple[list[str], dict[str, str]]:
        forms.script(assignment.task)
        return [sys.executable, str(find_script(self._folder, assignment.task.command))], {}


class ShellExecutor(CommandExecutor):
    """Runs `task.command` by `/bin/sh -c`. Payload: ROTA_PAYLOAD, ROTA_ARG_<NAME>, and standard input."""

    kind = "shell"

    def asked(self, assignment: Assignment) -> tuple[list[str], dict[str, str]]:
        forms.shell(assignment.task)
        return ["/bin/sh", "-c", assignment.task.command], arguments(assignment.payload)


def too_long(argv: Sequence[str], env: Mapping[str, str]) -> str:
    """What to tell where the system takes no arguments and variables of this length."""
    sizes = {"the command": len(os.fsencode(argv[-1]))}
    sizes |= {f"variable {name}": len(os.fsencode(value)) for name, value in env.items()}
    longest = max(sizes, key=lambda name: sizes[name])
    return (
        f"too long for this system: {longest} has {sizes[longest]:,} bytes, command and variables together "
        f"{sum(sizes.values()):,}; the payload is on standard input as well, whatever its length"
    )


def environment(assignment: Assignment, context: Context) -> dict[str, str]:
    """The whole environment of an attempt. Raises `Invalid` for what the task may not set."""
    run, task = assignment.run, assignment.task
    found = {name: value for name, value in os.environ.items() if PASSED.fullmatch(name)}
    found |= forms.VARIABLES.of(task)
    return found | {
        "PYTHONUNBUFFERED": "1",  # so that lines appear, and survive a kill, as they are written
        "ROTA_RUN_ID": run.id,
        "ROTA_ATTEMPT": str(run.attempt),
        "ROTA_NAMESPACE": task.namespace,
        "ROTA_TASK": task.name,
        "ROTA_NOMINAL": context.nominal.isoformat(timespec="milliseconds") if context.nominal else "",
        "ROTA_DEADLINE": context.deadline.isoformat(timespec="milliseconds") if context.deadline else "",
    }


async def _watched(program: Program, context: Context, grace_ms: int) -> tuple[int | None, str]:
    """Exit code and last words. Cancelled, it returns only when nothing of the program's group runs."""
    program.attach(context)
    try:
        return await program.ended(), program.detach()
    except BaseException:
        await program.stop(grace_ms)
        raise
    finally:
        program.detach()
        program.close()


def _read(result: str) -> bytes | None:
    """What a program that ended well left as its result. Raises `Invalid`."""
    if not os.path.lexists(result):
        return None
    # A link or a pipe in its place could show or block anything.
    if not stat.S_ISREG(os.lstat(result).st_mode):
        raise Invalid("result", "a plain file is wanted at ROTA_RESULT")
    with open(result, "rb") as file:
        data = file.read(VALUE_LIMIT + 1)
    check_payload(data, "result")
    return data or None


def find_script(folder: Path, command: str) -> Path:
    """The real path of a script. Raises `Invalid` for one that is not below `folder`, `NotFound` for none."""
    shown = command[:200]
    try:
        home = folder.resolve(strict=True)
        # Links are followed before the comparison, so one that leads out of the folder counts as outside.
        path = (home / command).resolve()
        there = path.is_file()
    except (OSError, RuntimeError) as error:
        raise Invalid("command", f"{shown!r} cannot be resolved: {error}") from None
    if home not in path.parents:
        raise Invalid("command", f"{shown!r} is not below the scripts folder")
    if not there:
        there_are = having(path.name for path in home.glob("*.py"))
        raise NotFound("script", shown, f"put it into its scripts folder {home}{there_are}")
    return path


def arguments(payload: bytes) -> dict[str, str]:
    """Variables of a payload: all of it if short enough, and each plain value of an object. Raises `Invalid`.

    Texts as they are, numbers, true and false as in JSON, null as empty text; lists and objects only in the whole.
    A payload over 64 KiB is on standard input alone.
    """
    value = from_json(payload)
    found = {"ROTA_PAYLOAD": payload.decode()} if len(payload) <= forms.VARIABLE_LIMIT else {}
    for name, item in value.items() if isinstance(value, dict) else ():
        if forms.VARIABLES.name.fullmatch(name) and not isinstance(item, list | dict):
            found[variable := f"ROTA_ARG_{name.upper()}"] = text = _plain(item)
            if len(text) > forms.VARIABLE_LIMIT:
                over = f"{len(text):,} characters; variable {variable} holds at most {forms.VARIABLE_LIMIT:,}"
                raise Invalid(f"payload.{name}", f"{over}: put it into a list, which is on standard input alone")
            if not forms.VARIABLES.value.fullmatch(text):
                raise Invalid(f"payload.{name}", f"no variable can hold it: {forms.VARIABLES.rule}")
    return found


def _plain(item: Any) -> str:
    if isinstance(item, str):
        return item
    return "" if item is None else msgspec.json.encode(item).decode()
