"""Parents that come last."""

from typing import Any

from andoncord.telemetry.ancestry import LOOK_AFTER_NS, MAX_TRACES, Ancestry, corrections
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.stitch import INFERRED

LATER = 10 * LOOK_AFTER_NS


def step(span: str = "b", parent: str = "a", *, trace: str = "t", **more: Any) -> Event:
    """A tool call under the name of its service."""
    fields = {"kind": EventKind.TOOL_COMPLETED, "agent": "shop", "start_ns": 5, "attributes": {INFERRED: True}, **more}
    return Event(trace_id=trace, span_id=span, parent_span_id=parent, **fields)


def root(span: str = "a", *, trace: str = "t", **more: Any) -> Event:
    """The span that names the agent."""
    fields = {"kind": EventKind.AGENT_INVOKED, "agent": "refunds", "start_ns": 5, **more}
    return Event(trace_id=trace, span_id=span, **fields)


def looked_at(*requests: list[Event], known_since_ns: int = 0) -> list[str]:
    """The traces that are due after these requests."""
    ancestry = Ancestry(known_since_ns=known_since_ns)
    for number, request in enumerate(requests):
        ancestry.observe(request, now=number)
    return ancestry.due(LATER, limit=99)


def test_a_trace_is_looked_at_when_a_later_request_may_explain_it() -> None:
    """Whichever comes first, child or parent; not where one request had both, nor where nobody names the agent."""
    assert looked_at([step()], [root()]) == ["t"]
    assert looked_at([root()], [step()]) == ["t"]
    assert looked_at([step("c", "b")], [root()], [step("b", "a")]) == ["t"]
    assert looked_at([step(), root()]) == []
    assert looked_at([step()], [step("c")], [root(trace="u")]) == []


def test_what_is_not_remembered_is_looked_up() -> None:
    """After a start, and of traces forgotten since: a span that began before may have had steps nobody remembers."""
    assert looked_at([root(start_ns=7)], known_since_ns=9) == ["t"]
    assert looked_at([root(start_ns=9)], known_since_ns=9) == []
    # Its clock is ahead: it took five of our nanoseconds, up to the eleventh.
    assert looked_at([root(start_ns=1_000, end_ns=1_005, received_ns=11)], known_since_ns=9) == ["t"]

    ancestry = Ancestry()
    ancestry.observe([step()], now=1)
    for generation in (2, 3):
        ancestry.observe([step(trace=f"{generation} {number}") for number in range(MAX_TRACES)], now=generation)
    ancestry.observe([root(start_ns=1)], now=4)
    assert ancestry.due(LATER, limit=99) == ["t"]


def test_a_model_call_around_one_that_was_counted_is_looked_at() -> None:
    """Two layers of a framework show one call in two requests: only together it is seen that both count it."""
    inner = step("n", "m", kind=EventKind.MODEL_COMPLETED, agent="refunds", attributes={}, input_tokens=3)
    outer = step("m", "a", kind=EventKind.MODEL_COMPLETED, agent="refunds", attributes={}, input_tokens=3)

    assert looked_at([inner], [outer]) == looked_at([outer], [inner]) == ["t"]
    (found,) = corrections([(1, inner), (2, outer), (3, root())])
    assert (found.place, found.after.input_tokens) == (2, 0)


def test_nobody_without_a_token_moves_what_was_sent_with_one() -> None:
    """A forged parent does not take an agent's steps away from it, nor a forged model call what it cost."""
    assert corrections([(1, step(trusted=True)), (2, root())]) == []
    assert [found.after.agent for found in corrections([(1, step()), (2, root())])] == ["refunds"]
    call = step("m", kind=EventKind.MODEL_COMPLETED, attributes={}, trusted=True, cost_micro_usd=7)
    assert corrections([(1, call), (2, step("n", "m", kind=EventKind.MODEL_COMPLETED, attributes={}, input_tokens=1))]) == []
