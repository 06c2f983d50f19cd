"""`script`: a Python file below one folder, run by an interpreter of its own."""

import sys
from dataclasses import replace
from pathlib import Path

from rota.domain.errors import Invalid, NotFound
from rota.domain.run import Outcome
from rota.executors.commands import DEFAULTS, CommandOptions, perform
from rota.executors.folders import sweep
from rota.executors.forms import script as check
from rota.executors.outcomes import no_handler, refused
from rota.ports.desk import Assignment
from rota.ports.executor import Context


class ScriptExecutor:
    """Runs `task.command`, a `.py` file below `scripts_dir`, with this worker's interpreter."""

    kind = "script"

    def __init__(self, scripts_dir: str | Path, options: CommandOptions = DEFAULTS) -> None:
        self._folder = Path(scripts_dir)
        self._options = replace(options, cwd=options.cwd or str(self._folder))
        sweep()

    async def run(self, assignment: Assignment, context: Context) -> Outcome:
        try:
            check(assignment.task)
            script = find_script(self._folder, assignment.task.command)
        except Invalid as error:
            return refused(error)
        except NotFound as error:
            return no_handler(str(error), (path.name for path in self._folder.glob("*.py")))
        return await perform([sys.executable, str(script)], assignment, context, self._options)

    async def close(self) -> None:
        """Nothing outlives an attempt, but for folders of workers that were killed."""
        sweep()


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
        raise NotFound("script", shown, f"put it into its scripts folder {home}")
    return path
