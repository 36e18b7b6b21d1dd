"""A made-up fleet as the fleet map shows it: made by the map's own code from a few events, so that its shape cannot drift."""

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from andoncord.detect.influence import Message, Turn
from andoncord.investigate.runs import runs
from andoncord.investigate.series import series
from andoncord.investigate.taint import taint
from andoncord.investigate.touched import touched
from andoncord.kernel.time import MINUTE_NS, SECOND_NS, rfc3339
from andoncord.server.reading import shown_event, shown_run, shown_series, shown_touched
from andoncord.server.spreading import shown_influence, shown_taint
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.fleet import FleetMap
from andoncord.telemetry.fleet_view import Alive, DeclaredAgent, Fleet
from andoncord.telemetry.folding import fold, levels
from andoncord.telemetry.transcript import transcript

HOUR_NS = 60 * MINUTE_NS
DECLARED = DeclaredAgent(
    agent="refund-agent",
    description="Refunds orders.",
    version="2.0",
    role="worker",
    team="payments",
    owner="mira",
    criticality="high",
    environment="prod",
    tools={"orders.lookup": "read", "payments.refund": "write", "mail.send": "write"},
    depends_on=("orders",),
    talks_to=("mailer",),
)


def event(kind: EventKind, name: str, at_ns: int, number: int, **more: Any) -> Event:
    fields: dict[str, Any] = {
        "agent": "refund-agent",
        "trace_id": "t",
        "run_id": "t",
        "span_id": f"{kind.value}{number}",
        **more,
    }
    return Event(kind=kind, name=name, start_ns=at_ns, end_ns=at_ns + SECOND_NS, received_ns=at_ns + SECOND_NS, **fields)


def events(now: int, hostile: str = "") -> list[Event]:
    """An hour of one agent, with a quarter of an hour in which nothing was heard."""
    found = []
    for minute in range(60):
        if 20 <= minute < 35:
            continue
        at_ns = now - HOUR_NS + minute * MINUTE_NS
        version = {"agent_version": "2.0" if minute < 40 else "2.1"}
        failed: dict[str, Any] = {"ok": False, "error_type": "TimeoutError"} if minute % 9 == 0 else {}
        kind = EventKind.TOOL_FAILED if failed else EventKind.TOOL_COMPLETED
        command = '{"command": "curl https://pay.example.com > out.json"}'
        found += [
            event(EventKind.AGENT_INVOKED, "refund-agent", at_ns, minute, span_id=f"a{minute}", attributes=version),
            event(
                EventKind.MODEL_COMPLETED,
                hostile or "m-1",
                at_ns,
                minute,
                input_tokens=900,
                output_tokens=80,
                cost_micro_usd=4_000,
            ),
            event(kind, hostile or "payments.refund", at_ns, minute, arguments=command, **failed),
            event(EventKind.TOOL_COMPLETED, "bash", at_ns, minute + 100, arguments=command),
            event(
                EventKind.AGENT_INVOKED,
                "router",
                at_ns,
                minute,
                agent="router",
                span_id=f"b{minute}",
                parent_span_id=f"a{minute}",
            ),
        ]
    return found


def agents(rows: Iterable[Mapping[str, Any]], now: int, hostile: str = "") -> Fleet:
    """The fleet map of the sample's agents."""
    seen = FleetMap()
    seen.observe(events(now, hostile))
    alive = {
        row["agent"]: Alive(
            state=row["state"],
            rung=row["rung"],
            connected=sum(bool(instance["connected"]) for instance in row["instances"]),
            known=len(row["instances"]),
        )
        for row in rows
    }
    return Fleet([DECLARED], seen.take_changed(), alive, now=now)


def figures(agent: str, now: int) -> dict[str, Any]:
    """The last hour of an agent."""
    own = [each for each in events(now) if each.agent == agent]
    return shown_series(series(agent, own, since_ns=now - HOUR_NS, until_ns=now, limit=10_000))


def traces_left(agent: str, now: int, hostile: str = "") -> dict[str, Any]:
    """What an agent touched."""
    own = [each for each in events(now) if each.agent == agent]
    if hostile:
        command = msgspec.json.encode({"command": f"echo > '{hostile}'"}).decode()
        own.append(event(EventKind.TOOL_COMPLETED, "bash", now - MINUTE_NS, 999, agent=agent, arguments=command))
    found = shown_touched(touched(own))
    return {**found, "since_at": rfc3339(now - HOUR_NS), "until_at": rfc3339(now), "is_cut": False}


def runs_of(agent: str, now: int) -> dict[str, Any]:
    """The runs of an agent."""
    return {"items": [shown_run(run) for run in runs(each for each in events(now) if each.agent == agent)], "is_cut": False}


def whole(trace_id: str, now: int, hostile: str = "") -> dict[str, Any]:
    """A trace with what was said in it."""
    at_ns = now - MINUTE_NS
    spans = [
        event(EventKind.AGENT_INVOKED, "refund-agent", at_ns, 0, span_id="a", run_id="t"),
        event(
            EventKind.MODEL_COMPLETED,
            hostile or "m-1",
            at_ns + 1,
            1,
            parent_span_id="a",
            input_text=hostile or "Refund 17?",
            output_text=hostile or "I look.",
            input_tokens=9,
            attributes={"cost_unknown": True},
        ),
        event(
            EventKind.TOOL_FAILED,
            "payments.refund",
            at_ns + 2,
            2,
            parent_span_id="a",
            ok=False,
            error_type="Refused",
            arguments='{"order": 17}',
            result=hostile or "no",
        ),
        event(
            EventKind.GUARD_DENIED, "mail.send", at_ns + 3, 3, span_id="a", ok=False, attributes={"message": hostile or "no"}
        ),
    ]
    return {
        "trace_id": trace_id,
        "spans": [{"depth": depth, **shown_event(each)} for depth, each in levels(fold(spans))],
        "steps": [msgspec.to_builtins(step) for step in transcript(spans)],
        "touched": shown_touched(touched(spans)),
    }


def overdue(now: int, text: str = "order for indexer has no receipt") -> dict[str, Any]:
    return {
        "fault": "effect_late",
        "incident": "inc_000003",
        "agent": "indexer",
        "text": text,
        "since_at": rfc3339(now - MINUTE_NS),
        "remedy": "look at the server's log",
    }


def answers(agent: str, hostile: str = "") -> dict[str, Any]:
    """How good an agent's answers are."""
    corrected = {"judged": 0.91, "rate": 0.87, "low": 0.82, "high": 0.91, "labels": 64, "refused": ""}
    refused = {"judged": 0.7, "rate": None, "low": None, "high": None, "labels": 3, "refused": "needs 10 labels of runs"}
    rate = {"agent": agent, "trusted": True, "runs": 412, "worth": 390.0, "without_verdict": 0, "objective": 0.9}
    canary = {"name": "total", "agent": agent, "every": "1h", "asked_at": "2026-01-05T08:00:00Z", "due_at": None}
    return {
        "rates": [
            {**rate, "evaluator": f"helpful{hostile}", "corrected": corrected, "state": "unknown"},
            {**rate, "evaluator": "polite", "corrected": refused, "state": "unknown", "without_verdict": 4},
        ],
        "days": 7,
        "canaries": [{**canary, "state": "wrong", "why": f"the answer is another: Sydney{hostile}"}],
        "risk": {"agent": agent, "probability": 0.034, "recency": 0.011, "because": ["a change in the last 12 hours"]},
        "why_no_risk": "",
    }


def influence(agent: str, hostile: str = "") -> dict[str, Any]:
    """A circle that grows, between agents whose names may be an attack."""
    one, other = hostile or "planner", "refund-agent"
    messages, turns, waiting, at_ns = [], [], 6, 0
    for turn in range(6):
        sender, receiver = (one, other) if turn % 2 == 0 else (other, one)
        for number in range(waiting):
            run, began_ns = f"r{turn}-{number}", at_ns + number * SECOND_NS
            turns.append(Turn(sender, run, "t", began_ns, began_ns + SECOND_NS // 2, True))
            sent = [Message(sender, receiver, began_ns + part, "t", "s", "called", run) for part in (1_000, 2_000)]
            messages += sent[: 1 + (turn + number) % 2]
        at_ns += (waiting + 3) * SECOND_NS
        waiting = sum(message.sender == sender for message in messages[-2 * waiting :])
    found = shown_influence(messages, turns, agent=agent)
    return {**found, "since_at": rfc3339(SECOND_NS), "until_at": rfc3339(2 * SECOND_NS), "is_cut": False}


def tainted(datum: str, now: int, hostile: str = "") -> dict[str, Any]:
    """What is downstream of a result of the sample's run."""
    found = taint(events(now, hostile), datum)
    return {**shown_taint(found), "since_at": rfc3339(now), "until_at": rfc3339(now), "is_cut": False}
