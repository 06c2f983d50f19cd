"""Time zones as spans of constant offset: what a wall clock in a zone shows at an instant.

Everything here counts in whole seconds. An instant is seconds since the Unix epoch, UTC; a wall second is what
the clock of the zone shows, counted in seconds since 1970-01-01T00:00:00 of that clock (instant + offset).
Where the offset grows the wall clock leaves out a gap; where it falls the wall clock shows a fold twice.
"""

import re
from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rota.domain.errors import InvalidTrigger

DAY = 86_400

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,31}){0,2}")
# Entries of a zone directory that are no zones: leap-second clocks, copies, whatever this machine is set to.
_NOT_ZONES = frozenset({"Factory", "localtime", "posix", "posixrules", "right"})
_REMEDY = "a name of the IANA database such as Europe/Berlin or UTC"
_CHUNK_BITS = 25  # chunks of 2**25 seconds, about 388 days
# No zone has changed its offset twice within 6.9 days since 1970 (tzdata 2025b), so probes three days apart see all.
_PROBE = 3 * DAY


class Span(NamedTuple):
    """A stretch of instants, ``start <= instant < end``, with one offset; ``before`` was the offset until ``start``.

    A span may also begin where nothing changes; then ``before == offset``.
    """

    start: int
    end: int
    offset: int
    before: int


class Zone:
    """The offsets of one zone, found on demand and kept; instants from 1970 to 2201."""

    __slots__ = ("_chunks", "_tzinfo", "name")

    def __init__(self, name: str, info: tzinfo) -> None:
        self.name = name
        self._tzinfo = info
        self._chunks: dict[int, tuple[Span, ...]] = {}

    def offset_at(self, instant: int) -> int:
        """Wall clock minus UTC at an instant, in seconds; what held in 1970 is taken to have held before."""
        offset = datetime.fromtimestamp(max(0, instant), self._tzinfo).utcoffset()
        return 0 if offset is None else offset.days * DAY + offset.seconds

    def span_at(self, instant: int) -> Span:
        """The span that holds an instant; its start is at most three days early if it began without a change."""
        number = instant >> _CHUNK_BITS
        spans = self._chunks.get(number)
        if spans is None:
            spans = self._chunks[number] = self._survey(number)
        return next(span for span in spans if instant < span.end)

    def instants(self, wall: int) -> tuple[int, ...]:
        """The instants at which the wall clock shows a wall second: none in a gap, two in a fold, else one."""
        offsets = {self.offset_at(wall - DAY), self.offset_at(wall + DAY)}
        return tuple(sorted(wall - offset for offset in offsets if self.offset_at(wall - offset) == offset))

    def _survey(self, number: int) -> tuple[Span, ...]:
        first, stop = number << _CHUNK_BITS, (number + 1) << _CHUNK_BITS
        # Starting early keeps a change just before the chunk in sight: a fold may reach across the border.
        start = at = first - _PROBE
        before = offset = self.offset_at(start)
        spans: list[Span] = []
        while at < stop - 1:
            ahead = min(at + _PROBE, stop - 1)
            if self.offset_at(ahead) != offset:
                change = self._change(at, ahead)
                spans.append(Span(start, change, offset, before))
                start, before, offset = change, offset, self.offset_at(ahead)
            at = ahead
        spans.append(Span(start, stop, offset, before))
        return tuple(span for span in spans if span.end > first)

    def _change(self, low: int, high: int) -> int:
        """The first instant after ``low`` with the offset of ``high``, by halving."""
        offset = self.offset_at(high)
        while high - low > 1:
            middle = (low + high) // 2
            if self.offset_at(middle) == offset:
                high = middle
            else:
                low = middle
        return high


@lru_cache(maxsize=1024)
def zone(name: str) -> Zone:
    """The zone of an IANA name such as ``Europe/Berlin``.

    Raises InvalidTrigger for anything else: paths, empty text, files of the zone data that are no zones.
    """
    refusal = InvalidTrigger("timezone", f"{name[:60]!r} is no known time zone; write {_REMEDY}")
    if not _NAME.fullmatch(name) or name.partition("/")[0] in _NOT_ZONES:
        raise refusal
    try:
        # UTC must work on machines without zone data.
        return Zone(name, UTC if name == "UTC" else ZoneInfo(name))
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise refusal from None


def reload() -> None:
    """Forget all zones, so that zone data updated on this machine is read anew."""
    zone.cache_clear()
    ZoneInfo.clear_cache()
