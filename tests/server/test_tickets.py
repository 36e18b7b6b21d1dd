"""The performer that opens tickets."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.test_ticket import github
from tests.adapters.tracker_servers import GitHub, serving

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.ledger import SqlEffectLedger
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.clock import SystemClock
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.server.tickets import TicketPerformer


@pytest.fixture
def world() -> Iterator[GitHub]:
    world = GitHub()
    with serving(world):
        yield world


@pytest.fixture
def performer(tmp_path: Path, world: GitHub) -> Iterator[TicketPerformer]:
    database = Database.in_file(tmp_path / "control.db")
    migrate(database)
    yield TicketPerformer(
        {"github": github(world)},
        ledger=SqlEffectLedger(database),
        clock=SystemClock(),
        chance=lambda: 0.0,
        link="https://andon.example.org",
        look_again_s=0.01,
    )
    database.close()


def effect(kind: str = "open", *, tracker: str = "github", deadline_ms: int = 5_000, **more: Any) -> Effect:
    parameters: dict[str, Any] = {
        "kind": kind,
        "tracker": tracker,
        "title": "refunds in a circle",
        "agents": ["refunds"],
        "incident": {"severity": "critical", "sev": "SEV-1", "category": "decision_failure", "pattern": "infinite_loop"},
        "state": "triaged",
        "containment": "",
        "impact": "",
        "opened_ns": SystemClock().now(),
        **more,
    }
    return Effect(
        kind=EffectKind.TICKET,
        target="refunds",
        incident="inc_000001",
        key="inc_000001.002",
        deadline_ms=deadline_ms,
        reversal="nothing to undo",
        parameters=parameters,
    )


def perform(performer: TicketPerformer, wanted: Effect) -> Receipt:
    return asyncio.run(performer.perform("inc_000001.002", wanted))


def test_a_ticket_is_opened_once_and_closed_with_the_incident(performer: TicketPerformer, world: GitHub) -> None:
    """A busy tracker is tried again; what a crash repeats finds the ticket that is there; the end is written into it."""
    world.answer_next(503)
    opening = effect()
    receipt, again = perform(performer, opening), perform(performer, opening)
    over = perform(performer, effect("resolve", ticket=receipt.detail["ticket"], opened_ns=opening.parameters["opened_ns"]))

    assert receipt.detail["ticket"] == {"id": "1", "url": f"{world.url}/acme/ops/issues/1"}
    assert (receipt.detail["was_there"], again.detail["was_there"], over.outcome) == (False, True, Outcome.DONE)
    (kept,) = world.tickets()
    assert "https://andon.example.org/incidents/inc_000001" in kept.text
    assert (kept.is_closed, len(kept.comments)) == (True, 1)


def test_a_tracker_that_finds_late_gets_no_second_ticket(performer: TicketPerformer, world: GitHub) -> None:
    """The answer was lost and the list lags behind: it is looked for again before another one is made."""
    world.answer_next(502, after=True)
    wanted = effect(deadline_ms=500)
    lost = perform(performer, wanted)
    world.hidden_for = 2
    receipt = perform(performer, wanted)

    assert (lost.outcome, receipt.outcome, receipt.detail["was_there"]) == (Outcome.FAILED, Outcome.DONE, True)
    assert len(world.tickets()) == 1


def test_what_is_refused_is_said_with_its_reason_and_not_waited_for(performer: TicketPerformer, world: GitHub) -> None:
    """A refusal for good is not repeated; a rate limit beyond the deadline is not waited for; an unknown tracker is named."""
    world.answer_next(422, said="Validation Failed")
    refused = perform(performer, effect())
    world.answer_next(429, {"Retry-After": "600"})
    limited = perform(performer, effect(opened_ns=SystemClock().now() + 1))
    unknown = perform(performer, effect(tracker="jira"))

    assert [each.outcome for each in (refused, limited, unknown)] == [Outcome.FAILED] * 3
    assert "422: Validation Failed" in refused.detail["missing"]
    assert "rate limit" in limited.detail["missing"]
    assert "no tracker 'jira'" in unknown.detail["missing"]
    assert world.tickets() == []
