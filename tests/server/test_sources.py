"""What other systems say: signed or not taken, once, about their own agents, and in the record."""

import base64
import hmac
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2
import pytest
from tests.telemetry.test_redact import KEY

from andoncord.adapters.system.server_process import ServerFailedError, ServerProcess, launch

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

SECRET = b"a secret of more than sixteen bytes"
SETTINGS = """
sources:
  ci: {kind: webhook, secret_file: ci.secret, agents: "refund-*"}
  prometheus: {kind: alertmanager, secret_file: am.secret, agents: "refund-*"}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server that knows two sources."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "andon.yaml").write_text(SETTINGS)
    (folder / "ci.secret").write_text("whsec_" + base64.b64encode(SECRET).decode() + "\n")
    (folder / "am.secret").write_text("bearer-of-the-alertmanager\n")
    with launch(folder / "home", config=folder / "andon.yaml") as running:
        yield running


def event(server: ServerProcess, body: bytes, *, number: str = "msg_1", sent: int | None = None, secret: bytes = SECRET) -> int:
    """Send an event, signed after Standard Webhooks; the status."""
    stamp = str(int(time.time()) if sent is None else sent)
    digest = hmac.digest(secret, b".".join((number.encode(), stamp.encode(), body)), "sha256")
    headers = {
        "webhook-id": number,
        "webhook-timestamp": stamp,
        "webhook-signature": f"v1,bm90IHRoaXM= v1,{base64.b64encode(digest).decode()}",
    }
    return post(server, "/api/v1/sources/ci/events", body, headers).status_code


def post(server: ServerProcess, path: str, body: bytes, headers: dict[str, str]) -> httpx2.Response:
    return httpx2.post(server.api_url + path, content=body, headers=headers, timeout=10, trust_env=False)


def finding(agent: str, summary: str = "slow") -> bytes:
    return json.dumps({"type": "finding.made", "data": {"agent": agent, "summary": summary, "severity": "high"}}).encode()


def test_a_change_is_an_event_of_its_agent(server: ServerProcess, person_at: Callable[[ServerProcess], Person]) -> None:
    """It is stored like a change that the agent reported itself, and trusted for the agents of the source; twice is once."""
    person = person_at(server)
    data = {"agent": "refund-bot", "kind": "prompt", "from": "v1", "to": "v2"}
    body = json.dumps({"type": "change.made", "data": data}).encode()

    assert [event(server, body), event(server, body)] == [202, 202]
    found = person.eventually("/api/v1/fleet/refund-bot", lambda agent: "v2" in json.dumps(agent))
    assert "v1" in json.dumps(found)


def test_a_finding_opens_an_incident_once(server: ServerProcess, person_at: Callable[[ServerProcess], Person]) -> None:
    """The same message again is the same finding; what it quotes is masked; nothing is done by itself."""
    person = person_at(server)
    body = finding("refund-slow", f"slow, key {KEY}")

    assert [event(server, body, number="msg_2") for _ in range(2)] == [202, 202]
    found = person.eventually("/api/v1/incidents", lambda page: "refund-slow" in json.dumps(page))
    (incident,) = [item for item in found["items"] if "refund-slow" in json.dumps(item)]
    journal = person.get("/api/v1/journal?limit=500")["items"]
    arrived = [entry for entry in journal if "refund-slow" in json.dumps(entry) and entry["kind"].startswith("finding")]
    assert len(arrived) == 1
    assert KEY not in json.dumps(journal)
    assert not [entry for entry in journal if entry["kind"] == "intent.issued" and incident["id"] in json.dumps(entry)
                and entry["body"]["effect"]["kind"] in ("pause", "kill", "order")]  # fmt: skip


def test_what_is_not_signed_now_and_by_us_is_refused(server: ServerProcess) -> None:
    """A wrong secret, a changed body, an old or a future time, no headers, an unknown source: all the same refusal."""
    body, now = finding("refund-bot"), int(time.time())
    stamp = {"webhook-id": "m", "webhook-timestamp": str(now), "webhook-signature": "v1,aaaa"}

    assert event(server, body, secret=b"another secret, just as long") == 401
    assert [event(server, body, sent=now + ahead) for ahead in (-400, 400)] == [401, 401]
    assert post(server, "/api/v1/sources/ci/events", body, {}).status_code == 401
    assert post(server, "/api/v1/sources/ci/events", body, stamp).status_code == 401
    assert post(server, "/api/v1/sources/none/events", body, stamp).status_code == 401
    # Signed, but not for this: an agent of somebody else, and what is no event.
    assert event(server, finding("billing-bot"), number="m3") == 403
    assert event(server, b'{"type": "other"}', number="m4") == 422
    assert event(server, b"\xff", number="m5") == 422


def test_alerts_of_alertmanager_are_findings(server: ServerProcess, person_at: Callable[[ServerProcess], Person]) -> None:
    """Those that fire, about agents of the source; the others are counted and left."""
    person = person_at(server)
    alert = {
        "status": "firing",
        "labels": {"alertname": "HighLatency", "severity": "critical", "agent": "refund-alerted"},
        "annotations": {"summary": "p95 is 40 s"},
        "startsAt": "2026-01-05T10:00:00.123456789Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus/graph",
        "fingerprint": "c6eadffa33fcdf37",
    }
    others = [
        alert | {"status": "resolved"},
        alert | {"labels": {"alertname": "X"}},
        alert | {"labels": {"agent": "billing-bot"}},
        alert | {"labels": {"alertname": "AndoncordIncident", "agent": "refund-alerted"}},
    ]
    payload = {"version": "4", "groupKey": "{}", "status": "firing", "receiver": "andon", "alerts": [alert, *others]}
    body = json.dumps(payload).encode()
    bearer = {"Authorization": "Bearer bearer-of-the-alertmanager"}

    assert post(server, "/api/v1/sources/prometheus/alerts", body, {"Authorization": "Bearer wrong"}).status_code == 401
    for _ in range(2):
        taken = post(server, "/api/v1/sources/prometheus/alerts", body, bearer)
        assert (taken.status_code, taken.json()) == (
            202,
            {"findings": 1, "resolved": 1, "without_agent": 1, "not_covered": 1, "own": 1},
        )
    person.eventually("/api/v1/incidents", lambda page: "refund-alerted" in json.dumps(page))
    assert "HighLatency: p95 is 40 s" in json.dumps(person.get("/api/v1/journal?limit=500"))
    assert post(server, "/api/v1/sources/prometheus/alerts", b'{"version": "3"}', bearer).status_code == 422


def test_a_secret_that_is_missing_is_named(tmp_path: Path) -> None:
    """The server does not start without it, and says which file."""
    (tmp_path / "andon.yaml").write_text("sources:\n  ci: {kind: webhook, secret_file: nowhere}\n")

    with pytest.raises(ServerFailedError, match=r"sources\.ci\.secret_file.*nowhere"):
        launch(tmp_path / "home", config=tmp_path / "andon.yaml")
