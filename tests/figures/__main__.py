"""`python -m tests.figures NAME [OPTION=NUMBER …]`: one figure of docs/performance.md; `make figures` gives all.

Each measures real processes on a PostgreSQL server of its own with fsync on, prints JSON, and fails where a count is
not what it must be.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from tests.figures import crowds, histories, leaders, outages, workers

FIGURES: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
    "takeover": leaders.takeover,
    "handover": leaders.handover,
    "lost": workers.lost,
    "sessions": crowds.sessions,
    "many": crowds.many,
    "remote": crowds.remote,
    "outage": outages.outage,
    "history": histories.history,
    "history-sqlite": histories.history_sqlite,
}

if __name__ == "__main__":
    for name in [sys.argv[1]] if len(sys.argv) > 1 else FIGURES:
        given = {key: int(value) for key, _, value in (one.partition("=") for one in sys.argv[2:])}
        found = asyncio.run(FIGURES[name](**given))
        sys.stdout.write(json.dumps({"figure": name, **found}) + "\n")
