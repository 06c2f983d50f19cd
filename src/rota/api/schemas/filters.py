"""What listings can be filtered by."""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, model_validator

from rota.api.paging import Paged, Pages, Window
from rota.api.schemas.bodies import BULK_LIMIT, Body
from rota.api.schemas.texts import NameOrNone, Prefix, RunId, RunIdOrNone, Searched, Space, Suffix
from rota.domain.errors import Invalid
from rota.domain.run import State

States = Annotated[list[Annotated[State, Field(strict=False)]], Field(max_length=9)]


class TaskFilter(Paged):
    """Which tasks."""

    queue: NameOrNone = ""
    task_type: Searched = ""
    search: Searched = Field(default="", description="In name and description, small and capital letters alike.")
    schedules: bool = Field(default=False, description="Tell of each task its schedules and its next fire.")


class ScheduleFilter(Paged):
    """Which schedules."""

    task: NameOrNone = ""
    state: Literal["", "on", "paused"] = ""
    search: Searched = Field(default="", description="In name and task.")


class RunFilter(Window):
    """Which runs."""

    namespace: Space = "main"
    state: States = Field(default=[], description="May be given several times.")
    task: NameOrNone = ""
    queue: NameOrNone = ""
    schedule: NameOrNone = ""
    session: Searched = Field(default="", description="What this session holds now.")
    worker: Searched = Field(default="", description="Whose newest attempt this worker has.")
    prefix: Prefix = ""
    suffix: Suffix = ""
    search: Searched = Field(default="", description="In error and progress.")


class RunChoice(RunFilter):
    """Which runs, said in a body: there, unlike in a query, numbers are told from text."""

    model_config = ConfigDict(strict=True)
    place: ClassVar[str] = "where.cursor"


class WorkerFilter(Pages):
    """Which sessions of workers."""

    namespace: Space = "main"
    state: Literal["open", "closed", "all"] = "open"
    worker: Searched = ""
    queue: NameOrNone = ""
    label: NameOrNone = ""


class LogFilter(Window):
    """Which lines."""

    namespace: Space = "main"
    search: Searched = Field(default="", description="In the text, small and capital letters alike.")
    level: Searched = ""
    stream: Literal["", "stdout", "stderr", "log"] = ""
    run: RunIdOrNone = ""
    task: NameOrNone = ""
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
