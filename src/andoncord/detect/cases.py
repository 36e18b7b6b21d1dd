"""Runs the cases that a rule carries: what must fire and what must stay silent (DET-19)."""

from typing import Any

import msgspec

from andoncord.detect.bank import Bank
from andoncord.detect.build import declared_of
from andoncord.detect.finding import Finding
from andoncord.detect.rule import CaseSpec, GivenEvent, Rule, duration_ns
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event

START_NS = 1_767_225_600 * SECOND_NS
"""When every case begins: 2026-01-01T00:00:00Z."""
TICK_NS = SECOND_NS // 4
AGENT = "agent-1"


def check_cases(rule: Rule) -> tuple[str, ...]:
    """What is wrong with a rule by its own cases; empty when every case holds."""
    return tuple(problem for case in rule.tests if (problem := check_case(rule, case)))


def check_case(rule: Rule, case: CaseSpec) -> str:
    """What is wrong with a rule by one of its cases, or ''."""
    try:
        events = events_of(case)
    except msgspec.ValidationError as wrong:
        return f"{rule.place}: {case.name}: {wrong}"
    bank, findings = play(rule, case, events)
    if bank.faults:
        return f"{rule.place}: {case.name}: {bank.faults[rule.id]}"
    found = [finding.severity.value for finding in findings]
    expected = [] if case.expect == "none" else [case.expect]
    if found != expected:
        return f"{rule.place}: {case.name}: expected {expected or 'no finding'}, got {found or 'no finding'}"
    return ""


def play(rule: Rule, case: CaseSpec, events: tuple[Event, ...]) -> tuple[Bank, list[Finding]]:
    """Show a case's events to a bank of this rule alone, with the clock ticking between them."""
    bank = Bank((rule,), {"*": declared_of("*", case.declared)})
    findings: list[Finding] = []
    last_ns = events[-1].at_ns if events else START_NS
    until_ns = START_NS + duration_ns(case.until) if case.until else last_ns
    tick_ns = START_NS
    waiting = list(reversed(events))
    while waiting or tick_ns <= until_ns:
        while waiting and waiting[-1].at_ns <= tick_ns:
            findings += bank.observe(waiting.pop())
        findings += bank.tick(tick_ns)
        # Without `until` nothing is expected of the clock, so it may jump to the next event.
        tick_ns = tick_ns + TICK_NS if case.until or not waiting else max(tick_ns + TICK_NS, waiting[-1].at_ns)
    return bank, findings


def events_of(case: CaseSpec) -> tuple[Event, ...]:
    """The events of a case in the order of their times."""
    events = [event for index, given in enumerate(case.given) for event in _expanded(given, index)]
    return tuple(sorted(events, key=lambda event: event.at_ns))


def _expanded(given: GivenEvent, index: int) -> list[Event]:
    events = []
    for number in range(1, given.times + 1):
        at_ns = START_NS + _offset_ns(given.at) + (number - 1) * duration_ns(given.every)
        fields = {
            "agent": AGENT,
            "run_id": "run-1",
            "trace_id": "trace-1",
            "instance": "instance-1",
            "span_id": f"span-{index}-{number}",
            "trusted": True,
            **{name: _numbered(value, number) for name, value in given.set.items()},
        }
        fields.update(kind=given.on.value, start_ns=at_ns, end_ns=at_ns)
        events.append(msgspec.convert(fields, Event))
    return events


def _offset_ns(text: str) -> int:
    return 0 if text.rstrip("msh") == "0" else duration_ns(text)


def _numbered(value: Any, number: int) -> Any:
    if isinstance(value, str):
        return value.replace("{n}", str(number))
    if isinstance(value, dict):
        return {name: _numbered(item, number) for name, item in value.items()}
    return value
