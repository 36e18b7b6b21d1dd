"""Whom to tell, in which order, and when: the section `oncall` of `andon.yaml`, or of the file that it names."""

from collections.abc import Collection, Iterator
from datetime import timedelta
from typing import Annotated

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import MILLISECOND_NS, rfc3339
from andoncord.respond.rota import WALL, WEEKDAYS, Rota, Wall, Weekday, gaps, local, people_of, person_at, wall, zone_of
from andoncord.respond.steps import duration_ms

TOGETHER = ", "
"""Between the names of people who share a channel."""
ONCALL = "oncall"
"""The name that stands for the escalation's levels."""

Duration = Annotated[str, msgspec.Meta(pattern="^[1-9][0-9]*(s|m|h)$")]
Hours = Annotated[str, msgspec.Meta(pattern=WALL[:-1] + "-" + WALL[1:])]


class Person(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Somebody who answers. The key they stand under is the name they sign in with."""

    channels: tuple[str, ...] = ()
    """How they are reached: names under `channels`, all at once."""


class Level(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One level of the escalation."""

    who: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]
    """Rotas, people or channels."""
    wait: Duration = "5m"
    """How long an acknowledgement is waited for before the next level is told."""


class Quiet(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When notices that can wait do wait, and how long they are gathered at other times."""

    time_zone: str = "UTC"
    hours: Hours = "00:00-00:00"
    """No such notice goes out in these hours; the same time twice is none."""
    batch: Duration = "15m"


class Digest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """When the weekly digest goes out."""

    time_zone: str = "UTC"
    day: Weekday = "mon"
    at: Wall = "09:00"


class Escalation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who is told first, who next, and until when it goes on. Frozen into an incident at its first page."""

    levels: Annotated[tuple[Level, ...], msgspec.Meta(min_length=1)]
    loops: Annotated[int, msgspec.Meta(ge=1, le=20)] = 3
    """How often it goes through all levels before it gives up, which is written into the record."""
    stale_after: Duration = "1h"
    """How long an acknowledgement holds; if the incident is open then, it begins again."""
    quiet: Quiet = Quiet()
    digest: Digest = Digest()


class Oncall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """People, rotas and the escalation."""

    people: dict[str, Person] = {}
    rotas: dict[str, Rota] = {}
    escalation: Escalation | None = None

    def check(self, channels: Collection[str], *, place: str = "oncall") -> None:
        """Whether everybody that it names can be reached at all.

        Raises:
            CallerError: with place and remedy.
        """
        names = [*self.people, *self.rotas, *channels]
        if twice := next((name for name in names if names.count(name) > 1 or name == ONCALL), ""):
            raise CallerError(
                f"{twice!r} names two things", place=place, remedy="people, rotas and channels need names of their own"
            )
        for name, person in self.people.items():
            at = f"{place}.people.{name}.channels"
            if not person.channels:
                raise CallerError(f"{name} cannot be reached", place=at, remedy="name a channel")
            _refuse_unknown(person.channels, channels, "channel", at)
        for name, rota in self.rotas.items():
            rota.check(f"{place}.rotas.{name}")
            _refuse_unknown(people_of(rota), self.people, "person", f"{place}.rotas.{name}")
        if self.escalation is not None:
            for index, level in enumerate(self.escalation.levels):
                _refuse_unknown(level.who, names, "rota, person or channel", f"{place}.escalation.levels[{index}].who")
            for word in ("quiet", "digest"):
                _check_zone(getattr(self.escalation, word).time_zone, f"{place}.escalation.{word}.time_zone")

    def doubts(self, now_ns: int) -> Iterator[tuple[str, str]]:
        """What will hurt in the night, each with its remedy."""
        for name, rota in self.rotas.items():
            for gap in gaps(rota, now_ns)[:3]:
                text = f"nobody is on call in rota {name} from {rfc3339(gap.start_ns)} until {rfc3339(gap.end_ns)}"
                yield text, "add a layer below, or an override"
        if self.escalation is None:
            if self.people or self.rotas:
                yield "there are people or rotas, and no escalation that tells them", "add oncall.escalation"
            return
        used = {name for level in self.escalation.levels for name in level.who}
        for name in self.rotas:
            if name not in used:
                yield f"no level of the escalation names rota {name}", "add it to a level, or remove the rota"
        if len({self.reached_by(name) for level in self.escalation.levels for name in level.who}) == 1:
            yield "the whole escalation depends on one channel", "give somebody a second one"

    def reached_by(self, name: str) -> frozenset[str]:
        """The channels behind a name."""
        if name in self.rotas:
            found = (self.people[person].channels for person in people_of(self.rotas[name]))
            return frozenset(channel for channels in found for channel in channels)
        return frozenset(self.people[name].channels if name in self.people else (name,))

    def targets(self, who: Collection[str], now_ns: int) -> tuple[list[tuple[str, str]], list[str]]:
        """The channels behind names now, each once, with whom they are for; and what nobody stands behind.

        People who share a channel are told by one message, and stand beside each other; a channel of its own is for nobody.
        """
        found: dict[str, dict[str, None]] = {}
        missing: list[str] = []
        for name in who:
            person = person_at(self.rotas[name], now_ns) if name in self.rotas else name if name in self.people else ""
            if name in self.rotas and not person:
                missing.append(f"nobody is on call in rota {name}")
            elif person:
                for channel in self.people[person].channels:
                    found.setdefault(channel, {})[person] = None
            else:
                found.setdefault(name, {})
        return [(channel, TOGETHER.join(people)) for channel, people in found.items()], missing


def wait_ns(level: Level) -> int:
    """How long an acknowledgement is waited for."""
    return duration_ms(level.wait) * MILLISECOND_NS


def released_ns(quiet: Quiet, now_ns: int) -> int:
    """When a notice of now goes out: at the end of its batch, or of the quiet hours that this falls into.

    >>> quiet = Quiet(hours="22:00-07:00", batch="1h")
    >>> rfc3339(released_ns(quiet, 1_767_297_900_000_000_000)), rfc3339(released_ns(quiet, 1_767_301_500_000_000_000))
    ('2026-01-01T21:00:00.000Z', '2026-01-02T07:00:00.000Z')
    """
    batch_ns = duration_ms(quiet.batch) * MILLISECOND_NS
    due_ns = (now_ns // batch_ns + 1) * batch_ns
    since, _, until = quiet.hours.partition("-")
    if since == until:
        return due_ns
    today = local(quiet.time_zone, due_ns).date()
    for day in (today - timedelta(days=1), today):
        last = day if since < until else day + timedelta(days=1)
        start_ns, end_ns = wall(quiet.time_zone, day, since), wall(quiet.time_zone, last, until)
        if start_ns <= due_ns < end_ns:
            return end_ns
    return due_ns


def digest_ns(digest: Digest, now_ns: int) -> int:
    """When the next digest goes out.

    >>> rfc3339(digest_ns(Digest(day="mon", at="09:00", time_zone="Europe/Berlin"), 1_767_225_600_000_000_000))
    '2026-01-05T08:00:00.000Z'
    """
    today = local(digest.time_zone, now_ns).date()
    for ahead in range(9):
        day = today + timedelta(days=ahead)
        due_ns = wall(digest.time_zone, day, digest.at)
        if WEEKDAYS[day.weekday()] == digest.day and due_ns > now_ns:
            return due_ns
    raise AssertionError("a week has every day")


def _refuse_unknown(named: Collection[str], known: Collection[str], what: str, place: str) -> None:
    for name in named:
        if name not in known:
            shown = ", ".join(sorted(known)) or "none"
            raise CallerError(f"there is no {what} {name!r}", place=place, remedy=f"known: {shown}")


def _check_zone(name: str, place: str) -> None:
    try:
        zone_of(name)
    except ValueError as error:
        raise CallerError(str(error), place=place, remedy="use a name such as Europe/Berlin or UTC") from None
