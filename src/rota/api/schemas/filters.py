"""What listings can be filtered by."""

from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator

from rota.api.paging import Named, Paged, Searched, Window
from rota.api.schemas.bodies import BULK_LIMIT, Body
from rota.domain.errors import Invalid
from rota.domain.run import State

RunId = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]
Prefix = Annotated[str, Field(pattern="^[0-9a-f]{0,32}$", description="First digits of ids.")]
States = Annotated[list[Annotated[State, Field(strict=False)]], Field(max_length=9)]
Space = Annotated[Named | Literal["*"], Field(description="`*`: all of them.")]
Suffix = Annotated[str, Field(pattern="^[0-9a-f]{0,32}$", description="Last digits of ids.")]


class TaskFilter(Paged):
    """Which tasks."""

    queue: Named | Literal[""] = ""
    task_type: Searched = ""
    search: Searched = Field(default="", description="In name and description, small and capital letters alike.")
    schedules: bool = Field(default=False, description="Tell of each task its schedules and its next fire.")


class ScheduleFilter(Paged):
    """Which schedules."""

    task: Named | Literal[""] = ""
    state: Literal["", "on", "paused"] = ""
    search: Searched = Field(default="", description="In name and task.")


class RunFilter(Window):
    """Which runs."""

    namespace: Space = "main"
    state: States = Field(default=[], description="May be given several times.")
    task: Named | Literal[""] = ""
    queue: Named | Literal[""] = ""
    schedule: Named | Literal[""] = ""
    session: Searched = Field(default="", description="What this session holds now.")
    worker: Searched = Field(default="", description="Whose newest attempt this worker has.")
    prefix: Prefix = ""
    suffix: Suffix = ""
    search: Searched = Field(default="", description="In error and progress.")


class RunChoice(RunFilter):
    """Which runs, said in a body: there, unlike in a query, numbers are told from text."""

    model_config = ConfigDict(strict=True)


class WorkerFilter(Paged):
    """Which sessions of workers."""

    namespace: Space = "main"
    state: Literal["open", "closed", "all"] = "open"
    worker: Searched = ""
    queue: Named | Literal[""] = ""
    label: Named | Literal[""] = ""


class LogFilter(Window):
    """Which lines."""

    namespace: Space = "main"
    search: Searched = Field(default="", description="In the text, small and capital letters alike.")
    level: Searched = ""
    stream: Literal["", "stdout", "stderr", "log"] = ""
    run: RunId | Literal[""] = ""
    task: Named | Literal[""] = ""
    worker: Searched = ""


class RunsChosen(Body):
    """Which runs: by id, or by the filter of the listing, of which each call takes one page."""

    ids: Annotated[list[RunId], Field(min_length=1, max_length=BULK_LIMIT)] | None = None
    where: RunChoice | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Any:
        if (self.ids is None) == (self.where is None):
            raise Invalid("ids", "or where: give one of them")
        return self
