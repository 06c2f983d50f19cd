"""Time zones as spans of constant offset: what a wall clock in a zone shows at an instant.

Everything here counts in whole seconds. An instant is seconds since the Unix epoch, UTC; a wall second is what
the clock of the zone shows, counted in seconds since 1970-01-01T00:00:00 of that clock (instant + offset).
Where the offset grows the wall clock leaves out a gap; where it falls the wall clock shows a fold twice.
"""

import re
from bisect import bisect_left
from datetime import UTC, datetime, timedelta, tzinfo
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rota.domain.errors import InvalidTrigger

DAY = 86_400

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_+-]{0,31}(/[A-Za-z0-9_+-]{1,31}){0,2}")
# Entries of a zone directory that are no zones: leap-second clocks, copies, whatever this machine is set to.
_NOT_ZONES = frozenset({"Factory", "localtime", "posix", "posixrules", "right"})
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


class Zone(NamedTuple):
    """The offsets of one zone, from 1970 to 2201."""

    name: str
    info: tzinfo

    def offset_at(self, instant: int) -> int:
        """Wall clock minus UTC at an instant, in seconds; what held in 1970 is taken to have held before."""
        offset = datetime.fromtimestamp(max(0, instant), self.info).utcoffset()
        return 0 if offset is None else offset // timedelta(seconds=1)

    def span_at(self, instant: int) -> Span:
        """The span that holds an instant; its start is at most three days early if it began without a change."""
        return next(span for span in _survey(self, instant >> _CHUNK_BITS) if instant < span.end)


@cache
def _survey(zone: Zone, number: int) -> list[Span]:
    """The spans of a chunk of instants, by halving between probes that differ."""
    first, stop = number << _CHUNK_BITS, (number + 1) << _CHUNK_BITS
    # Starting early keeps a change just before the chunk in sight: a fold may reach across the border.
    start = at = first - _PROBE
    before = offset = zone.offset_at(start)
    spans: list[Span] = []
    while at < stop - 1:
        ahead = min(at + _PROBE, stop - 1)
        found = zone.offset_at(ahead)
        if found != offset:
            change = at + bisect_left(range(at, ahead), True, key=lambda instant: zone.offset_at(instant) == found)
            spans.append(Span(start, change, offset, before))
            start, before, offset = change, offset, found
        at = ahead
    spans.append(Span(start, stop, offset, before))
    return [span for span in spans if span.end > first]


@lru_cache(maxsize=1024)
def zone(name: str) -> Zone:
    """The zone of an IANA name such as ``Europe/Berlin``.

    Raises InvalidTrigger for anything else: paths, empty text, files of the zone data that are no zones.
    """
    remedy = "write a name of the IANA database such as Europe/Berlin or UTC"
    refusal = InvalidTrigger("timezone", f"{name[:60]!r} is no known time zone; {remedy}")
    if not _NAME.fullmatch(name) or name.partition("/")[0] in _NOT_ZONES:
        raise refusal
    try:
        # UTC must work on machines without zone data.
        return Zone(name, UTC if name == "UTC" else ZoneInfo(name))
    except (ZoneInfoNotFoundError, OSError, ValueError):
        raise refusal from None
