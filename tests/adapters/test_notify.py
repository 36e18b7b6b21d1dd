"""Channels against real servers of this machine."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.adapters.notify_receivers import Mailbox, Receiver, http_receiver, mail_server

from andoncord.adapters.notify.http import PagerDutyChannel, WebhookChannel
from andoncord.adapters.notify.long_tail import AppriseChannel
from andoncord.adapters.notify.mail import MailChannel
from andoncord.adapters.notify.slack import SlackApi, SlackChannel
from andoncord.kernel.time import SECOND_NS, Instant
from andoncord.respond.notice import Notice, Said, compose
from andoncord.server.source_settings import SourceSettings
from andoncord.server.sources import Source
from andoncord.testing.clock import SimClock

HOSTILE = "refunds\r\nBcc: eve@example.org <!channel> *all* \u202e<https://evil|ok>"
SECRET = b"0123456789abcdef0123456789abcdef"


def notice(kind: str = "page", key: str = "inc_000001.002") -> Notice:
    parameters: dict[str, Any] = {
        "kind": kind,
        "title": HOSTILE,
        "agents": ["billing"],
        "incident": {"severity": "critical", "sev": "SEV-1", "pattern": "scope_creep"},
        "state": "triaged",
        "containment": "",
        "impact": "",
        "opened_ns": 7,
        "number": 1,
        "level": 0,
        "levels": [["primary"]],
        "to": ["primary"],
    }
    return compose(parameters, key=key, incident="inc_000001", link="https://andon.example.org/incidents/inc_000001")


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with http_receiver() as found:
        yield found


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with mail_server() as found:
        yield found


def mail(mailbox: Mailbox, *to: str) -> MailChannel:
    return MailChannel(
        host="127.0.0.1", port=mailbox.port, tls="none", user="", password_file=None, sender="andon@example.org", to=to
    )


def send(channel: Any, what: Notice, replies_to: str = "") -> Said:
    said: Said = asyncio.run(channel.send(what, replies_to=replies_to))
    return said


def webhook(receiver: Receiver, *, allow_private: bool = True, path: str = "/in") -> WebhookChannel:
    return WebhookChannel(
        url=receiver.url.replace("127.0.0.1", "localhost") + path,
        secret=SECRET,
        allow_private=allow_private,
        source="andoncord",
        clock=SimClock(Instant(1_700_000_000 * SECOND_NS)),
    )


def test_mails_about_one_incident_are_one_thread_and_hostile_words_stay_words(mailbox: Mailbox) -> None:
    """Two pages refer to the same message, each has its own id, and a title with line breaks becomes no header."""
    channel = mail(mailbox, "ada@example.org", "bob@example.org")
    said = [send(channel, notice(key=key)) for key in ("inc_000001.002", "inc_000001.003", "inc_000001.003")]

    assert [each.state for each in said] == ["sent"] * 3
    first, second, again = mailbox.mails
    assert first["References"] == second["References"] == again["References"]
    assert first["Message-ID"] != second["Message-ID"] == again["Message-ID"] == said[2].provider_id
    assert first["Bcc"] is None
    assert "\u202e" not in first.as_string()


def test_a_mailbox_that_is_gone_is_not_tried_again_and_a_server_that_is_away_is(mailbox: Mailbox) -> None:
    """What the server refuses for good is final; one of two refused is named; nobody at the port may pass."""
    gone = send(mail(mailbox, "gone@example.org"), notice())
    half = send(mail(mailbox, "gone@example.org", "ada@example.org"), notice())
    away = MailChannel(host="127.0.0.1", port=1, tls="none", user="", password_file=None, sender="a@b", to=("ada@example.org",))

    assert (gone.state, gone.is_final) == ("failed", True)
    assert (half.state, half.why) == ("sent", "refused for gone@example.org")
    assert (said := send(away, notice())).state == "failed"
    assert not said.is_final


def test_webhooks_are_signed_cloud_events(receiver: Receiver) -> None:
    """What our own door for signed webhooks accepts: the same id for the same notice, and a CloudEvent inside."""
    said = send(webhook(receiver), notice())
    path, headers, body = receiver.requests[0]
    settings = SourceSettings(kind="webhook", secret_file="x")
    source = Source("peer", settings, "whsec_" + base64.b64encode(SECRET).decode())

    assert (path, said.state) == ("/in", "delivered")
    assert source.check_signature(headers, body, now_ns=1_700_000_001 * SECOND_NS) == said.provider_id
    event = json.loads(body)
    assert (event["specversion"], event["id"], event["subject"]) == ("1.0", said.provider_id, "inc_000001")
    assert headers["host"].startswith("localhost:")


def test_webhooks_follow_nobody_elsewhere_and_stay_out_of_the_network(receiver: Receiver) -> None:
    """A redirect is a refusal, and an address within the network is not even connected to unless that is allowed."""
    receiver.answers = [(302, {"location": "/other"}, b"")]
    redirected = send(webhook(receiver), notice())
    inside = send(webhook(receiver, allow_private=False), notice())

    assert (redirected.state, redirected.is_final) == ("failed", True)
    assert (inside.state, inside.is_final) == ("failed", True)
    assert "within this network" in inside.why
    assert len(receiver.requests) == 1


def test_pagerduty_is_triggered_and_resolved_under_one_key(receiver: Receiver, tmp_path: Path) -> None:
    """The same `dedup_key` from the first page to the resolution; too many requests may pass, a wrong key does not."""
    (tmp_path / "key").write_text("routing\n")
    channel = PagerDutyChannel(url=receiver.url, key_file=tmp_path / "key", source="andoncord")
    receiver.answers = [(202, {}, b"{}"), (202, {}, b"{}"), (429, {}, b""), (400, {}, b"")]
    said = [send(channel, notice("page")), send(channel, notice("resolved")), send(channel, notice()), send(channel, notice())]
    events = [msgspec.json.decode(body) for _, _, body in receiver.requests]

    assert [each.state for each in said] == ["delivered", "delivered", "failed", "failed"]
    assert [each.is_final for each in said[2:]] == [False, True]
    assert [each["event_action"] for each in events[:2]] == ["trigger", "resolve"]
    assert len({each["dedup_key"] for each in events}) == 1
    assert events[0]["payload"]["severity"] == "critical"


def test_slack_gets_plain_text_in_one_thread_and_its_errors_are_errors(receiver: Receiver, tmp_path: Path) -> None:
    """Words of agents make no mention and no link; a second page answers the first; 200 with an error is a failure."""
    (tmp_path / "token").write_text("xoxb-1\n")
    api = SlackApi(url=receiver.url, token_file=tmp_path / "token")
    channel = SlackChannel(api, conversation="#incidents")
    receiver.answers = [
        (200, {}, b'{"ok":true,"channel":"C1","ts":"17.1"}'),
        (200, {}, b'{"ok":true,"channel":"C1","ts":"18.1"}'),
        (200, {}, b'{"ok":false,"error":"channel_not_found"}'),
    ]
    first, second = send(channel, notice()), send(channel, notice(), "C1/17.1")
    third = send(channel, notice())
    sent = [msgspec.json.decode(body) for _, _, body in receiver.requests]

    assert (first.state, first.provider_id, second.provider_id) == ("delivered", "C1/17.1", "C1/18.1")
    assert ("thread_ts" in sent[0], sent[1]["thread_ts"]) == (False, "17.1")
    assert "<" not in sent[0]["text"]
    assert sent[0]["blocks"][0]["text"]["type"] == "plain_text"
    assert (third.state, third.is_final, third.why) == ("failed", True, "Slack answered channel_not_found")


@pytest.mark.filterwarnings("ignore:.*imghdr.*:DeprecationWarning")  # Apprise's own import of it
def test_the_long_tail_goes_through_apprise(receiver: Receiver, tmp_path: Path) -> None:
    """An address of Apprise's is sent to; what it cannot send, and what it does not know, is a failure."""
    (tmp_path / "url").write_text(receiver.url.replace("http://", "json://") + "\n")
    (tmp_path / "odd").write_text("nothing-such://x\n")
    channel = AppriseChannel(url_file=tmp_path / "url")
    said = send(channel, notice())
    receiver.answers = [(500, {}, b"")]

    assert said.state == "sent"
    assert json.loads(receiver.requests[0][2])["title"].startswith("[SEV-1] inc_000001")
    assert send(channel, notice()).state == "failed"
    assert send(AppriseChannel(url_file=tmp_path / "odd"), notice()).is_final
