"""The command line's entry: all commands in one tree, and one way for all errors to end."""

import gc
import os
import re
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from rota.cli import bench, client, config, login, people, queues, runs, schedules, tasks, up, whole, workers
from rota.cli.show import fail
from rota.domain.errors import Invalid, NotFound, Refused, RotaError

TROUBLE, BAD_INPUT, INTERRUPTED = 1, 2, 130
BRACES = str.maketrans("", "", "{}")
"""Around what must be given, where the library spells out how a command is used."""


class Commands(TyperGroup):
    """The tree of commands; errors become one line on standard error and an exit code."""

    def main(self, *args: Any, **extra: Any) -> Any:
        """Run one command and exit: 0 done, 1 trouble, 2 refused or bad input, 130 interrupted."""
        for name in ("stdin", "stdout", "stderr"):
            if getattr(sys, name) is None:  # it is closed, and the next file would get its number
                setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: SIM115 - it stays
        for name in ("stdout", "stderr"):
            getattr(sys, name).reconfigure(errors="backslashreplace")
        try:
            code = super().main(*args, **extra | {"standalone_mode": False})
        except (Exception, KeyboardInterrupt) as error:
            if os.environ.get("ROTA_DEBUG") == "1":
                raise
            code = _told(error)
        sys.exit(code if isinstance(code, int) else 0)


def _told(error: BaseException) -> int:
    """Tell of an error; its exit code."""
    match error:
        case KeyboardInterrupt() | typer.Abort():
            return INTERRUPTED
        case typer.TyperException():
            # What `read` raises comes with a word of the library that checks the options.
            text = error.format_message().replace("Value error, ", "", 1).rstrip(".")
            text = re.sub(r", unable to parse string as an? \w+", "", text.replace("Input should", "it should"))
            context = getattr(error, "ctx", None)
            if context and text.startswith("Missing argument"):
                _, *wanted = context.command.collect_usage_pieces(context)
                text += f"; write `{' '.join([context.command_path, *wanted]).translate(BRACES)}`"
            fail(f"{text}; see `{context.command_path} --help`" if context else text)
            return BAD_INPUT
        case UnicodeEncodeError():  # how bytes come that are no text
            fail(f"{error.object!r:.80} is no text: it is not in UTF-8")
            return BAD_INPUT
        case RotaError() | OSError():
            fail(str(error))
            return BAD_INPUT if isinstance(error, Invalid | NotFound | Refused) else TROUBLE
    fail(f"{type(error).__name__}: {error}; set ROTA_DEBUG=1 to see where")
    return TROUBLE


app = typer.Typer(
    name="rota",
    cls=Commands,
    epilog="Exit codes: 0 done, 1 trouble, 2 bad input or refused. ROTA_DEBUG=1 shows where an error came from.",
    pretty_exceptions_enable=False,
    invoke_without_command=True,
)


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Rota, a distributed task scheduler: the list that says who does which duty when."""
    if version:
        from importlib.metadata import version as installed

        print(f"rota {installed('rota')}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        print(context.get_help())


for part in (up, tasks, schedules, runs, workers, queues, client, whole, config, login):
    app.add_typer(part.group)
for group in (config.secrets, people.users, people.tokens):
    app.add_typer(group)
app.command("bench")(bench.bench)


def main() -> None:
    """What `rota` runs."""
    # Loading makes much and drops little: looking for cycles as often as usual takes a fifth of a short command's time.
    gc.set_threshold(100_000, 50, 50)
    app()
