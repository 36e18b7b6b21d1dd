"""Time as integer nanoseconds UTC. Floats never hold a point in time."""

from typing import NewType

Instant = NewType("Instant", int)
"""Nanoseconds since 1970-01-01T00:00:00Z."""

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000_000_000
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS


def seconds_between(start: int, end: int) -> float:
    """Seconds from `start` to `end`, both in nanoseconds; negative when `end` is earlier.

    >>> seconds_between(1_000_000_000, 2_500_000_000)
    1.5
    """
    return (end - start) / SECOND_NS


def rfc3339(at: int) -> str:
    """An instant as RFC 3339 in UTC with milliseconds.

    >>> rfc3339(Instant(1_767_225_600_123_000_000))
    '2026-01-01T00:00:00.123Z'
    """
    days, rest_ns = divmod(at, DAY_NS)
    # Howard Hinnant's civil_from_days: exact for every day, needs no clock and no time zone.
    shifted = days + 719_468
    era, day_of_era = divmod(shifted, 146_097)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    month_index = (5 * day_of_year + 2) // 153
    day = day_of_year - (153 * month_index + 2) // 5 + 1
    month = month_index + 3 if month_index < 10 else month_index - 9
    year = year_of_era + era * 400 + (1 if month <= 2 else 0)
    second_of_day, nanosecond = divmod(rest_ns, SECOND_NS)
    hour, second_of_hour = divmod(second_of_day, 3_600)
    minute, second = divmod(second_of_hour, 60)
    millisecond = nanosecond // MILLISECOND_NS
    return f"{year:04d}-{month:02d}-{day:02d}T{hour:02d}:{minute:02d}:{second:02d}.{millisecond:03d}Z"
