"""The performer that investigates, and writing files so that they are whole."""

import asyncio
import os
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any

import msgspec

from andoncord.detect.finding import Finding
from andoncord.detect.ports import TelemetryReader
from andoncord.investigate.investigation import investigate
from andoncord.investigate.taint import BlastRadius, blast_radius
from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.time import DAY_NS, MINUTE_NS
from andoncord.server.ports import ServerClock
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.fleet import Sighting, edge_of, load
from andoncord.telemetry.stitch import stitch

INVESTIGATED_EVENTS = 20_000
COMPARED_AGENTS = 50
COMPARED_EVENTS = 10_000
"""The newest outcomes of agents that are not part of the incident; what did not change there is the comparison."""
REACHED_AGENTS = 100
"""The agents of the incident first, then whom they are connected with, then others."""
REACHED_EVENTS = 4_000
"""The newest since the onset, of connected agents before those of others: chosen, because orders wait meanwhile."""
BEFORE_NS = 10 * MINUTE_NS
"""Read from so long before the onset, so that calls under way then are known."""
MODEL_KINDS = (EventKind.MODEL_COMPLETED, EventKind.MODEL_FAILED)
CALL_KINDS = (EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED, EventKind.STEP_STARTED)
OUTCOME_KINDS = (EventKind.QUALITY_SCORED, EventKind.RUN_ENDED, EventKind.CHANGE_MADE)


class InvestigatePerformer:
    """Reads the record of an incident's agents and ranks agents, steps and causes.

    One at a time: fifty that compute side by side would leave the orders of the same process no time to run.
    """

    def __init__(
        self,
        *,
        telemetry: TelemetryReader,
        clock: ServerClock,
        is_repeatable: Callable[[str, str], bool] = lambda agent, tool: False,
    ) -> None:
        self._telemetry = telemetry
        self._clock = clock
        self._is_repeatable = is_repeatable
        self._turn = asyncio.Lock()

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        findings = msgspec.convert(effect.parameters["findings"], tuple[Finding, ...], strict=False)

        def look() -> Any:
            now = self._clock.now()
            events = self._events(effect, now)
            found = msgspec.to_builtins(investigate(findings, events, now_ns=now))
            reach = msgspec.to_builtins(self._reach(findings, now))
            return {**found, "executed": self._executed(effect, events), "blast_radius": reach}

        async with self._turn:
            detail = await asyncio.to_thread(look)
        return Receipt(intent=intent, outcome=Outcome.DONE, at_ns=self._clock.now(), detail=detail)

    def _reach(self, findings: tuple[Finding, ...], now: int) -> BlastRadius | None:
        """How far it reaches from its onset on, over all agents; None where no finding names a run."""
        seeds = [
            (finding.agent, finding.run_id or finding.trace_id, finding.onset_ns or finding.at_ns)
            for finding in findings
            if finding.agent and (finding.run_id or finding.trace_id)
        ]
        if not seeds:
            return None
        since_ns = max(now - DAY_NS, min(since for _, _, since in seeds) - BEFORE_NS)
        near, others = near_first({agent for agent, _, _ in seeds}, load(self._telemetry.fleet()))
        events: list[Event] = []
        for agents in (near, others[: REACHED_AGENTS - len(near)]):
            left = REACHED_EVENTS - len(events)
            events.extend(
                self._telemetry.of_agents(agents, since_ns=since_ns, until_ns=now, limit=left) if agents and left else ()
            )
        is_cut = len(events) >= REACHED_EVENTS or len(near) + len(others) > REACHED_AGENTS
        return msgspec.structs.replace(blast_radius(stitch(events), seeds), is_cut=is_cut)

    def _executed(self, effect: Effect, events: Iterable[Event]) -> list[dict[str, Any]] | None:
        """The tools that the traces in question have called, and whether each may be called again; None where none is known."""
        inside = [each for each in events if each.trace_id in set(effect.parameters["traces"])]
        models = {each.name for each in inside if each.kind in MODEL_KINDS}
        called = {(each.agent, each.name) for each in inside if each.kind in CALL_KINDS and each.name not in models}
        if not called:
            return None
        return [
            {"agent": agent, "tool": tool, "repeatable": self._is_repeatable(agent, tool)} for agent, tool in sorted(called)
        ]

    def _events(self, effect: Effect, now: int) -> list[Event]:
        """What the agents did in the last 24 h, their traces whole, and how the other agents fared; each event once."""
        agents = set(effect.parameters["agents"])
        events = list(self._telemetry.of_agents(agents, since_ns=now - DAY_NS, until_ns=now, limit=INVESTIGATED_EVENTS))
        for trace_id in effect.parameters["traces"]:
            events.extend(
                event for event in self._telemetry.trace(trace_id, limit=INVESTIGATED_EVENTS) if event.agent not in agents
            )
        others = sorted({beat.agent for beat in self._telemetry.beats()} - agents)[:COMPARED_AGENTS]
        traces = set(effect.parameters["traces"])
        outcomes = self._telemetry.of_agents(
            others, kinds=OUTCOME_KINDS, since_ns=now - DAY_NS, until_ns=now, limit=COMPARED_EVENTS, with_texts=False
        )
        events.extend(event for event in outcomes if event.trace_id not in traces)
        # A step whose parent came in a later request goes by its service's name in the store.
        return list(stitch(events))


def near_first(agents: Collection[str], fleet: Iterable[Sighting]) -> tuple[list[str], list[str]]:
    """These agents with whom they are connected, directly or through others, the nearest first; and all the others, by name.

    >>> from andoncord.telemetry.fleet import Seen, edge_key
    >>> fleet = [Sighting(agent="a", edges={edge_key("called", "b"): Seen()}), Sighting(agent="b"), Sighting(agent="c")]
    >>> near_first(["b"], fleet)
    (['b', 'a'], ['c'])
    """
    known: dict[str, set[str]] = {}
    for sighting in fleet:
        known.setdefault(sighting.agent, set())
        for key in sighting.edges:
            _, other = edge_of(key)
            known[sighting.agent].add(other)
            known.setdefault(other, set()).add(sighting.agent)
    near = dict.fromkeys(sorted(agents))
    edge = list(near)
    while edge and len(near) < REACHED_AGENTS:
        edge = sorted({other for agent in edge for other in known.get(agent, ())} - near.keys())
        near.update(dict.fromkeys(edge[: max(0, REACHED_AGENTS - len(near))]))
    return list(near), sorted(known.keys() - near.keys())


def write_durably(path: Path, content: bytes) -> None:
    """Write a file that is either as it was or whole, and on disk when this returns."""
    partial = path.with_name(f".{path.name}.partial")
    with partial.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
