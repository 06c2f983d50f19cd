"""A worker that starts an attempt in a child, tells the child's pid, and waits to be killed."""

import asyncio
import sys

from rota.executors.python import PythonExecutor
from tests.unit.executors.support import ISOLATED, Notes, Plain, assigned


async def main():
    executor = PythonExecutor({"sleep": Plain(print)}, "tests.unit.executors.tasks_isolated:app", grace_ms=100)
    assignment = assigned("sleep", isolation=ISOLATED)
    notes = Notes(assignment)
    attempt = asyncio.ensure_future(executor.run(assignment, notes))
    pid = await notes.until(lambda seen: seen.texts("stdout"))
    sys.stdout.write(f"{pid[0]}\n")
    sys.stdout.flush()
    await attempt


if __name__ == "__main__":
    asyncio.run(main())
