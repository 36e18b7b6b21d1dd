"""What became of calls that were under way at the fence."""

from andoncord.incident.inflight import Disposition, InFlightCall, dispose
from andoncord.telemetry.event import Event, EventKind

FENCED_NS = 100


def started(span: str, at_ns: int, tool: str = "payments.refund") -> Event:
    """The start of a call."""
    return Event(kind=EventKind.STEP_STARTED, span_id=span, name=tool, instance="i1", run_id="r1", start_ns=at_ns)


def ended(span: str, at_ns: int, *, ok: bool = True, tool: str = "payments.refund") -> Event:
    """The end of a call."""
    kind = EventKind.TOOL_COMPLETED if ok else EventKind.TOOL_FAILED
    return Event(kind=kind, span_id=span, name=tool, instance="i1", run_id="r1", start_ns=1, end_ns=at_ns, ok=ok)


def became(*events: Event, reported: tuple[InFlightCall, ...] = (), tools: dict[str, str] | None = None) -> dict[str, str]:
    """Disposition by span."""
    return {call.span_id: call.disposition for call in dispose(reported, events, fenced_ns=FENCED_NS, tools=tools or {})}


def test_a_call_that_ended_well_after_the_fence_had_its_effect() -> None:
    """It had begun, and nothing took it back."""
    assert became(started("s1", 50), ended("s1", 150)) == {"s1": Disposition.COMPLETED}


def test_a_call_that_never_ended_is_unknown_unless_its_tool_only_reads() -> None:
    """Unknown is never rounded up; a tool that changes nothing has nothing to look for."""
    assert became(started("s1", 50)) == {"s1": Disposition.UNKNOWN}
    assert became(started("s1", 50, "orders.lookup"), tools={"orders.lookup": "read"}) == {"s1": Disposition.ABORTED}


def test_a_call_that_failed_after_the_fence_is_unknown() -> None:
    """An error does not say that nothing happened."""
    assert became(started("s1", 50), ended("s1", 150, ok=False)) == {"s1": Disposition.UNKNOWN}


def test_what_ended_before_or_began_after_the_fence_was_not_in_flight() -> None:
    """Only what the fence met."""
    assert became(started("s1", 50), ended("s1", 90), started("s2", 150)) == {}


def test_what_a_guard_named_counts_without_a_recorded_start() -> None:
    """The acknowledgement names calls whose start may not have arrived."""
    call = InFlightCall(instance="i1", tool="payments.refund", span_id="s9", run_id="r1")
    assert became(reported=(call,)) == {"s9": Disposition.UNKNOWN}
