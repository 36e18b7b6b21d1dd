"""Alerts out, to an Alertmanager of this machine."""

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.adapters.notify_receivers import Receiver, http_receiver

from andoncord.adapters.notify.alertmanager import Alertmanager
from andoncord.engine.alerting import alerts_of
from andoncord.engine.facts import FindingArrived, PersonAsked
from andoncord.engine.run import Engine
from andoncord.kernel.errors import CallerError
from andoncord.kernel.time import MINUTE_NS, SECOND_NS, Instant
from andoncord.kernel.vocabulary import Mode, Severity
from andoncord.respond.playbook import load
from andoncord.server.alert_feed import AlertFeed, AlertmanagerSettings
from andoncord.testing.clock import SimClock
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.story import Story, finding

PLAYBOOKS = tuple(
    load(
        f"id: {word}\nwhen: {{severity: {word}}}\nsource: a test\n"
        "steps: [{recover: {by: person, at_most: 1h, undo: nothing to undo}}]\n",
        place=word,
    )
    for word in Severity
)


@pytest.fixture
def receivers() -> Iterator[tuple[Receiver, Receiver]]:
    with http_receiver() as first, http_receiver() as second:
        yield first, second


def said(receiver: Receiver, number: int = -1) -> list[dict[str, Any]]:
    path, _, body = receiver.requests[number]
    assert path == "/api/v2/alerts"
    return list(msgspec.json.decode(body))


def seconds_of(text: str) -> float:
    return datetime.fromisoformat(text).astimezone(UTC).timestamp()


def test_what_is_open_fires_until_it_is_over_and_each_alertmanager_is_told(
    receivers: tuple[Receiver, Receiver], tmp_path: Path
) -> None:
    """Told again with the same labels and a later end; another severity ends the old alert; one that is away is told later."""
    clock = SimClock()
    (tmp_path / "token").write_text("secret\n")
    first, second = receivers

    async def story() -> None:
        engine = Engine(journal=MemoryJournal(), clock=clock, performers={}, playbooks=PLAYBOOKS)
        feed = AlertFeed(
            engine=engine,
            clock=clock,
            targets=[
                Alertmanager(first.url, token_file=tmp_path / "token", link="https://andon.example.org/"),
                Alertmanager(second.url, token_file=None, link=""),
            ],
            least=Severity.HIGH,
            labels={"cluster": "eu"},
            every_s=60.0,
        )
        second.answers = [(503, {}, b"away"), (200, {}, b"")]
        await feed.tell()
        assert (said(first), list(feed.failing.values())) == ([], ["answered 503: away"])

        await engine.submit(FindingArrived(finding=finding(severity=Severity.HIGH, mode=Mode.ALERT, summary="loops\n<b>")))
        await feed.tell()
        clock.move_to(Instant(clock.now() + MINUTE_NS))
        await feed.tell()
        (fired,), (again,) = said(first, -2), said(first)
        assert fired["labels"] == again["labels"] == said(second)[0]["labels"]
        assert fired["labels"] | {"cluster": "eu"} == fired["labels"]
        assert fired["startsAt"] == again["startsAt"]
        assert seconds_of(again["endsAt"]) - clock.now() / SECOND_NS == pytest.approx(240)
        assert fired["generatorURL"] == "https://andon.example.org/incidents/inc_000001"
        assert first.requests[-1][1]["authorization"] == "Bearer secret"

        worse = finding("f2", severity=Severity.CRITICAL, mode=Mode.ALERT)
        await engine.submit(FindingArrived(finding=worse))
        await feed.tell()
        ends = {each["labels"]["severity"]: seconds_of(each["endsAt"]) - clock.now() / SECOND_NS for each in said(first)}
        assert ends == {"critical": pytest.approx(240), "high": pytest.approx(0)}

        reason = {"disposition": "false_positive", "reason": "a drill"}
        await engine.submit(PersonAsked(command="dispose", by="person:ada", incident="inc_000001", parameters=reason))
        await feed.tell()
        (over,) = said(first)
        assert seconds_of(over["endsAt"]) <= clock.now() / SECOND_NS
        clock.move_to(Instant(clock.now() + 16 * MINUTE_NS))
        before = len(first.requests)
        await feed.tell()
        assert (len(first.requests), feed.failing) == (before, {})
        await engine.stop()

    asyncio.run(story())


def test_the_worst_come_first_and_the_rest_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there is no room for all, how many are left out is said; milder ones than wanted are not told at all."""
    story = Story()
    for number, severity in enumerate((Severity.HIGH, Severity.CRITICAL, Severity.MEDIUM)):
        changes = {"agent": f"a{number}", "trace_id": f"t{number}", "run_id": f"r{number}"}
        story.find(finding(f"f{number}", severity=severity, mode=Mode.ALERT, **changes))
    monkeypatch.setattr("andoncord.engine.alerting.MAX_ALERTS", 1)
    alerts, left = alerts_of(story.state, least=Severity.HIGH, own={}, now_ns=story.now)
    assert ([each.labels["severity"] for each in alerts], left) == (["critical"], 1)


def test_settings_that_would_hurt_are_refused() -> None:
    """An open wire beyond this machine, and labels that name the alert."""
    AlertmanagerSettings(urls=("http://localhost:9093", "https://am.example.org")).check()
    with pytest.raises(CallerError, match="open wire"):
        AlertmanagerSettings(urls=("http://am.example.org:9093",)).check()
    with pytest.raises(CallerError, match="label"):
        AlertmanagerSettings(labels={"severity": "x"}).check()
