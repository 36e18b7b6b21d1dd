"""The bank: faults stay where they are, ids are stable, and probes are not judged."""

from collections.abc import Iterable
from typing import Any

import msgspec

from andoncord.detect.bank import Bank
from andoncord.detect.build import NATIVE
from andoncord.detect.declared import Declared
from andoncord.detect.detector import Hit
from andoncord.detect.facts import Facts
from andoncord.detect.pack import default_rules
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind
from andoncord.testing.detectors import ordinary_events

START_NS = 1_767_225_600 * SECOND_NS


def denied(**fields: Any) -> Event:
    base: dict[str, Any] = {
        "kind": EventKind.GUARD_DENIED,
        "agent": "a",
        "run_id": "r",
        "span_id": "s",
        "name": "wire_transfer",
    }
    return Event(
        **{**base, "start_ns": START_NS, "end_ns": START_NS, "attributes": {"code": "scope"}, "trusted": True, **fields}
    )


class Broken:
    kinds = frozenset({EventKind.GUARD_DENIED})

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        raise RuntimeError("broken on purpose")

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()


def test_a_broken_detector_does_not_stop_the_others(monkeypatch: Any) -> None:
    """The rule that breaks is switched off and named; the others still find."""
    monkeypatch.setitem(NATIVE, "injected_action", Broken)
    watch = Bank(default_rules())

    assert [finding.rule for finding in watch.observe(denied())] == ["unauthorized-action"]
    assert watch.faults["injected-action"] == "switched off: RuntimeError: broken on purpose"
    assert [finding.rule for finding in watch.observe(denied(run_id="r2"))] == ["unauthorized-action"]


def test_a_condition_that_cannot_be_evaluated_is_noted_and_the_rule_lives_on() -> None:
    """An event that lacks what a rule asks for is no match, and not a silent one either."""
    watch = Bank(default_rules())
    watch.observe(denied(attributes={}))

    assert "condition not evaluated" in watch.faults["unauthorized-action"]
    assert [finding.rule for finding in watch.observe(denied())] == ["unauthorized-action"]


def test_the_same_record_gives_the_same_findings() -> None:
    """Reading a record twice gives byte for byte the same findings (replay is identity)."""
    events = ordinary_events(500)

    def read() -> bytes:
        watch = Bank(default_rules(), {"*": Declared(agent="*", tools={"allowed": "read"}, budget_micro_usd=10)})
        found = [finding for event in events for finding in (*watch.observe(event), *watch.tick(event.at_ns))]
        assert found
        return msgspec.json.encode(found)

    assert read() == read()


def test_what_the_guard_refused_is_marked_as_enforced() -> None:
    """A finding that rests on a refusal says so, and that every signal behind it was trusted."""
    (finding,) = Bank(default_rules()).observe(denied())

    assert (finding.enforced, finding.trusted, finding.severity.value) == (True, True, "critical")


def test_probes_are_not_judged() -> None:
    """What an agent does while a fix is being proved is no incident."""
    assert Bank(default_rules()).observe(denied(attributes={"code": "scope", "probe": True})) == ()


def test_agent_text_in_a_summary_is_made_visible() -> None:
    """Names come from agents: control characters in them are shown, and a placeholder in them is not filled in."""
    (finding,) = Bank(default_rules()).observe(denied(name="\x1b[2J{agent}"))

    assert "\x1b" not in finding.summary
    assert "{agent}" in finding.summary


def test_a_clock_ahead_does_not_move_the_windows_of_its_agent() -> None:
    """One event from an hour ahead, and the failures that follow at the right time still make a finding."""
    at_ns = 1_767_603_600_000_000_000

    def failed(number: int, *, ahead_ns: int = 0) -> Event:
        return Event(
            kind=EventKind.TOOL_FAILED,
            agent="refunds",
            run_id="r",
            name="orders.lookup",
            error_type="TimeoutError",
            span_id=f"{number:016x}",
            arguments=f'{{"n": {number}}}',
            ok=False,
            start_ns=at_ns + number * SECOND_NS + ahead_ns,
            end_ns=at_ns + number * SECOND_NS + ahead_ns + 1,
            received_ns=at_ns + number * SECOND_NS,
            attributes={"clock_skew_s": 3600.0} if ahead_ns else {},
        )

    bank = Bank([rule for rule in default_rules() if rule.id == "repeated-failure"])
    bank.observe(failed(0, ahead_ns=3_600 * SECOND_NS))

    assert any(bank.observe(failed(number)) for number in range(1, 12))
