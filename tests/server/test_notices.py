"""The performer that tells people."""

import asyncio
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from tests.adapters.notify_receivers import Receiver, http_receiver

from andoncord.adapters.notify.http import PagerDutyChannel
from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.deliveries import SqlDeliveries
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.clock import SystemClock
from andoncord.kernel.effect import Effect, EffectKind, Outcome, Receipt
from andoncord.respond.oncall import Oncall, Person
from andoncord.respond.rota import Layer, Rota
from andoncord.server.notices import NotifyPerformer

ONCALL = Oncall(
    people={"ada": Person(channels=("pager", "second"))},
    rotas={"primary": Rota(time_zone="UTC", layers=(Layer(people=("ada",), starts=date(2026, 1, 1)),))},
)


@pytest.fixture
def receivers() -> Iterator[tuple[Receiver, Receiver]]:
    with http_receiver() as first, http_receiver() as second:
        yield first, second


@pytest.fixture
def performer(database_url: str, tmp_path: Path, receivers: tuple[Receiver, Receiver]) -> Iterator[NotifyPerformer]:
    database = Database(database_url)
    assert database.take_lease()
    migrate(database)
    (tmp_path / "key").write_text("k")
    channels = {
        name: PagerDutyChannel(url=each.url, key_file=tmp_path / "key", source="andoncord")
        for name, each in zip(("pager", "second"), receivers, strict=True)
    }
    yield NotifyPerformer(
        oncall=ONCALL,
        channels=channels,
        deliveries=SqlDeliveries(database),
        clock=SystemClock(),
        chance=lambda: 0.0,
        link="",
    )
    database.close()


def page(*to: str, deadline_ms: int = 5_000) -> Effect:
    parameters: dict[str, Any] = {
        "kind": "page",
        "title": "refunds",
        "agents": ["billing"],
        "incident": {"severity": "critical", "sev": "SEV-1", "pattern": "scope_creep"},
        "state": "triaged",
        "containment": "",
        "impact": "",
        "opened_ns": 7,
        "number": 1,
        "level": 0,
        "levels": [list(to)],
        "to": list(to),
    }
    return Effect(
        kind=EffectKind.NOTIFY,
        target="billing",
        incident="inc_000001",
        key="inc_000001.001",
        deadline_ms=deadline_ms,
        reversal="nothing to undo",
        parameters=parameters,
    )


def perform(performer: NotifyPerformer, effect: Effect) -> Receipt:
    return asyncio.run(performer.perform("inc_000001.001", effect))


def test_whoever_is_on_call_is_told_on_every_channel_and_once(
    performer: NotifyPerformer, receivers: tuple[Receiver, Receiver]
) -> None:
    """A receiver that is busy is tried again; performed once more after a crash, nobody who was told is told twice."""
    receivers[0].answers = [(503, {}, b""), (429, {}, b""), (202, {}, b"")]
    receipt = perform(performer, page("primary"))
    again = perform(performer, page("primary"))

    assert (receipt.outcome, receipt.detail["reached"]) == (Outcome.DONE, ["ada by pager", "ada by second"])
    assert again.detail["reached"] == receipt.detail["reached"]
    assert [len(each.requests) for each in receivers] == [3, 1]
    assert [each.attempts for each in performer.deliveries.of_incident("inc_000001")] == [3, 1]


def test_one_channel_of_two_is_partial_and_none_is_failed(
    performer: NotifyPerformer, receivers: tuple[Receiver, Receiver]
) -> None:
    """What was not reached is named, with the reason; a refusal for good is not tried again."""
    receivers[0].answers = [(400, {}, b"")]
    receipt = perform(performer, page("primary"))
    assert (receipt.outcome, receipt.detail["missing"]) == (Outcome.PARTIAL, ["ada by pager: answered 400"])

    nobody = perform(performer, page())
    assert nobody.outcome is Outcome.FAILED
    assert "nobody is configured" in nobody.detail["missing"]


def test_people_who_share_a_channel_are_told_by_one_message(
    performer: NotifyPerformer, receivers: tuple[Receiver, Receiver]
) -> None:
    """Nobody is told twice because two are meant; the delivery names both."""
    performer.oncall = Oncall(people={"ada": Person(channels=("pager", "second")), "bob": Person(channels=("pager",))})
    receipt = perform(performer, page("ada", "bob", "second"))

    assert receipt.detail["reached"] == ["ada, bob by pager", "ada by second"]
    assert [len(each.requests) for each in receivers] == [1, 1]


def test_what_a_crash_cut_off_is_sent_to_whom_it_was_meant_for(
    performer: NotifyPerformer, receivers: tuple[Receiver, Receiver]
) -> None:
    """Targets are written down before the first message: the one that was not settled is sent, whoever is on call by then."""
    receivers[1].answers = [(500, {}, b"")]
    first = perform(performer, page("primary", deadline_ms=1_500))
    receivers[1].answers = [(202, {}, b"")]
    performer.oncall = Oncall()
    second = perform(performer, page("primary"))

    assert first.outcome is Outcome.PARTIAL
    assert (second.outcome, second.detail["reached"]) == (Outcome.DONE, ["ada by pager", "ada by second"])
    assert len(receivers[0].requests) == 1
