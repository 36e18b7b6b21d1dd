"""What is certain about a condition before there is an event, and that looking rules up by it changes nothing."""

from typing import Any

import pytest

from andoncord.detect.bank import Bank
from andoncord.detect.declared import Declared
from andoncord.detect.facts import NAMES
from andoncord.detect.known import decide
from andoncord.detect.rule import load_rules
from andoncord.policy.expression import parse
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing.detectors import ordinary_events

RULE = """id: {id}
title: x
on: {on}
where: "{where}"
correlate: {{type: match, group_by: [span_id]}}
severity: low
category: decision_failure
pattern: scope_creep
summary: x
source: test
runbook: none
tests: [{{name: a, given: [], expect: low}}, {{name: b, given: [], expect: none}}]
"""
CONDITIONS = (
    "event.name == 'allowed'",
    "event.name == 'forbidden' && event.ok",
    "attributes.code == 'loop'",
    "'scope' == attributes.code && event.agent == 'agent-1'",
    "event.agent == 'agent-2'",
    "agent.name == 'agent-0' || event.name == 'nobody'",
    "size(agent.tools) > 0 && !(event.name in agent.tools)",
    "event.kind == 'tool.failed' || event.name == 'allowed' && event.error_type == 'broken'",
    "event.name == 'nobody'",
)


@pytest.mark.parametrize(
    ("condition", "known", "expected"),
    [
        ("event.name == 'x' || event.kind == 'a'", {"event": {"kind": "a"}}, True),
        ("args.n > 3 && event.kind == 'b'", {"event": {"kind": "a"}}, False),
        ("args.n > 3 || event.kind == 'b'", {"event": {"kind": "a"}}, None),
        ("size(agent.tools) > 0", {"agent": {"tools": {}}}, False),
        ("event.kind == 3", {"event": {"kind": "a"}}, None),
        ("!(event.name in agent.tools)", {"agent": {"tools": {"x": "read"}}, "event": {"name": "x"}}, False),
        ("event.name.matches('price|bid') && has(args.price)", {"event": {"name": "orders.lookup"}}, False),
        ("event.name.matches('price|bid') && has(args.price)", {"event": {"name": "set_price"}}, None),
        ("event.name.matches('price|bid')", {}, None),
        ("event.name.matches('price|bid')", {"event": {"name": "bid" * 100}}, None),
    ],
)
def test_only_certainties_count(condition: str, known: dict[str, Any], expected: bool | None) -> None:
    """What hangs on an unknown, or would be an error, is unknown; true and false decide as they do in the language."""
    assert decide(parse(condition, place="", names=NAMES), known) is expected


def test_rules_that_are_looked_up_find_what_rules_asked_one_by_one_find() -> None:
    """Whatever can be said beforehand about conditions changes nothing of what they match."""
    texts = {
        f"{number}-{kind}": RULE.format(id=f"r{number}-{kind.replace('.', '-')}", on=kind, where=where)
        for number, where in enumerate(CONDITIONS)
        for kind in ("tool.completed", "tool.failed", "guard.denied")
    }
    rules = load_rules(texts)
    declared = {"agent-1": Declared(agent="agent-1", tools={"allowed": "read"}), "agent-2": Declared(agent="agent-2")}
    together, alone = Bank(rules, declared), [Bank([rule], declared) for rule in rules]
    events = ordinary_events(600)
    found = {(finding.rule, finding.span_id) for event in events for finding in together.observe(event)}
    expected = {(finding.rule, finding.span_id) for bank in alone for event in events for finding in bank.observe(event)}

    assert found == expected
    matched = [_matches(rule.where, rule.on, event, declared) for rule in rules for event in events]
    assert sum(matched) == len(found) > 100


def _matches(where: str, on: Any, event: Event, declared: dict[str, Declared]) -> bool:
    """The plain meaning of a condition, spelled out with Python's own operators."""
    tools = declared.get(event.agent, Declared(agent="*")).tools
    names = {"event": event, "attributes": event.attributes, "tools": tools}
    text = where.replace("&&", "and").replace("||", "or").replace("!(", "not (").replace("agent.name ", "event.agent ")
    text = (
        text.replace("size(agent.tools)", "len(tools)")
        .replace("agent.tools", "tools")
        .replace("attributes.code", "attributes['code']")
    )
    return event.kind is EventKind(on) and bool(eval(text, {}, names))
