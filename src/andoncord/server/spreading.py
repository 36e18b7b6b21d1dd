"""What spreads: everything downstream of a wrong datum, and who influences whom."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec

from andoncord.detect.influence import Circle, Message, Messages, Turn, circles, influences
from andoncord.investigate.taint import Taint, taint
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import HOUR_NS, MINUTE_NS, rfc3339
from andoncord.server.control import Control
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.fleet import load
from andoncord.telemetry.partners import LINKED
from andoncord.telemetry.stitch import stitch

MAX_EVENTS = 100_000
"""Events read for one answer, the latest; the answer says where there were more."""
MAX_HOURS = 24 * 30
MAX_MESSAGES = 4_000
"""Messages of which the influence is worked out, the latest."""
MAX_EDGES = 300
MAX_CIRCLES = 20
MAX_DATUM = 200
KINDS = tuple(kind.value for kind in sorted(LINKED | {EventKind.RUN_STARTED, EventKind.RUN_ENDED}))
_ENDS = frozenset({EventKind.RUN_ENDED, EventKind.AGENT_INVOKED})


class Spreading:
    """What API, console and command line ask about it. The store is read on a thread."""

    def __init__(self, control: Control) -> None:
        self._control = control
        self._telemetry = control.telemetry

    async def taint(self, datum: str, *, hours: int = 24) -> dict[str, Any]:
        """What is downstream of a datum within the last hours.

        Raises:
            CallerError: no datum, or hours that there are not.
        """
        datum = datum.strip()
        if not datum or len(datum) > MAX_DATUM:
            raise CallerError(
                f"is 1 to {MAX_DATUM} characters", place="datum", remedy="name a file, a memory, a document or a span"
            )
        since_ns, until_ns = self._window(hours)

        def read() -> dict[str, Any]:
            events = self._telemetry.of_agents(self._agents(), since_ns=since_ns, until_ns=until_ns, limit=MAX_EVENTS)
            found = shown_taint(taint(stitch(events), datum))
            spanned = {"since_at": rfc3339(since_ns), "until_at": rfc3339(until_ns)}
            return {**found, **spanned, "is_cut": len(events) >= MAX_EVENTS}

        return await asyncio.to_thread(read)

    async def influence(self, *, minutes: int = 60, agent: str = "") -> dict[str, Any]:
        """Who influenced whom in the last minutes, and in which circles; with an agent, the edges and circles it is part of.

        Raises:
            CallerError: minutes that there are not.
        """
        if not 1 <= minutes <= 24 * 60:
            raise CallerError(f"is 1 to {24 * 60}", place="minutes")
        until_ns = self._control.clock.now()
        since_ns = until_ns - minutes * MINUTE_NS

        def read() -> dict[str, Any]:
            events = self._telemetry.of_agents(
                self._agents(), since_ns=since_ns, until_ns=until_ns, limit=MAX_EVENTS, kinds=KINDS
            )
            messages, turns = read_messages(events)
            return {
                **shown_influence(messages[-MAX_MESSAGES:], turns, agent=agent),
                "since_at": rfc3339(since_ns),
                "until_at": rfc3339(until_ns),
                "is_cut": len(events) >= MAX_EVENTS or len(messages) > MAX_MESSAGES,
            }

        return await asyncio.to_thread(read)

    def _agents(self) -> list[str]:
        return [sighting.agent for sighting in load(self._telemetry.fleet())]

    def _window(self, hours: int) -> tuple[int, int]:
        if not 1 <= hours <= MAX_HOURS:
            raise CallerError(f"is 1 to {MAX_HOURS}", place="hours")
        until_ns = self._control.clock.now()
        return until_ns - hours * HOUR_NS, until_ns


def read_messages(events: Sequence[Event]) -> tuple[list[Message], list[Turn]]:
    """Messages between agents and their runs, read off events in the order of time.

    >>> told = Event(kind=EventKind.TOOL_COMPLETED, agent="a", run_id="r", name="transfer_to_b", start_ns=1, end_ns=2)
    >>> [(message.sender, message.receiver) for message in read_messages([told])[0]]
    [('a', 'b')]
    """
    reading, messages = Messages(), []
    runs: dict[tuple[str, str], tuple[str, int, int, bool]] = {}
    for event in sorted(events, key=lambda each: each.at_ns):
        messages += reading.observe(event)
        run = (event.agent, event.run_id or event.trace_id)
        if event.agent and run[1]:
            start_ns = event.start_ns or event.at_ns
            trace, first_ns, last_ns, is_over = runs.get(run, (event.trace_id, start_ns, event.at_ns, False))
            runs[run] = (trace, min(first_ns, start_ns), max(last_ns, event.at_ns), is_over or event.kind in _ENDS)
    turns = [Turn(agent, run_id, *seen) for (agent, run_id), seen in runs.items()]
    return sorted(messages, key=lambda each: each.at_ns), turns


def shown_taint(found: Taint) -> dict[str, Any]:
    """A taint as the API shows it."""
    shown: dict[str, Any] = msgspec.to_builtins(found)
    for rows, field in ((shown["runs"], "since_ns"), (shown["effects"], "at_ns")):
        for row in rows:
            row["at" if field == "at_ns" else "since_at"] = rfc3339(row.pop(field))
    first_ns = shown.pop("first_ns")
    return {**shown, "first_at": rfc3339(first_ns) if first_ns else None}


def shown_influence(messages: Sequence[Message], turns: Sequence[Turn], *, agent: str = "") -> dict[str, Any]:
    """Who influences whom, as the API shows it."""
    edges = [each for each in influences(messages, turns) if agent in ("", each.sender, each.receiver)]
    rounds = [each for each in circles(messages, turns) if not agent or agent in each.agents]
    return {
        "edges": [msgspec.to_builtins(each) for each in edges[:MAX_EDGES]],
        "circles": [_shown_circle(each) for each in rounds[:MAX_CIRCLES]],
        "messages": len(messages),
    }


def _shown_circle(circle: Circle) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(circle)
    first_ns = shown.pop("first_ns")
    return {**shown, "spans": shown["spans"][:16], "first_at": rfc3339(first_ns), "is_growing": circle.is_growing}
