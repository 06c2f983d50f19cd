"""Progress: whether what this node's duties wait for changes.

A step may take as long as it likes, over a long history or a slow store. But each answer that it waits for comes, or
fails to: one that does neither hangs, and would hold up its duty for as long as the term is renewed beside it.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

HUNG_MS = 30_000
"""A step that has waited for one answer for so long hangs."""
LOOKS = 6
"""Of which at least so many found it waiting: between two the store may have been away, or the loop blocked."""


class Progress:
    """Of the steps under way. All on the main loop."""

    def __init__(self) -> None:
        self._steps: dict[str, tuple[asyncio.Task[Any], int]] = {}
        """By duty: what does its step, and for how many ms that may wait for one answer."""
        self._waits: dict[str, tuple[object, int]] = {}
        """By duty: what its step waits for, and for how many ms by now."""
        self._cut = ""

    @contextmanager
    def step(self, name: str, patience_ms: int = HUNG_MS) -> Iterator[None]:
        """While a step of that duty takes. Raises `TimeoutError` where it is cut."""
        if task := asyncio.current_task():
            self._steps[name] = task, patience_ms
        try:
            yield
        finally:
            self._steps.pop(name, None)
            if task and self._cut == name:
                self._cut = ""
                # Whatever became of the cut: one that is left counted would make the next one an end of the task.
                if not task.uncancel() and isinstance(sys.exception(), asyncio.CancelledError):
                    raise TimeoutError(f"a call had no answer for {patience_ms // 1000} s, and was given up") from None

    def look(self, passed_ms: int) -> str:
        """The duty whose step hangs, empty if none does; `passed_ms` since the look before, of which so much counts."""
        before, self._waits = self._waits, {}
        for name, (task, _) in self._steps.items():
            awaited = _awaited(task)
            same, waited_ms = before.get(name, (None, 0))
            self._waits[name] = awaited, waited_ms + min(passed_ms, HUNG_MS // LOOKS) if awaited is same else 0
        # Of all that wait the first one: the others may wait behind it, as those who read a SQLite file do.
        ranks = [(waited_ms, self._steps[name][1], name) for name, (_, waited_ms) in self._waits.items()]
        waited_ms, patience_ms, first = max(ranks, default=(0, 0, ""))
        return first if waited_ms >= patience_ms else ""

    def forget(self) -> None:
        """What was waited for until now does not count."""
        self._waits.clear()

    def cut(self, name: str) -> None:
        """End the step of a duty, as a crash would; it begins anew."""
        if name in self._steps:
            self._cut = name
            self._steps[name][0].cancel()


def _awaited(task: asyncio.Task[Any]) -> object:
    """The innermost thing that a task waits for: another one for each answer."""
    at: object = task.get_coro()
    while (inner := getattr(at, "cr_await", None)) is not None:
        at = inner
    return at
