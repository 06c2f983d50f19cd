"""Rota: a distributed task scheduler, small enough for a laptop and strong enough for a company."""

from rota.domain.errors import (
    Incompatible,
    Invalid,
    NotFound,
    Refused,
    RotaError,
    RunFailed,
    StoreError,
    Unavailable,
    Unclear,
)
from rota.domain.flow import Cancel, Fail, Snooze, TryAgain
from rota.domain.retry import Retry
from rota.embed import Rota
from rota.ports.executor import Context
from rota.sdk.handle import Handle
from rota.sdk.schedules import ScheduleOptions
from rota.sdk.tasks import TaskFunction
from rota.service import Service, TaskExecutor, new

__all__ = [
    "Cancel",
    "Context",
    "Fail",
    "Handle",
    "Incompatible",
    "Invalid",
    "NotFound",
    "Refused",
    "Retry",
    "Rota",
    "RotaError",
    "RunFailed",
    "ScheduleOptions",
    "Service",
    "Snooze",
    "StoreError",
    "TaskExecutor",
    "TaskFunction",
    "TryAgain",
    "Unavailable",
    "Unclear",
    "new",
]
