"""Approvals end to end: a real guard asks a real server, a person answers, and exactly that call is made, once."""

import contextlib
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from andoncord.adapters.system.server_process import ServerProcess, launch
from andoncord_sdk import CallDenied, Guard

POLICY = """
id: refund-cap
effect: forbid
scope: {agent: refunds, tool: payments.refund}
when: "args.amount > 200"
message: large refunds need a person
obligations:
  - require_approval: {role: finance, hold_s: 0}
tests:
  - {name: a large refund, request: {agent: refunds, tool: payments.refund, args: {amount: 250}}, expect: oblige}
  - {name: a small one, request: {agent: refunds, tool: payments.refund, args: {amount: 1}}, expect: allow}
"""
HOLDING = """
---
id: payout
effect: forbid
scope: {agent: refunds, tool: payments.payout}
message: every payout needs a person
obligations:
  - require_approval: {role: finance, hold_s: 20}
tests:
  - {name: any, request: {agent: refunds, tool: payments.payout, args: {}}, expect: oblige}
"""
SETTINGS = "policies: [refunds.yaml]\napprovals: {roles: {finance: [ada]}}\n"
DEADLINE_S = 20.0


def until(found: Callable[[], object]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not found():
        assert time.monotonic() < end_s, "it did not come in time"
        threading.Event().wait(0.05)


def client(server: ServerProcess, token: str) -> httpx2.Client:
    return httpx2.Client(base_url=f"{server.api_url}/api/v1", headers={"Authorization": f"Bearer {token}"}, timeout=20)


def test_a_person_approves_exactly_one_call(tmp_path: Path) -> None:
    """Denied until somebody in the role grants it, then this call passes once, and no other; or held until the answer comes."""
    (tmp_path / "refunds.yaml").write_text(POLICY + HOLDING)
    (tmp_path / "andon.yaml").write_text(SETTINGS)
    with launch(tmp_path / "home", config=tmp_path / "andon.yaml") as server, client(server, server.admin_token) as admin:
        agent = admin.post("/tokens", json={"name": "fleet", "scope": "agent", "agent": "refunds"}).json()["token"]
        ada = admin.post("/tokens", json={"name": "ada", "scope": "approve"}).json()["token"]
        paid: list[int] = []
        guard = Guard(agent="refunds", server=server.api_url, token=agent)
        with contextlib.closing(guard), guard.run() as run, client(server, ada) as person:

            def pay(amount: int) -> None:
                paid.append(amount)

            def refund(amount: int) -> None:
                run.call("payments.refund", pay, amount=amount)

            with pytest.raises(CallDenied) as refusal:
                refund(250)
            assert refusal.value.code == "approval"
            until(lambda: person.get("/approvals").json()["items"])
            (request,) = person.get("/approvals").json()["items"]
            assert request["digest"] == refusal.value.action_digest

            path, body = f"/approvals/{request['id']}/grant", {"digest": request["digest"]}
            assert admin.post(path, json=body).status_code == 409
            assert person.post(path, json=body).status_code == 202
            until(lambda: person.get(f"/approvals/{request['id']}").json()["status"] == "used")
            with pytest.raises(CallDenied):
                refund(251)

            def passes() -> bool:
                try:
                    refund(250)
                except CallDenied:
                    return False
                return True

            until(passes)
            with pytest.raises(CallDenied):
                refund(250)

            def payouts() -> list[dict[str, Any]]:
                items = person.get("/approvals").json()["items"]
                return [each for each in items if each["action"]["tool"] == "payments.payout"]

            def pay_out(amount: int, answer: str) -> str:
                """Made in another thread, and held there until the answer."""
                with ThreadPoolExecutor(1) as pool:
                    held = pool.submit(run.call, "payments.payout", pay, amount=amount)
                    until(payouts)
                    (asked,) = payouts()
                    assert not held.done()
                    body = {"digest": asked["digest"]} if answer == "grant" else {"reason": "no"}
                    assert person.post(f"/approvals/{asked['id']}/{answer}", json=body).status_code == 202
                    return str(held.exception(DEADLINE_S))

            assert pay_out(300, "grant") == "None"
            assert "needs the approval of finance, and it was denied" in pay_out(301, "deny")
        assert paid == [250, 300]
