"""Buttons in chat end to end: a real server, a Slack of this machine, and people in it who may and who may not."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from tests.adapters.slack_server import Slack, eventually, slack_server

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord_sdk.approval import canonical

SETTINGS = """
agents: {{refunds: {{tools: {{payments.refund: write}}}}}}
channels:
  chat:
    kind: slack
    to: ["#incidents"]
    key_file: bot.token
    app_key_file: app.token
    url: {url}
    people: {{U0ADA: ada, U0BOB: bob, U0GONE: gone, U0CYD: cyd}}
    approvals: true
oncall:
  link: https://andon.example.org
  people: {{ada: {{channels: [chat]}}}}
  escalation: {{levels: [{{who: [ada]}}]}}
approvals: {{roles: {{finance: [ada, bob, cyd]}}}}
"""


@pytest.fixture(scope="module")
def slack() -> Iterator[Slack]:
    with slack_server() as found:
        yield found


@pytest.fixture(scope="module")
def server(slack: Slack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("chat")
    (folder / "bot.token").write_text("xoxb-1")
    (folder / "app.token").write_text("xapp-1")
    (folder / "andon.yaml").write_text(SETTINGS.format(url=slack.url))
    with launch(folder / "home", config=folder / "andon.yaml") as running:
        yield running


@pytest.fixture(scope="module")
def admin(server: ServerProcess) -> Iterator[httpx2.Client]:
    headers = {"Authorization": f"Bearer {server.admin_token}"}
    with httpx2.Client(base_url=f"{server.api_url}/api/v1", headers=headers, timeout=20, trust_env=False) as client:
        for name, role in (("ada", "commander"), ("bob", "viewer"), ("cyd", "commander")):
            assert client.post("/users", json={"name": name, "role": role}).status_code == 201
        yield client


def declared(admin: httpx2.Client, slack: Slack, title: str) -> tuple[str, str]:
    """A critical incident, and the page about it."""
    body = {"agent": "refunds", "title": title, "severity": "critical"}
    incident = str(admin.post("/incidents", json=body).raise_for_status().json()["incident"])
    return incident, eventually(lambda: slack.find(incident, "page 1"))


def whisper(slack: Slack, user: str, words: str) -> Any:
    return eventually(lambda: any(who == user and words in text for who, text in slack.whispers))


def test_who_may_acknowledges_and_the_message_says_who(admin: httpx2.Client, slack: Slack) -> None:
    """A stranger, a viewer, an account that is not there, a late click, a forged one and another's word change nothing."""
    incident, page = declared(admin, slack, "refunds in a circle")
    slack.click("U0EVE", page, "acknowledge")
    whisper(slack, "U0EVE", "nobody here is U0EVE")
    slack.click("U0BOB", page, "acknowledge")
    whisper(slack, "U0BOB", "scope respond")
    slack.click("U0GONE", page, "acknowledge")
    whisper(slack, "U0GONE", "no account")
    slack.click("U0ADA", page, "acknowledge", at_s=1_700_000_000.0)
    whisper(slack, "U0ADA", "came too late")
    slack.click("U0ADA", page, "pause", value=slack.buttons(page)["acknowledge"]["value"])
    whisper(slack, "U0ADA", "something else than it says")
    slack.click("U0ADA", page, "acknowledge", value="e30=.AAAA")
    whisper(slack, "U0ADA", "not from here")
    assert admin.get(f"/incidents/{incident}").json()["acknowledged_by"] is None

    clicked = slack.click("U0ADA", page, "acknowledge")
    eventually(lambda: "ada looks after it" in slack.text(page))
    assert admin.get(f"/incidents/{incident}").json()["acknowledged_by"] == "person:ada"
    assert list(slack.buttons(page)) == ["pause"]

    slack.deliver(clicked)
    whisper(slack, "U0ADA", "taken before")
    (audited,) = [each for each in admin.get("/audit?limit=100").json()["items"] if each["about"] == incident]
    assert (audited["who"], audited["via"], audited["allowed"]) == ("ada", "slack chat", True)


def test_after_a_lost_connection_a_click_pauses_and_what_the_console_does_is_shown(admin: httpx2.Client, slack: Slack) -> None:
    """Slack asks for a new connection; the next click holds the agent; what is released elsewhere stands in the message."""
    incident, page = declared(admin, slack, "odd amounts")
    before = slack.connections
    slack.deliver({"type": "disconnect", "reason": "refresh_requested"})
    eventually(lambda: slack.connections > before)
    slack.click("U0ADA", page, "pause")
    eventually(lambda: "refunds: pause, by ada" in slack.text(page))

    admin.post(f"/incidents/{incident}/release", json={"agent": "refunds", "reason": "checked"}).raise_for_status()
    eventually(lambda: "refunds: pause" not in slack.text(page))
    assert "pause" in slack.buttons(page) or "resolved" in slack.text(page)


def asked(admin: httpx2.Client, server: ServerProcess, amount: int, *, note: str = "", people: int = 1) -> str:
    """A guard asks for an approval; gives the id of the request."""
    token = admin.post("/tokens", json={"name": "fleet", "scope": "agent", "agent": "refunds"}).json()["token"]
    action = {
        "agent": "refunds",
        "run_id": "run-1",
        "tool": "payments.refund",
        "arguments": canonical({"amount": amount, "note": note}),
        "policy_id": "refund-cap",
        "policy_digest": "d",
        "role": "finance",
        "people": people,
    }
    body = json.dumps({"instance": "i1", "actions": [action]})
    headers = {"Authorization": f"Bearer {token}"}
    httpx2.post(f"{server.api_url}/api/v1/approvals", content=body, headers=headers, timeout=20).raise_for_status()
    return str(admin.get("/approvals").json()["items"][-1]["id"])


def test_an_approval_is_answered_where_it_is_shown_whole(admin: httpx2.Client, server: ServerProcess, slack: Slack) -> None:
    """Who is in the role and may approve answers; the digest is the one that was shown; what is too long has only a link."""
    request = asked(admin, server, 250)
    post = eventually(lambda: slack.find(request, '"amount":250'))
    slack.click("U0BOB", post, "grant")
    whisper(slack, "U0BOB", "scope approve")
    slack.click("U0ADA", post, "grant")
    eventually(lambda: "granted by ada" in slack.text(post))
    assert admin.get(f"/approvals/{request}").json()["status"] == "granted"
    assert slack.buttons(post) == {}

    refused = asked(admin, server, 300)
    post = eventually(lambda: slack.find(refused, '"amount":300'))
    slack.click("U0ADA", post, "deny")
    eventually(lambda: "denied by ada" in slack.text(post))

    both = asked(admin, server, 350, people=2)
    post = eventually(lambda: slack.find(both, '"amount":350'))
    slack.click("U0ADA", post, "grant")
    eventually(lambda: "1 of 2 approved: ada" in slack.text(post))
    slack.click("U0ADA", post, "grant")
    whisper(slack, "U0ADA", "somebody else has to approve it")
    slack.click("U0CYD", post, "grant")
    eventually(lambda: "granted by" in slack.text(post))

    long = asked(admin, server, 400, note="x" * 4_000)
    post = eventually(lambda: slack.find(long, "cannot be answered here"))
    assert slack.buttons(post) == {}
    assert "https://andon.example.org" in slack.text(post)
