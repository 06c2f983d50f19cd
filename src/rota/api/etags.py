"""ETags of definitions: an edit may say which state of a thing it is of, so that it overwrites nothing unseen."""

from hashlib import blake2b
from typing import Annotated

from fastapi import Depends, Header

from rota.domain.errors import Changed
from rota.domain.schedule import TIMED, Schedule
from rota.domain.task import DEFINED, Task
from rota.engine.define import Check

EDITED = {Task: (*DEFINED, "revision"), Schedule: (*TIMED, "paused", "revision")}
"""What people can change of it, not what happens to it."""

Match = Annotated[str | None, Header(alias="If-Match", description="The ETag of the thing as it was read.")]


def etag(record: Task | Schedule) -> str:
    """The strong ETag of a definition."""
    said = repr([getattr(record, name) for name in EDITED[type(record)]])
    return f'"{blake2b(said.encode(), digest_size=12).hexdigest()}"'


async def unchanged(match: Match = None) -> Check:
    """Raises `Changed` for a thing that is not as its editor has read it. Without If-Match the last one wins."""
    wanted = [one.strip() for one in ("*" if match is None else match).split(",")]

    def check(record: Task | Schedule) -> None:
        if wanted != ["*"] and etag(record) not in wanted:
            raise Changed("it was changed since it was read; read it anew, and repeat the change if it is still wanted")

    return check


Unchanged = Annotated[Check, Depends(unchanged)]
