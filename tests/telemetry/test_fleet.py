"""The fleet map: completed from telemetry, bounded, and silent about nothing it does not know."""

import msgspec
import pytest

from andoncord.kernel.time import MINUTE_NS, SECOND_NS
from andoncord.telemetry import fleet, partners
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.fleet import FleetMap, Sighting, edge_of, load
from andoncord.telemetry.fleet_view import Alive, DeclaredAgent, Fleet
from andoncord.telemetry.partners import CALLED, HANDED_OVER, SENT

NOW = 1_800_000_000 * SECOND_NS


def event(kind: EventKind, agent: str, at_s: float = 0, **fields: object) -> Event:
    at_ns = NOW + int(at_s * SECOND_NS)
    return msgspec.convert(
        {"kind": kind.value, "agent": agent, "start_ns": at_ns, "end_ns": at_ns, "trace_id": "t", **fields}, Event
    )


def sighted(*events: Event) -> dict[str, Sighting]:
    found = FleetMap()
    found.observe(events)
    return {each.agent: each for each in found.take_changed()}


def edges(sighting: Sighting) -> set[tuple[str, str]]:
    return {edge_of(key) for key in sighting.edges}


def test_who_called_whom_is_known_also_when_parents_arrive_last() -> None:
    """An agent's span below a tool span of another agent is an edge, in whichever order the spans came."""
    spans = [
        event(EventKind.AGENT_INVOKED, "writer", span_id="c", parent_span_id="b"),
        event(EventKind.TOOL_COMPLETED, "planner", span_id="b", parent_span_id="a", name="ask_writer"),
        event(EventKind.AGENT_INVOKED, "planner", span_id="a"),
    ]

    for order in (spans, spans[::-1], [spans[1], spans[0], spans[2]]):
        found = sighted(*order)
        assert edges(found["planner"]) == {(CALLED, "writer")}
        assert edges(found["writer"]) == set()


def test_hand_offs_and_messages() -> None:
    """A tool that is named after an agent hands over to it; a message counts when its recipient is an agent that is known."""
    found = sighted(
        event(EventKind.AGENT_INVOKED, "Refund Desk", span_id="r"),
        event(EventKind.TOOL_COMPLETED, "triage", span_id="1", name="transfer_to_refund_desk"),
        event(
            EventKind.TOOL_COMPLETED, "triage", span_id="2", name="transfer_to_agent", arguments='{"agent_name": "Refund Desk"}'
        ),
        event(EventKind.TOOL_COMPLETED, "triage", span_id="3", name="send_message", arguments='{"to": "Refund Desk"}'),
        event(EventKind.TOOL_COMPLETED, "triage", span_id="4", name="send_message", arguments='{"to": "someone@example.com"}'),
    )

    assert edges(found["triage"]) == {(HANDED_OVER, "Refund Desk"), (SENT, "Refund Desk")}
    assert sum(seen.count for seen in found["triage"].edges.values()) == 3


def test_changes_are_announced_or_inferred() -> None:
    """A change event is announced; a version or model that appears by itself is inferred, once, and not for the first one."""

    def call(model: str, version: str, at_s: float) -> Event:
        attributes = {"agent_version": version}
        return event(EventKind.MODEL_COMPLETED, "a", at_s, span_id=str(at_s), name=model, attributes=attributes)

    found = sighted(
        call("m-1", "1.0", 1),
        call("m-1", "1.1", 2),
        event(EventKind.CHANGE_MADE, "a", 3, name="model", attributes={"from": "m-1", "to": "m-2"}),
        call("m-2", "1.1", 4),
        call("m-1", "1.0", 5),
    )["a"]

    assert [(each.what, each.before, each.after, each.is_announced) for each in found.changes] == [
        ("version", "1.0", "1.1", False),
        ("model", "m-1", "m-2", True),
    ]
    assert found.current == {"model": "m-1", "version": "1.0"}


def test_memory_is_bounded_and_forged_agents_push_out_no_real_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond the bound the oldest without a token goes first, and one without a token never displaces one with."""
    monkeypatch.setattr(fleet, "MAX_AGENTS", 3)
    found = FleetMap()
    found.observe([event(EventKind.RUN_STARTED, f"real-{number}", number, trusted=True) for number in range(2)])
    found.observe([event(EventKind.RUN_STARTED, f"forged-{number}", 10 + number) for number in range(20)])

    assert len(found) == 3
    assert {each.agent for each in found.take_changed()} == {"real-0", "real-1", "forged-19"}
    found.observe([event(EventKind.RUN_STARTED, "real-2", trusted=True), event(EventKind.RUN_STARTED, "forged-20")])
    assert {each.agent for each in found.take_changed()} == {"real-2"}


def test_a_parent_that_never_ends_keeps_only_so_many_waiting() -> None:
    """Agents below a span that is open for weeks are not remembered one by one for ever."""
    seen = FleetMap()
    for number in range(3 * partners.MAX_BELOW):
        below = Event(
            kind=EventKind.AGENT_INVOKED, agent="worker", trace_id="t", span_id=f"s{number}", parent_span_id="open", start_ns=1
        )
        seen.observe([below])

    assert sum(map(len, seen._partners._pending.values())) == partners.MAX_BELOW


def test_of_each_agent_only_so_much_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tools beyond the bound push out the one seen longest ago, and that something was forgotten is said."""
    monkeypatch.setattr(fleet, "MAX_TOOLS", 2)
    found = sighted(*(event(EventKind.TOOL_COMPLETED, "a", at, span_id=str(at), name=f"tool-{at}") for at in range(4)))["a"]

    assert set(found.tools) == {"tool-2", "tool-3"}
    assert found.forgot == 2


def test_the_account_goes_on_after_a_restart() -> None:
    """What was kept and read again counts on where it was."""
    first = FleetMap()
    first.observe([event(EventKind.TOOL_FAILED, "a", 1, name="t", ok=False)])
    second = FleetMap(load(first.take_rows()))
    second.observe([event(EventKind.TOOL_COMPLETED, "a", 2, name="t")])

    tool = second.take_changed()[0].tools["t"]
    assert (tool.count, tool.failed, tool.last_ns - tool.first_ns) == (2, 1, SECOND_NS)


def test_a_clock_that_is_ahead_makes_nobody_look_alive() -> None:
    """An emitter whose clock is an hour ahead was last seen when its signal came."""
    ahead = msgspec.structs.replace(event(EventKind.RUN_STARTED, "a", 3_600), received_ns=NOW)

    assert sighted(ahead)["a"].last_ns == NOW


def test_declared_and_seen_complete_each_other() -> None:
    """Declared tools that were never called, calls that were not declared, and partners of both kinds are told apart."""
    declared = DeclaredAgent(
        agent="planner", tools={"search": "read", "publish": "write"}, talks_to=("writer-*", "critic"), criticality="high"
    )
    found = sighted(
        event(EventKind.TOOL_COMPLETED, "planner", span_id="1", name="search"),
        event(EventKind.TOOL_COMPLETED, "planner", span_id="2", name="delete"),
        event(EventKind.AGENT_INVOKED, "planner", span_id="a"),
        event(EventKind.AGENT_INVOKED, "writer-eu", span_id="b", parent_span_id="a"),
        event(EventKind.AGENT_INVOKED, "stranger", span_id="c", parent_span_id="a"),
    )
    fleet_now = Fleet([declared], found.values(), {}, now=NOW)
    agents = {name: fleet_now.agent(name) or {} for name in fleet_now.names()}

    tools = {each["name"]: (each["permission"], each["count"]) for each in agents["planner"]["tools"]}
    assert tools == {"search": ("read", 1), "publish": ("write", 0), "delete": ("not declared", 1)}
    partners = {each["agent"]: (each["declared"], each["count"]) for each in agents["planner"]["talks_to"]}
    assert partners == {"writer-eu": (True, 1), "stranger": (False, 1), "critic": (True, 0)}
    assert [each["agent"] for each in agents["stranger"]["called_by"]] == ["planner"]
    assert agents["stranger"]["tools"] == []


def test_silence_is_unknown_and_never_healthy() -> None:
    """Running and contained need a guard's word; telemetry alone is reporting, for a while; the rest is unknown, with why."""
    declared = [DeclaredAgent(agent="never"), DeclaredAgent(agent="batch-*")]
    found = [Sighting(agent="stock", last_ns=NOW), Sighting(agent="old", last_ns=NOW - 10 * MINUTE_NS)]
    alive = {
        "guarded": Alive(state="running", connected=1, known=1, last_ns=NOW),
        "held": Alive(state="contained", rung="pause", connected=1, known=1, last_ns=NOW),
        "gone": Alive(state="silent", known=1, last_ns=NOW - MINUTE_NS),
    }
    states = {each["agent"]: (each["state"], each["why"]) for each in Fleet(declared, found, alive, now=NOW).lines()}

    assert {agent: state for agent, (state, _) in states.items()} == {
        "gone": "unknown",
        "guarded": "running",
        "held": "contained",
        "never": "unknown",
        "old": "unknown",
        "stock": "reporting",
    }
    assert states["gone"][1] == "not heard of for 60 s"
    assert states["never"][1] == "declared, and never heard of"
