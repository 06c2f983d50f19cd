"""A sign of life: how the machine is, and how late the run began."""

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime

from rota import Context


@dataclass(frozen=True)
class Health:
    """The machine at one moment."""

    load: float
    """Processes that wanted to run, on average over the last minute."""
    disk_free_mb: int
    late_ms: int
    """From the nominal time to now; 0 for runs without a schedule."""


def beat(context: Context) -> Health:
    """Measure load and free disk space of this machine."""
    now = datetime.now(UTC)
    late = now - (context.nominal or now)
    health = Health(os.getloadavg()[0], shutil.disk_usage(".").free >> 20, round(late.total_seconds() * 1000))
    print(f"load {health.load:.2f}, {health.disk_free_mb} MB free, {health.late_ms} ms late")
    return health
