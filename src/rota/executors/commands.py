"""One attempt of an outside program, as `script` and `shell` share it.

Payload on standard input; a file named by ROTA_RESULT whose JSON is the result; output told line by line; an exit code
other than 0 is a failure. Nothing that the program started in its process group outlives the attempt. The worker's
settings and secrets stay with the worker: a program sees few names of its environment.
"""

import errno
import os
import re
import stat
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from tempfile import TemporaryFile

import msgspec

from rota.domain.errors import Invalid, NotFound
from rota.domain.payload import check_payload
from rota.domain.records import VALUE_LIMIT
from rota.domain.run import End, Outcome
from rota.executors.folders import held_folder, sweep
from rota.executors.outcomes import GRACE_MS, Texts, died, failure, no_handler, refused, to_json
from rota.executors.programs import Program
from rota.ports.desk import Assignment
from rota.ports.executor import Context

PASSED = re.compile(r"HOME|LANG|LC_.*|PATH|TMPDIR|TZ|VIRTUAL_ENV")
VARIABLE_LIMIT = 65_536
"""Characters of one value; what is longer belongs on standard input."""
VARIABLES = Texts(
    field="env",
    name=re.compile(r"[A-Za-z_][A-Za-z0-9_]*"),
    # Names through which a value becomes code (reliability: attack 38).
    reserved=re.compile(
        r"(LD_|DYLD_|GCONV_|PYTHON|PERL5|RUBY|NODE_|BASH_|ROTA_|GIT_|JAVA_TOOL_|JDK_JAVA_|GLIBC_).*"
        r"|PATH|ENV|IFS|CDPATH|SHELLOPTS|PS4|PERLLIB|CLASSPATH|_JAVA_OPTIONS",
        re.IGNORECASE,
    ),
    value=re.compile(rf"[^\0\ud800-\udfff]{{0,{VARIABLE_LIMIT}}}"),
    rule="letters, digits and _, no name that decides what code is run; Unicode without NUL, not over 64 Ki characters",
)


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
    found |= VARIABLES.of(task)
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
        data = to_json(msgspec.Raw(file.read(VALUE_LIMIT + 1))) or b""
    check_payload(data, "result")
    return data or None
