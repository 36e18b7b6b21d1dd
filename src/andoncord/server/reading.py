"""Reading the record back: the fleet map, traces, what was touched, figures over time, and what comes in now."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from andoncord.investigate.runs import Place, RunSeen, page, runs
from andoncord.investigate.series import MAX_POINTS, Series, series
from andoncord.investigate.touched import touched
from andoncord.kernel.errors import CallerError, NotFoundError
from andoncord.kernel.time import DAY_NS, MINUTE_NS, SECOND_NS, rfc3339, seconds_between
from andoncord.server.control import Control
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.fleet import load
from andoncord.telemetry.fleet_view import Alive, DeclaredAgent, Fleet
from andoncord.telemetry.folding import fold, levels
from andoncord.telemetry.stitch import stitch
from andoncord.telemetry.transcript import transcript

MAX_EVENTS = 20_000
"""Events with texts read for one answer about an agent; what is older is left out, and the answer says so."""
MAX_COUNTED = 100_000
"""Likewise, of events without what was said, where they are only counted."""
MAX_TRACE = 50_000
"""Events of one trace that are read for a view of it, the latest."""
MAX_PLACE = 2**62
LAST_NS = 230 * 365 * DAY_NS
"""The last instant that may be asked about, near the year 2200: later ones do not fit where times are kept."""
KINDS = frozenset(EventKind)


class Reading:
    """What API, console and command line read. Every method may be called on the event loop: the store is asked on a thread.

    Args:
        declared: the agents of the settings, as the fleet map shows them.
    """

    def __init__(self, *, control: Control, declared: Sequence[DeclaredAgent]) -> None:
        self._control = control
        self._telemetry = control.telemetry
        self._declared = tuple(declared)

    async def fleet(self) -> list[dict[str, Any]]:
        """One line for each agent, by name."""
        alive = self._alive()
        return await asyncio.to_thread(lambda: self._map(alive).lines())

    async def agent(self, name: str) -> dict[str, Any]:
        """Everything about one agent.

        Raises:
            NotFoundError: nobody declared it, and it was never heard of.
        """
        alive = self._alive()

        def read() -> dict[str, Any]:
            fleet = self._map(alive)
            found = fleet.agent(name)
            if found is None:
                known = ", ".join(fleet.names()[:10]) or "none yet"
                raise NotFoundError(f"there is no agent {name!r}", remedy=f"known agents: {known}")
            return found

        return await asyncio.to_thread(read)

    async def trace(self, trace_id: str, *, folded: bool = False) -> tuple[Event, ...]:
        """The events of one trace by start, each with the agent that its ancestors name.

        Raises:
            NotFoundError: there is none.
        """
        events = await asyncio.to_thread(self._telemetry.trace, trace_id.lower(), limit=MAX_TRACE)
        if not events:
            raise NotFoundError(f"there is no trace {trace_id!r}")

        def read() -> tuple[Event, ...]:
            whole = stitch(events)
            return _by_start(fold(whole) if folded else whole)

        return await asyncio.to_thread(read)

    async def whole(self, trace_id: str) -> dict[str, Any]:
        """One trace for a person: folded spans with their depth, the transcript, what was touched.

        Raises:
            NotFoundError: there is none.
        """
        events = await self.trace(trace_id)

        def read() -> dict[str, Any]:
            spans = [{"depth": depth, **shown_event(event)} for depth, event in levels(_by_start(fold(events)))]
            steps = [msgspec.to_builtins(step) for step in transcript(events)]
            return {"trace_id": trace_id.lower(), "spans": spans, "steps": steps, "touched": shown_touched(touched(events))}

        return await asyncio.to_thread(read)

    async def transcript(self, trace_id: str, *, run: str = "") -> list[dict[str, Any]]:
        """What the models of a trace saw and said, step by step.

        Raises:
            NotFoundError: there is no such trace, or no such run in it.
        """
        events = _of_run(await self.trace(trace_id), run)
        steps = await asyncio.to_thread(lambda: list(transcript(events)))
        return [msgspec.to_builtins(step) for step in steps]

    async def touched_in_trace(self, trace_id: str, *, run: str = "") -> dict[str, Any]:
        """Files, commands and systems of one trace.

        Raises:
            NotFoundError: there is no such trace, or no such run in it.
        """
        events = _of_run(await self.trace(trace_id), run)
        return shown_touched(await asyncio.to_thread(touched, events))

    async def touched_by(self, agent: str, *, minutes: int, until: str = "") -> dict[str, Any]:
        """Files, commands and systems of one agent within a time.

        Raises:
            CallerError: the time is none.
        """
        since_ns, until_ns = self._window(minutes, until)
        events = await asyncio.to_thread(self._of, agent, since_ns, until_ns)
        found = shown_touched(await asyncio.to_thread(touched, stitch(events)))
        return {**found, "since_at": rfc3339(since_ns), "until_at": rfc3339(until_ns), "is_cut": len(events) >= MAX_EVENTS}

    async def runs(self, agent: str, *, minutes: int, limit: int, until: str = "", after: str = "") -> dict[str, Any]:
        """A page of the runs of one agent within a time, the latest first; the time is that of the first page.

        Raises:
            CallerError: the time is none, or the place to go on from.
        """
        since_ns, until_ns = self._window(minutes, until)
        place = Place.read(after) if after else None
        if place is not None:
            until_ns = min(place.until_ns, LAST_NS)
            since_ns = max(0, until_ns - minutes * MINUTE_NS)

        def read() -> dict[str, Any]:
            events = self._of(agent, since_ns, until_ns, with_texts=False)
            shown, further = page(runs(events), until_ns=until_ns, limit=limit, after=place)
            return {
                "items": [shown_run(run) for run in shown],
                "next": None if further is None else str(further),
                "is_cut": len(events) >= MAX_COUNTED,
            }

        return await asyncio.to_thread(read)

    async def series(self, agent: str, *, minutes: int, until: str = "", step_s: int = 60) -> dict[str, Any]:
        """One agent's figures over time.

        Raises:
            CallerError: the time is none, or has too many steps.
        """
        if not 1 <= step_s <= MAX_POINTS * 60:
            raise CallerError(f"is 1 to {MAX_POINTS * 60}", place="step_s")
        since_ns, until_ns = self._window(minutes, until)

        def read() -> dict[str, Any]:
            events = self._of(agent, since_ns, until_ns, with_texts=False)
            found = series(agent, events, since_ns=since_ns, until_ns=until_ns, step_ns=step_s * SECOND_NS, limit=MAX_COUNTED)
            return shown_series(found)

        return await asyncio.to_thread(read)

    async def tail(self, *, after: int | None, agent: str, kinds: Sequence[str], limit: int) -> dict[str, Any]:
        """Events in the order in which they were stored, after a place; without one only the place where news will begin.

        Raises:
            CallerError: a kind that there is not.
        """
        unknown = sorted(set(kinds) - KINDS)
        if unknown:
            raise CallerError(f"unknown kind {unknown[0]!r}", place="kind", remedy=f"use: {', '.join(sorted(KINDS))}")
        if after is not None and not 0 <= after <= MAX_PLACE:
            raise CallerError("is not a place", place="after", remedy="leave it out to begin with what comes")
        if after is None:
            return {"items": [], "next": await asyncio.to_thread(self._telemetry.stored)}

        def read() -> dict[str, Any]:
            # Asked before: what is stored between the two questions comes with the next page.
            last = self._telemetry.stored()
            found = self._telemetry.tail(after=after, agent=agent, kinds=kinds, limit=limit)
            items = [{"place": place, **shown_event(event)} for place, event in found]
            full = len(found) == limit
            return {"items": items, "next": found[-1][0] if full else max([after, last, *(place for place, _ in found[-1:])])}

        return await asyncio.to_thread(read)

    def _alive(self) -> dict[str, Alive]:
        """What guards and orders say now; asked on the event loop, where it changes."""
        return {each["agent"]: _alive(each) for each in self._control.fleet()}

    def _map(self, alive: Mapping[str, Alive]) -> Fleet:
        return Fleet(self._declared, load(self._telemetry.fleet()), alive, now=self._control.clock.now())

    def _of(self, agent: str, since_ns: int, until_ns: int, *, with_texts: bool = True) -> tuple[Event, ...]:
        limit = MAX_EVENTS if with_texts else MAX_COUNTED
        return self._telemetry.of_agents([agent], since_ns=since_ns, until_ns=until_ns, limit=limit, with_texts=with_texts)

    def _window(self, minutes: int, until: str) -> tuple[int, int]:
        if not 1 <= minutes <= MAX_POINTS:
            raise CallerError(f"is 1 to {MAX_POINTS}", place="minutes")
        until_ns = _instant(until) if until else self._control.clock.now()
        return until_ns - minutes * MINUTE_NS, until_ns


def _by_start(events: Iterable[Event]) -> tuple[Event, ...]:
    return tuple(sorted(events, key=lambda event: (event.start_ns, event.span_id)))


def shown_event(event: Event) -> dict[str, Any]:
    """An event as the API shows it."""
    shown: dict[str, Any] = msgspec.to_builtins(event)
    shown["start_at"], shown["end_at"] = rfc3339(event.start_ns), rfc3339(event.end_ns) if event.end_ns else None
    return shown


def _alive(agent: dict[str, Any]) -> Alive:
    instances = agent["instances"]
    return Alive(
        state=agent["state"],
        rung=agent["rung"],
        incident=agent["incident"],
        connected=sum(bool(each["connected"]) for each in instances),
        known=len(instances),
    )


def _of_run(events: tuple[Event, ...], run: str) -> tuple[Event, ...]:
    if not run:
        return events
    found = tuple(event for event in events if event.run_id == run)
    if not found:
        raise NotFoundError(f"the trace has no run {run!r}")
    return found


def shown_run(run: RunSeen) -> dict[str, Any]:
    """A run as the API shows it."""
    shown: dict[str, Any] = msgspec.to_builtins(run)
    shown["start_at"], shown["end_at"] = rfc3339(shown.pop("start_ns")), rfc3339(shown.pop("end_ns"))
    return {**shown, "duration_s": round(seconds_between(run.start_ns, run.end_ns), 3)}


def shown_series(found: Series) -> dict[str, Any]:
    """A series as the API shows it: a point for each step, those in which nothing was heard marked."""
    points: list[Any] = msgspec.to_builtins(found)["points"]
    starts = range(found.since_ns, found.until_ns, found.step_ns)
    shown = [{"at": rfc3339(at_ns), **_figures(point)} for at_ns, point in zip(starts, points, strict=True)]
    return {"agent": found.agent, "step_s": found.step_ns // SECOND_NS, "is_cut": found.is_cut, "points": shown}


def shown_touched(found: Any) -> dict[str, Any]:
    """Times as the API shows them."""
    shown: dict[str, Any] = msgspec.to_builtins(found)
    for rows in (shown["files"], shown["commands"], shown["systems"]):
        for row in rows:
            for name in ("first", "last", ""):
                field = f"{name}_ns" if name else "at_ns"
                if field in row:
                    row[f"{name}_at" if name else "at"] = rfc3339(row.pop(field))
    return shown


def _figures(point: dict[str, Any] | None) -> dict[str, Any]:
    """A point without its time; a gap says that it is one."""
    if point is None:
        return {"heard": False}
    return {"heard": True, **{name: value for name, value in point.items() if name != "at_ns"}}


def _instant(text: str) -> int:
    wrong = CallerError(
        f"{text[:40]!r} is not a time between 1970 and 2200", place="until", remedy="write 2026-01-31T12:00:00Z"
    )
    try:
        at = datetime.fromisoformat(text)
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        at_ns = int(at.timestamp() * 1_000) * 1_000_000
    except (ValueError, OverflowError):
        raise wrong from None
    if not DAY_NS <= at_ns <= LAST_NS:
        raise wrong
    return at_ns
