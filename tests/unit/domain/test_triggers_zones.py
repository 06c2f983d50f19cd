import struct
import zoneinfo

import pytest

from rota.domain import zones
from rota.domain.triggers import Cron

MAY_12, MARCH_29, OCTOBER_25 = (day * zones.DAY for day in (20_585, 20_541, 20_751))  # 2026
HOUR = 3_600


def forget():
    zones.zone.cache_clear()
    zoneinfo.ZoneInfo.clear_cache()


@pytest.fixture
def zone_data(tmp_path):
    """A folder of zone data that comes before that of the machine."""
    zoneinfo.reset_tzpath(to=[str(tmp_path), *zoneinfo.TZPATH])
    yield tmp_path
    zoneinfo.reset_tzpath()
    forget()


def fixed_zone(offset):
    """A zone data file, format of RFC 9636, version 1: no changes, one offset, one abbreviation."""
    counts = struct.pack(">6l", 0, 0, 0, 0, 1, 4)
    return b"TZif" + bytes(16) + counts + struct.pack(">lbb", offset, 0, 0) + b"XYZ\0"


def changes(name, end):
    """(instant, seconds by which the clocks moved) from 1970 on, by walking from span to span."""
    zone, at, found = zones.zone(name), 0, []
    while at < end:
        span = zone.span_at(at)
        assert span.start <= at < span.end
        if at == span.start and span.offset != span.before:
            found.append((at, span.offset - span.before))
        at = span.end
    return found


def test_all_changes_of_a_zone_are_found():
    assert changes("UTC", 7_289_654_400) == []
    assert changes("Asia/Kathmandu", 7_289_654_400) == [(504_901_800, 900)]
    assert changes("Africa/Monrovia", 7_289_654_400) == [(63_593_070, 2_670)]
    assert changes("Europe/Berlin", 400_000_000) == [
        (323_830_800, HOUR),
        (338_950_800, -HOUR),
        (354_675_600, HOUR),
        (370_400_400, -HOUR),
        (386_125_200, HOUR),
    ]
    assert (1_325_239_200, 24 * HOUR) in changes("Pacific/Apia", 1_400_000_000)


def test_changes_are_found_whichever_instant_is_asked_first():
    late = zones.zone("Europe/Berlin").span_at(OCTOBER_25 + HOUR)
    assert (late.start, late.offset, late.before) == (OCTOBER_25 + HOUR, HOUR, 2 * HOUR)
    assert zones.zone("Europe/Berlin").span_at(OCTOBER_25 + HOUR - 1).end == OCTOBER_25 + HOUR


def test_new_zone_data_is_used_by_triggers_that_exist(zone_data):
    trigger = Cron("0 0 * * *", "Europe/Berlin")
    assert trigger.after(MAY_12 * 1000) == (MAY_12 + 22 * HOUR) * 1000
    (zone_data / "Europe").mkdir()
    (zone_data / "Europe" / "Berlin").write_bytes(fixed_zone(5 * HOUR))
    assert trigger.after(MAY_12 * 1000) == (MAY_12 + 22 * HOUR) * 1000
    forget()
    assert trigger.after(MAY_12 * 1000) == (MAY_12 + 19 * HOUR) * 1000


def test_utc_needs_no_zone_data(zone_data):
    (zone_data / "UTC").write_bytes(b"damaged")
    forget()
    assert zones.zone("UTC").offset_at(MAY_12) == 0


def test_a_damaged_zone_is_refused(zone_data):
    (zone_data / "Damaged").write_bytes(b"no zone data at all")
    with pytest.raises(ValueError, match="timezone: 'Damaged' is no known time zone"):
        zones.zone("Damaged")
