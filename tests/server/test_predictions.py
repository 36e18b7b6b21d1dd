"""What the server predicts from its own history, and what it says about an agent's answers."""

import asyncio
from typing import Any

from andoncord.detect.finding import Finding
from andoncord.detect.ports import SeriesPoint
from andoncord.engine.state import State
from andoncord.kernel.time import HOUR_NS, Instant
from andoncord.kernel.vocabulary import Category, Disposition, Pattern, Severity
from andoncord.server.predictions import Predictions
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing.clock import SimClock
from benchmarks.history import History, history


class Past:
    """A telemetry store and an engine with a history in them: what predictions read of both."""

    def __init__(self, made: History) -> None:
        self.made = made
        self.asked = 0
        self.disposition = Disposition.REAL
        self.incidents: dict[str, Any] = {str(number): _Incident(self, each) for number, each in enumerate(made.incidents)}

    def fleet(self) -> tuple[tuple[str, bytes], ...]:
        return tuple((agent, b"") for agent in sorted({point.agent for point in self.made.points}))

    def series(self, agents: Any, *, since_ns: int, until_ns: int, step_ns: int) -> tuple[SeriesPoint, ...]:
        self.asked += 1
        assert (step_ns, (until_ns - since_ns) % step_ns) == (HOUR_NS, 0)
        return tuple(point for point in self.made.points if since_ns <= point.at_ns < until_ns)

    def of_agents(self, agents: Any, *, since_ns: int, until_ns: int, limit: int, kinds: Any) -> tuple[Event, ...]:
        return tuple(
            Event(kind=EventKind.CHANGE_MADE, agent=agent, start_ns=at_ns, end_ns=at_ns) for agent, at_ns in self.made.changes
        )

    def findings(self, *, after: int, limit: int) -> tuple[tuple[int, Finding], ...]:
        every = [(number, _finding(agent, at_ns)) for number, (agent, at_ns) in enumerate(self.made.findings, 1)]
        return tuple(every[after : after + limit])


class _Incident:
    def __init__(self, past: Past, seen: Any) -> None:
        self._past = past
        self.agents, self.detected_ns, self.resolved_ns, self.last_finding_ns = (
            (seen.agent,),
            seen.detected_ns,
            seen.until_ns,
            0,
        )

    @property
    def disposition(self) -> Disposition:
        return self._past.disposition


def _finding(agent: str, at_ns: int) -> Finding:
    said = {"id": f"{agent}{at_ns}", "rule": "x", "summary": "x", "score": 1.0, "at_ns": at_ns, "onset_ns": at_ns}
    words = {"severity": Severity.LOW, "category": Category.DECISION_FAILURE, "pattern": Pattern.QUALITY_DROP}
    return Finding(agent=agent, **said, **words)  # type: ignore[arg-type]


def predictions_over(past: Past, clock: SimClock) -> Predictions:
    state = State()
    state.incidents = past.incidents
    return Predictions(telemetry=past, state=lambda: state, clock=clock)  # type: ignore[arg-type]  # what it reads of them


def test_a_prediction_is_made_from_what_is_stored_and_kept_for_an_hour() -> None:
    """It is on over a history with warning; asked again within the hour nothing is read again, after it everything is."""
    made = history(agents=15, days=24, seed=4, warning=1.6)
    past, clock = Past(made), SimClock(Instant(made.now_ns))
    predictions = predictions_over(past, clock)

    async def day() -> None:
        first = await predictions.fresh()
        assert first.is_on
        assert {risk.agent for risk in first.risks} <= {point.agent for point in made.points}
        assert await predictions.fresh() is first
        clock.move_to(Instant(made.now_ns + HOUR_NS))
        assert await predictions.fresh() is not first

    asyncio.run(day())
    assert past.asked == 2


def test_incidents_that_were_none_are_not_learned_from() -> None:
    """False positives, duplicates and tests do not count: without real ones there is nothing to predict."""
    made = history(agents=10, days=20, seed=3, warning=1.0)
    past = Past(made)
    past.disposition = Disposition.FALSE_POSITIVE
    found = asyncio.run(predictions_over(past, SimClock(Instant(made.now_ns))).fresh())

    assert (found.is_on, found.why_off) == (False, "needs 20 incidents in its history, has 0")
