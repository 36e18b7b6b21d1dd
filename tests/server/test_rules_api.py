"""Rules tried on the stored past, over HTTP: what they would have found, and what is wrong with one."""

import json
import threading
import time
from typing import TYPE_CHECKING, Any

import httpx2

from andoncord.adapters.system.server_process import ServerProcess

if TYPE_CHECKING:
    from tests.server.conftest import Person
else:
    Person = Any

RULE = """id: burst
title: many look-ups
on: tool.completed
where: "event.name == 'orders.lookup'"
correlate: {type: count, group_by: [agent], window: 10m, gte: 3}
severity: medium
category: resource_exhaustion
pattern: token_burst
summary: "{agent} looked up {count} orders"
source: chosen
runbook: none
tests:
  - {name: fires, given: [{on: tool.completed, times: 3, set: {name: orders.lookup}}], expect: medium}
  - {name: silent, given: [{on: tool.completed, times: 2, set: {name: orders.lookup}}], expect: none}
"""


def spans(count: int) -> dict[str, Any]:
    """Look-ups of one agent in traces of their own."""
    now = time.time_ns()
    attributes = {
        "gen_ai.operation.name": "execute_tool",
        "gen_ai.tool.name": "orders.lookup",
        "gen_ai.agent.name": "refund-bot",
    }
    made = [
        {
            "traceId": f"{number + 1:032x}",
            "spanId": f"{number + 1:016x}",
            "name": "execute_tool orders.lookup",
            "startTimeUnixNano": str(now - 1_000),
            "endTimeUnixNano": str(now),
            "attributes": [{"key": key, "value": {"stringValue": value}} for key, value in attributes.items()],
        }
        for number in range(count)
    ]
    return {"resourceSpans": [{"scopeSpans": [{"spans": made}]}]}


def test_a_rule_is_tried_on_what_is_stored(server: ServerProcess, person: Person) -> None:
    """Three look-ups that were stored would have been found by a rule that was not there; nothing is done because of it."""
    httpx2.post(f"{server.otlp_url}/v1/traces", json=spans(3), trust_env=False).raise_for_status()
    asked = {"rules": {"burst.yaml": RULE}, "hours": 1}
    result, pause = person.post("/api/v1/rules/backtest", asked), threading.Event()
    for _ in range(100):
        if result["events"] >= 3:
            break
        pause.wait(0.1)
        result = person.post("/api/v1/rules/backtest", asked)

    assert [(each["rule"], each["agent"], each["summary"]) for each in result["findings"]] == [
        ("burst", "refund-bot", "refund-bot looked up 3 orders")
    ]
    assert person.get("/api/v1/incidents")["items"] == []


def test_what_is_wrong_with_a_rule_is_named(person: Person) -> None:
    """A mistake comes back with its file, its line and the remedy; a request that is no such thing is refused too."""
    wrong = RULE.replace("severity: medium", "sevrity: medium")
    answer = person.http.post("/api/v1/rules/backtest", json={"rules": {"mine.yaml": wrong}})
    assert answer.status_code == 422
    assert "mine.yaml:6: unknown field 'sevrity', did you mean 'severity'?" in json.dumps(answer.json())

    assert person.http.post("/api/v1/rules/backtest", json={"rules": {}, "hours": 1}).status_code == 422
    assert person.http.post("/api/v1/rules/backtest", content=b"{").status_code == 422
