"""Who is on call, and when that changes: layers, handovers at a wall clock's time, overrides.

A shift is counted in days of the rota's time zone, so that the handover stays at 09:00 where the clocks are changed; that shift
lasts 23 or 25 hours. An hour that the clocks skip is read as the one after it, an hour that comes twice as its first.
"""

import itertools
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import cache
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import DAY_NS, SECOND_NS

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WEEKDAYS: tuple[Weekday, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
WALL = r"^([01][0-9]|2[0-3]):[0-5][0-9]$"
Wall = Annotated[str, msgspec.Meta(pattern=WALL)]
"""A time of day such as `09:00`."""
AHEAD_NS = 7 * DAY_NS
"""How far ahead gaps are looked for before the night."""
LONGEST_NS = 90 * DAY_NS
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Layer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """People who take turns."""

    people: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    starts: date
    """The day of the first handover; the first of `people` begins."""
    handover: Wall = "09:00"
    every: Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]?[dw]$")] = "1w"
    """How long a turn is: `1d`, `1w`, `2w`."""
    days: tuple[Weekday, ...] = WEEKDAYS
    """Days on which it is on call; with hours that pass midnight, the days on which they begin."""
    hours: Annotated[str, msgspec.Meta(pattern=WALL[:-1] + "-" + WALL[1:])] = "00:00-00:00"
    """From when until when on these days, such as `18:00-09:00`; the same time twice is the whole day."""


class Override(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody takes over for a while, whoever would have been on call."""

    person: str
    since: datetime = msgspec.field(name="from")
    """Without an offset it is the rota's own time."""
    until: datetime


class Rota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A rota. A later layer stands before an earlier one where both have somebody."""

    time_zone: str
    layers: Annotated[tuple[Layer, ...], msgspec.Meta(min_length=1)]
    overrides: tuple[Override, ...] = ()

    def check(self, place: str) -> None:
        """Whether it can be read at all.

        Raises:
            CallerError: with place and remedy.
        """
        try:
            zone_of(self.time_zone)
        except ValueError as error:
            remedy = "use a name such as Europe/Berlin or UTC; where no time zone is known, install tzdata"
            raise CallerError(str(error), place=f"{place}.time_zone", remedy=remedy) from None
        for index, layer in enumerate(self.layers):
            if not layer.days:
                raise CallerError("names no day", place=f"{place}.layers[{index}].days", remedy="leave it out for every day")
        for index, override in enumerate(self.overrides):
            if instant_of(self, override.until) <= instant_of(self, override.since):
                raise CallerError("ends before it begins", place=f"{place}.overrides[{index}].until")


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One person from one change to the next; an empty `person` is a gap. Nanoseconds UTC, `end_ns` excluded."""

    start_ns: int
    end_ns: int
    person: str


@cache
def zone_of(name: str) -> ZoneInfo:
    """The time zone with this name.

    Raises:
        ValueError: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r}") from None


def wall(rota_zone: str, day: date, at: str) -> int:
    """The instant at which a zone's clocks show `at` on `day`.

    >>> before, after = wall("Europe/Berlin", date(2026, 10, 24), "09:00"), wall("Europe/Berlin", date(2026, 10, 25), "09:00")
    >>> (after - before) // (3_600 * SECOND_NS)
    25
    """
    hour, minute = map(int, at.split(":"))
    shown = datetime.combine(day, time(hour, minute), tzinfo=zone_of(rota_zone))
    return nanoseconds(shown)


def nanoseconds(at: datetime) -> int:
    """An aware moment as an instant."""
    past = at.astimezone(UTC) - EPOCH
    return (past.days * 86_400 + past.seconds) * SECOND_NS + past.microseconds * 1_000


def local(zone: str, at_ns: int) -> datetime:
    """An instant as a zone's clocks show it, to the second."""
    return (EPOCH + timedelta(seconds=at_ns // SECOND_NS)).astimezone(zone_of(zone))


def instant_of(rota: Rota, at: datetime) -> int:
    """A moment of the settings as an instant."""
    return nanoseconds(at if at.tzinfo else at.replace(tzinfo=zone_of(rota.time_zone)))


def person_at(rota: Rota, at_ns: int) -> str:
    """Who is on call; empty where nobody is."""
    for override in reversed(rota.overrides):
        if instant_of(rota, override.since) <= at_ns < instant_of(rota, override.until):
            return override.person
    for layer in reversed(rota.layers):
        if _is_on(rota.time_zone, layer, at_ns) and (person := _turn(rota.time_zone, layer, at_ns)):
            return person
    return ""


def spans(rota: Rota, start_ns: int, end_ns: int) -> tuple[Span, ...]:
    """Who is on call from `start_ns` to `end_ns`, change by change; together they cover it without overlap.

    Cost: grows with the days between the two, at most 90.
    """
    assert start_ns <= end_ns <= start_ns + LONGEST_NS
    found: list[Span] = []
    marks = sorted({start_ns, end_ns, *(at for at in _changes(rota, start_ns, end_ns) if start_ns < at < end_ns)})
    for start, end in itertools.pairwise(marks):
        person = person_at(rota, start)
        if found and found[-1].person == person:
            found[-1] = msgspec.structs.replace(found[-1], end_ns=end)
        else:
            found.append(Span(start_ns=start, end_ns=end, person=person))
    return tuple(found)


def gaps(rota: Rota, now_ns: int, *, ahead_ns: int = AHEAD_NS) -> tuple[Span, ...]:
    """When nobody is on call in the time ahead."""
    return tuple(span for span in spans(rota, now_ns, now_ns + ahead_ns) if not span.person)


def people_of(rota: Rota) -> tuple[str, ...]:
    """Everybody that the rota names, each once."""
    named = [person for layer in rota.layers for person in layer.people]
    return tuple(dict.fromkeys([*named, *(override.person for override in rota.overrides)]))


def _turn(zone: str, layer: Layer, at_ns: int) -> str:
    """Whose turn it is; empty before the first handover."""
    length = _days(layer.every)
    number = (local(zone, at_ns).date() - layer.starts).days // length
    # The day alone does not say on which side of the handover the moment is.
    while number >= 0 and at_ns < wall(zone, layer.starts + timedelta(days=number * length), layer.handover):
        number -= 1
    return layer.people[number % len(layer.people)] if number >= 0 else ""


def _is_on(zone: str, layer: Layer, at_ns: int) -> bool:
    today = local(zone, at_ns).date()
    return any(start <= at_ns < end for start, end in _windows(zone, layer, (today - timedelta(days=1), today)))


def _windows(zone: str, layer: Layer, days: Sequence[date]) -> Iterator[tuple[int, int]]:
    """From when until when the layer is on call, for hours that begin on `days`."""
    since, _, until = layer.hours.partition("-")
    for day in days:
        if WEEKDAYS[day.weekday()] in layer.days:
            last = day if since < until else day + timedelta(days=1)
            yield wall(zone, day, since), wall(zone, last, until)


def _changes(rota: Rota, start_ns: int, end_ns: int) -> Iterator[int]:
    """Every instant at which somebody else may be on call."""
    first = local(rota.time_zone, start_ns).date() - timedelta(days=1)
    last = local(rota.time_zone, end_ns).date()
    days = [first + timedelta(days=number) for number in range((last - first).days + 1)]
    for layer in rota.layers:
        for start, end in _windows(rota.time_zone, layer, days):
            yield from (start, end)
        length = _days(layer.every)
        for day in days:
            if day >= layer.starts and (day - layer.starts).days % length == 0:
                yield wall(rota.time_zone, day, layer.handover)
    for override in rota.overrides:
        yield from (instant_of(rota, override.since), instant_of(rota, override.until))


def _days(every: str) -> int:
    found = re.fullmatch("([0-9]+)([dw])", every)
    assert found is not None, "checked by the schema"
    return int(found[1]) * (7 if found[2] == "w" else 1)
