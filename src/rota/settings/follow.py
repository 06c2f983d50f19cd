"""Follow: a changed file changes what can change while Rota runs; a broken one changes nothing."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

from rota.ports.loops import end
from rota.settings.fields import Section
from rota.settings.load import Loaded, SettingsError
from rota.settings.tree import Settings

LIVE = (
    *("api.cors_origins", "api.hosts", "api.allow", "api.proxies"),
    *("api.rate_address", "api.rate_actor", "api.rate_login", "api.rate_failed"),
    *("observability.log_level", "worker.max_concurrent_tasks", "schedule.scan_interval"),
    *("retention.runs", "retention.max_runs", "retention.audit", "retention.tallies", "retention.sessions"),
)
"""What changes at once; all else needs a restart."""

Apply = Callable[[Settings, frozenset[str]], Awaitable[None]]
"""Takes over the named ones of settings; all others are as they were."""

LOOK_S = 0.5
"""Nobody tells of all that may change a file: a link may lead through other folders, or to another machine."""

log = logging.getLogger("rota.settings")


class Follower:
    """Compares what the sources say with what is in effect."""

    def __init__(self, loaded: Loaded, apply: Apply) -> None:
        self.loaded = loaded
        self._apply = apply
        self._effective = loaded.settings

    async def look(self) -> None:
        """Read the sources again, and take over what can be taken over."""
        try:
            fresh, before = self.loaded.again().settings, self._effective.flat()
            changed = {key for key, value in fresh.flat().items() if value != before[key]}
            live = frozenset(changed.intersection(LIVE))
            taken = _taken(self._effective, fresh, live)
            if live:
                await self._apply(taken, live)
        except Exception as error:
            why = str(error) if isinstance(error, SettingsError) else f"{type(error).__name__}: {error}"
            log.error("the settings stay as they were: %s", why)
            return
        for key in sorted(live):
            log.warning("%s is now %s", key, taken.spoken(key))
        self._effective = taken
        if waiting := sorted(changed - live):
            log.warning("changed, but in effect only after a restart: %s", ", ".join(waiting))

    async def run(self) -> None:
        """Look whenever the file, or what it is a link to, has changed and nobody goes on writing it."""
        path = (self.loaded.path or Path()).absolute()
        before = seen = _content(path)
        await self.look()  # what changed since it was loaded
        while True:
            await asyncio.sleep(LOOK_S)
            last, seen = seen, await asyncio.to_thread(_content, path)
            if seen == last and seen not in (b"", before):
                before = seen
                await self.look()


@asynccontextmanager
async def following(loaded: Loaded, apply: Apply) -> AsyncIterator[None]:
    """Follow the file of these settings, if they have one, while the block lasts."""
    task = asyncio.create_task(Follower(loaded, apply).run(), name="settings") if loaded.path else None
    try:
        yield
    finally:
        await end(task)


def _taken(settings: Settings, fresh: Settings, keys: Iterable[str]) -> Settings:
    """The settings, but for these keys as the fresh ones have them."""
    made: dict[str, Section] = {}
    for section, _, name in (key.partition(".") for key in keys):
        part: Section = made.get(section) or getattr(settings, section)
        made[section] = part.model_copy(update={name: getattr(getattr(fresh, section), name)})
    return settings.model_copy(update=made)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""
