"""What leaves the house: a hand-over as a signed webhook, and a notice to customers by mail once a person has sent it."""

import asyncio
import base64
import hashlib
import hmac
import json
from pathlib import Path

import pytest
from tests.adapters.notify_receivers import Receiver, http_receiver, mail_server

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.deliveries import SqlDeliveries
from andoncord.adapters.sql.migrate import migrate
from andoncord.adapters.system.clock import SystemClock
from andoncord.app_channels import channels_of
from andoncord.app_settings import load_templates
from andoncord.config import load, load_oncall
from andoncord.engine.facts import FindingArrived, PersonAsked, WorkHandedOver
from andoncord.engine.run import Engine
from andoncord.kernel.effect import Effect, EffectKind, Receipt
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.ports import Performer
from andoncord.kernel.time import SECOND_NS
from andoncord.kernel.vocabulary import Pattern, Severity
from andoncord.respond.desk import Work
from andoncord.server.drafting import DraftPerformer
from andoncord.server.notices import NotifyPerformer
from andoncord.testing.journal import MemoryJournal
from andoncord.testing.story import SHIPPED, answer_plainly, finding

KEY = b"k" * 32
SETTINGS = """
channels:
  queue: {{kind: webhook, url: "{url}/andon", secret_file: queue.secret, allow_private: true}}
  status-mail: {{kind: email, host: 127.0.0.1, port: {port}, tls: none, from: andon@example.org, to: [customers@example.org]}}
handover: {{to: [queue]}}
notices: {{customer: [status-mail]}}
"""
DEADLINE_S = 10.0
FRESH_S = 300
"""Standard Webhooks: a receiver takes nothing older."""


class Plainly:
    """Everything else works."""

    async def perform(self, intent: str, effect: Effect) -> Receipt:
        outcome, detail = answer_plainly(effect)
        return Receipt(intent=intent, outcome=outcome, at_ns=1, detail=detail)


def verified(receiver: Receiver, *, key: bytes, now_s: float) -> dict[str, object]:
    """The body of the first request, as a receiver takes it that goes by the specification alone."""
    _, headers, body = receiver.requests[0]
    number, at = headers["webhook-id"], headers["webhook-timestamp"]
    assert abs(now_s - int(at)) < FRESH_S, "the timestamp is not fresh"
    mine = base64.b64encode(hmac.new(key, f"{number}.{at}.".encode() + body, hashlib.sha256).digest()).decode()
    known = [each.partition(",") for each in headers["webhook-signature"].split()]
    assert any(version == "v1" and hmac.compare_digest(theirs, mine) for version, _, theirs in known), "not signed by us"
    event: dict[str, object] = json.loads(body)
    assert event["id"] == number
    return event


async def at_rest(engine: Engine) -> None:
    """Every effect has its receipt."""
    heard = engine.subscribe()
    async with asyncio.timeout(DEADLINE_S):
        while engine.state.outstanding:
            await anext(heard)


def test_a_hand_over_is_a_webhook_that_verifies_and_customers_hear_what_a_person_sent(tmp_path: Path) -> None:
    """Nothing is mailed before somebody sends it, then those very words are, once; another key does not verify the webhook."""
    (tmp_path / "queue.secret").write_text(f"whsec_{base64.b64encode(KEY).decode()}")
    clock, database = SystemClock(), Database.in_file(tmp_path / "control.db")
    assert database.take_lease()
    migrate(database)
    with http_receiver() as receiver, mail_server() as mailbox:
        receiver.answers = [(503, {}, b""), (200, {}, b"{}")]
        config = load(SETTINGS.format(url=receiver.url, port=mailbox.port), place="andon.yaml")

        async def tell() -> None:
            notices = NotifyPerformer(
                oncall=load_oncall(config, beside=tmp_path),
                channels=channels_of(config, beside=tmp_path, clock=clock),
                deliveries=SqlDeliveries(database),
                clock=clock,
                chance=lambda: 0.0,
                link="",
            )
            drafts = DraftPerformer(load_templates(config, beside=tmp_path), state=lambda: engine.state, clock=clock)
            performers: dict[EffectKind, Performer] = {}
            performers |= {**dict.fromkeys(EffectKind, Plainly()), EffectKind.NOTIFY: notices, EffectKind.DRAFT: drafts}
            engine = Engine(journal=MemoryJournal(), clock=clock, performers=performers, playbooks=SHIPPED)
            await engine.resume()
            work = Work(agent="refunds", key="ticket-17", task="refund order 17", context={"customer": "c-4"})
            for _ in range(2):
                await engine.submit(WorkHandedOver(work=work, to=config.handover.to))
            found = finding(severity=Severity.MEDIUM, pattern=Pattern.QUALITY_DROP, facts={"customers": 3})
            await engine.submit(FindingArrived(finding=found))
            await at_rest(engine)
            assert mailbox.mails == []

            draft = next(each for each in engine.state.intents.values() if each.effect.kind is EffectKind.DRAFT)
            assert draft.receipt is not None
            words = {"subject": draft.receipt.detail["subject"], "text": "Three refunds were late. They are on their way."}
            said = {"draft": draft.id, **words, "to": list(config.notices.of("customer"))}
            sent = PersonAsked(command="send_statement", by="person:ada", incident=draft.incident, parameters=said)
            await engine.submit(sent)
            await at_rest(engine)
            with pytest.raises(ConflictError, match="it was sent by ada"):
                await engine.submit(sent)
            await engine.stop()

        asyncio.run(tell())
    database.close()

    event = verified(receiver, key=KEY, now_s=clock.now() / SECOND_NS)
    assert event["type"] == "org.andoncord.notice.handover"
    assert [each[1]["webhook-id"] for each in receiver.requests] == [event["id"]] * 2, "refused once, then taken: the same id"
    data = event["data"]
    assert isinstance(data, dict)
    told = {key: data["facts"][key] for key in ("item", "key", "task", "context")}
    assert told == {"item": "hnd_000001", "key": "ticket-17", "task": "refund order 17", "context": {"customer": "c-4"}}
    with pytest.raises(AssertionError, match="not signed by us"):
        verified(receiver, key=b"x" * 32, now_s=clock.now() / SECOND_NS)
    (mail,) = mailbox.mails
    assert (mail["To"], mail["From"]) == ("customers@example.org", "Andoncord <andon@example.org>")
    assert "Three refunds were late. They are on their way." in mail.as_string()
