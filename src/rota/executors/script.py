"""`script`: a Python file below one folder, run by an interpreter of its own."""

import sys
from pathlib import Path

from rota.domain.errors import Invalid, NotFound
from rota.executors.commands import CommandExecutor
from rota.executors.forms import script
from rota.executors.outcomes import GRACE_MS, having
from rota.ports.desk import Assignment


class ScriptExecutor(CommandExecutor):
    """Runs `task.command`, a `.py` file below `scripts_dir`, with this worker's interpreter."""

    kind = "script"

    def __init__(self, scripts_dir: str | Path, grace_ms: int = GRACE_MS) -> None:
        super().__init__(str(scripts_dir), grace_ms)
        self._folder = Path(scripts_dir)

    def asked(self, assignment: Assignment) -> tuple[list[str], dict[str, str]]:
        script(assignment.task)
        return [sys.executable, str(find_script(self._folder, assignment.task.command))], {}


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
