"""The ranking of suspects."""

from andoncord.detect.finding import Finding
from andoncord.investigate.responsible import rank
from andoncord.investigate.steps import steps_of
from andoncord.kernel.vocabulary import Category, Pattern, Severity
from andoncord.telemetry.event import Event, EventKind


def said(agent: str, span_id: str, at: int) -> Event:
    return Event(kind=EventKind.MODEL_COMPLETED, trace_id="t", span_id=span_id, agent=agent, start_ns=at, end_ns=at)


def called(agent: str, span_id: str, at: int, *, ok: bool = True, name: str = "search", arguments: str = "") -> Event:
    kind = EventKind.TOOL_COMPLETED if ok else EventKind.TOOL_FAILED
    return Event(
        kind=kind, trace_id="t", span_id=span_id, agent=agent, start_ns=at, end_ns=at, name=name, ok=ok, arguments=arguments
    )


def finding(span_id: str, *, agent: str = "worker", pattern: Pattern = Pattern.UNAUTHORIZED_ACTION) -> Finding:
    return Finding(
        id="f",
        rule="out-of-scope",
        agent=agent,
        severity=Severity.CRITICAL,
        category=Category.DECISION_FAILURE,
        pattern=pattern,
        score=1.0,
        summary="called what it may not call",
        at_ns=99,
        onset_ns=99,
        trace_id="t",
        span_id=span_id,
    )


def test_the_step_that_a_finding_names_comes_first() -> None:
    """A finding outweighs every indirect sign."""
    steps = steps_of([said("worker", "a", 1), called("worker", "b", 2, ok=False), called("worker", "c", 3)])

    assert rank(steps, [finding("c")])[0].span_id == "c"


def test_without_findings_the_one_who_asked_for_the_first_failing_call_leads() -> None:
    """A terminal that runs what others wrote is not to blame for their code."""
    steps = steps_of([said("planner", "a", 1), said("coder", "b", 2), called("terminal", "c", 3, ok=False)])

    first = rank(steps, [])[0]
    assert (first.agent, first.span_id) == ("coder", "b")
    assert "first hard error" in first.why


def test_a_finding_about_an_executor_falls_on_the_one_who_decided() -> None:
    """An agent that never speaks carries out; the agent that spoke before it decided."""
    steps = steps_of([said("planner", "a", 1), said("coder", "b", 2), called("terminal", "c", 3), said("planner", "d", 4)])

    first = rank(steps, [finding("c", agent="terminal", pattern=Pattern.REPEATED_FAILURE)])[0]
    assert (first.agent, first.span_id) == ("coder", "b")


def test_reading_foreign_instructions_blames_nobody() -> None:
    """Exposure adds no suspicion."""
    steps = steps_of([said("worker", "a", 1), called("worker", "b", 2)])

    ranked = rank(steps, [finding("b", pattern=Pattern.INJECTION_EXPOSURE)])
    assert ranked == rank(steps, [])


def test_a_finding_without_a_step_falls_on_the_last_decision() -> None:
    """A bad score names no step; what was decided before it does."""
    steps = steps_of([said("worker", "a", 1), said("worker", "b", 2), called("worker", "c", 3)])

    assert rank(steps, [finding("no-such-span", pattern=Pattern.QUALITY_DROP)])[0].span_id == "b"


def test_a_step_that_never_ended_is_a_suspect() -> None:
    """A hung call has no span of its own yet; its start stands for it."""
    started = Event(kind=EventKind.STEP_STARTED, trace_id="t", span_id="c", agent="worker", start_ns=3, name="reports.parse")
    steps = steps_of([said("worker", "a", 1), called("worker", "b", 2), started])

    assert rank(steps, [finding("", pattern=Pattern.SILENCE)])[0].span_id == "c"


def test_shares_are_a_distribution_and_at_most_five_are_shown() -> None:
    """All suspicion together is one; the reader sees the top."""
    steps = steps_of([said("worker", f"s{number}", number) for number in range(8)])
    ranked = rank(steps, [], top=100)

    assert abs(sum(suspect.score for suspect in ranked) - 1) < 1e-4
    assert len(rank(steps, [])) == 5


def test_an_empty_case_has_no_suspects() -> None:
    """Nothing seen, nobody blamed."""
    assert rank((), []) == ()
