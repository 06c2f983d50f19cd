"""When and whether a failed run is tried again."""

from dataclasses import dataclass, replace
from typing import Any

from rota.domain.durations import LONGEST_MS
from rota.domain.errors import Invalid

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how soon. Delays grow as `delay_ms * rate ** (tries - 1)`, capped, ±`jitter` of it by chance."""

    retries: int = 3
    delay_ms: int = 10_000
    rate: float = 2.0
    cap_ms: int = HOUR_MS
    jitter: float = 0.1
    only_on: tuple[str, ...] = ()
    """Error names that are retried; empty: all. A name is an exception's class name, or that of one of its bases."""
    never_on: tuple[str, ...] = ()
    """Error names that end the run at once."""

    def wants(self, errors: tuple[str, ...]) -> bool:
        """Whether an error with these class names (itself and its bases) is worth another try."""
        if any(name in self.never_on for name in errors):
            return False
        return not self.only_on or any(name in self.only_on for name in errors)

    def delay(self, tries: int, chance: float) -> int:
        """Milliseconds to wait after the `tries`-th try failed; `chance` is drawn from [0, 1)."""
        grown = self.delay_ms * self.rate ** min(max(tries - 1, 0), 64)
        base = min(grown, float(self.cap_ms))
        return max(0, round(base * (1 + self.jitter * (2 * chance - 1))))


NO_RETRY = Retry(retries=0)
ONCE = frozenset({"shell", "script"})
"""Executors whose tasks are not retried unless somebody says so: half a script done twice may do harm."""


@dataclass(frozen=True, slots=True)
class Defaults:
    """What holds for tasks that do not say otherwise."""

    attempt_ms: int | None = 300_000
    policy: Retry = Retry()

    def retry(self, executor: str) -> Retry:
        """The policy of a task that names none."""
        return replace(self.policy, retries=0) if executor in ONCE else self.policy


RETRY_LIMIT = 1_000


def check_retry(retry: Retry) -> Retry:
    """The policy if it can be followed, else `Invalid`."""
    numbers: tuple[Any, ...] = (retry.retries, retry.delay_ms, retry.cap_ms, retry.rate, retry.jitter)
    kinds = (int, int, int, int | float, int | float)
    if any(isinstance(one, bool) for one in numbers) or not all(map(isinstance, numbers, kinds)):
        raise Invalid("retry", "retries, delay_ms and cap_ms are whole numbers, rate and jitter are numbers")
    lists: tuple[Any, ...] = (retry.only_on, retry.never_on)
    for names in lists:
        if not isinstance(names, tuple) or not all(isinstance(name, str) for name in names):
            raise Invalid("retry", 'only_on and never_on are tuples of error names, such as ("TimeoutError",)')
    if not 0 <= retry.retries <= RETRY_LIMIT:
        raise Invalid("retries", f"{retry.retries} is not between 0 and {RETRY_LIMIT}")
    if not all(0 <= delay <= LONGEST_MS for delay in (retry.delay_ms, retry.cap_ms)):
        raise Invalid("retry", "delay and cap are between 0 and ten years")
    if not 0 < retry.rate <= 100 or not 0 <= retry.jitter <= 1:
        raise Invalid("retry", "rate is in (0, 100], jitter in [0, 1]")
    return retry
