"""Taint: what is downstream of a wrong datum, as an exact lower and a possible upper bound."""

import random
from typing import Any

from andoncord.investigate.taint import blast_radius, taint
from andoncord.kernel.time import SECOND_NS
from andoncord.telemetry.event import Event, EventKind


def step(agent: str, at_s: int, name: str = "note", *, run: str = "", trace: str = "", **said: object) -> Event:
    """A tool call that takes a second."""
    base: dict[str, object] = {
        "kind": EventKind.TOOL_COMPLETED,
        "agent": agent,
        "run_id": run or agent,
        "trace_id": trace or run or agent,
        "span_id": f"{agent}-{at_s}",
        "name": name,
        "start_ns": at_s * SECOND_NS,
        "end_ns": (at_s + 1) * SECOND_NS,
    }
    return Event(**{**base, **said})  # type: ignore[arg-type]


def uses(agent: str, at_s: int, *, reads: str = "", writes: str = "", **said: Any) -> Event:
    """A call that names its data outright."""
    return step(agent, at_s, attributes={key: value for key, value in (("reads", reads), ("writes", writes)) if value}, **said)


def test_what_a_step_reads_goes_into_what_it_writes() -> None:
    """Also when it does both within one call, and nothing else in its run."""
    found = taint([uses("writer", 1, reads="x", writes="y"), uses("reader", 5, reads="y"), uses("apart", 5, reads="z")], "x")
    assert found.exact.agents == ("reader", "writer")
    assert found.exact.data == ("y",)


def test_who_worked_before_the_datum_went_wrong_is_not_downstream() -> None:
    """A run is tainted from its reading on, and a datum from its writing on; what was before is neither exact nor possible."""
    found = taint(
        [
            uses("early", 1, reads="x"),
            step("late", 11, "pay"),
            uses("late", 20, reads="x"),
            uses("writer", 22, writes="y"),
            step("late", 30, "pay"),
        ],
        "x",
        since_ns=10 * SECOND_NS,
    )

    assert (found.exact.agents, found.exact.effects, found.exact.data) == (("late",), 1, ())
    assert found.possible.agents == ("late",)


def test_calls_carry_it_down_and_answers_carry_it_up() -> None:
    """Who is called after the reading is downstream, who was called before is not, and an answer taints the caller."""
    invoked = {"kind": EventKind.AGENT_INVOKED}
    events = [
        uses("planner", 10, reads="x", trace="t"),
        step("before", 5, trace="t", parent_span_id="planner-10", end_ns=30 * SECOND_NS, **invoked),
        step("before", 15, "pay", trace="t"),
        step("after", 12, trace="t", parent_span_id="planner-10", end_ns=30 * SECOND_NS, **invoked),
        step("after", 14, "pay", trace="t"),
    ]
    assert taint(events, "x").exact.agents == ("after", "planner")

    answer = [
        uses("helper", 10, reads="x", trace="t"),
        step("helper", 9, trace="t", parent_span_id="root", end_ns=20 * SECOND_NS, **invoked),
        step("boss", 1, trace="t", span_id="root", end_ns=90 * SECOND_NS, **invoked),
        step("boss", 5, "pay", trace="t"),
        step("boss", 40, "refund", trace="t"),
    ]
    found = taint(answer, "x")
    assert found.exact.agents == ("boss", "helper")
    assert {effect.tool for effect in found.effects if effect.agent == "boss"} == {"refund"}


def test_a_result_is_followed_through_its_run_and_its_copies() -> None:
    """A span that returned something wrong taints what its run does next, and whoever is given the same text."""
    wrong = "account 4471 is owed 9,000 dollars by the bank"
    found = taint(
        [
            step("a", 1, "read", result=wrong),
            step("a", 3, "pay"),
            step("b", 5, kind=EventKind.MODEL_COMPLETED, input_text=f"Note: {wrong}."),
            step("c", 6, kind=EventKind.MODEL_COMPLETED, input_text="Nothing about it."),
        ],
        "a-1",
    )

    assert (found.origin, found.exact.agents) == (("a-1",), ("a", "b"))


def test_what_nothing_rules_out_is_possible_and_never_exact() -> None:
    """A call that may read, a later conversation, a later run of a tainted agent: the upper bound has them, the lower not."""
    found = taint(
        [
            uses("a", 1, reads="x", session_id="s"),
            step("unclear", 2, "book", arguments='{"key": "x"}'),
            step("talk", 5, "pay", session_id="s"),
            step("a", 9, "pay", run="a-again"),
            step("other", 9, "pay"),
        ],
        "x",
    )

    assert found.exact.agents == ("a",)
    assert found.possible.agents == ("a", "talk", "unclear")
    assert found.possible.runs == 4 > found.exact.runs == 1


def test_planted_taint_is_bounded_from_both_sides() -> None:
    """On generated graphs with reads that went unrecorded, exact ⊆ truth, and truth ⊆ possible where agents are known."""
    chance = random.Random(3)
    for _ in range(20):
        truth, data, events = set(), {"x"}, []
        for number in range(40):
            read = chance.choice(["x", *(f"d{other}" for other in range(number))])
            run, is_tainted = f"r{number}", read in data
            lost = chance.random() < 0.2
            if is_tainted:
                truth.add(run)
                data.add(f"d{number}")
            said = {"session_id": "one"}
            events.append(uses("a", 10 * number, reads="" if lost else read, writes=f"d{number}", run=run, **said))
        found = taint(events, "x")
        exact = {run.run_id for run in found.runs if run.is_exact}
        known_from = min((run.since_ns for run in found.runs), default=0)
        later = {run for run in truth if exact and int(run[1:]) * 10 * SECOND_NS >= known_from}
        assert exact <= truth
        assert later <= {run.run_id for run in found.runs}


def test_the_blast_radius_begins_with_what_findings_name() -> None:
    """Runs that a finding names are certain, those they called too; later runs of the agent are possible, others at risk."""
    invoked = {"kind": EventKind.AGENT_INVOKED}
    events = [
        step("a", 1, "pay", run="bad", trace="t"),
        step("b", 3, trace="t", parent_span_id="a-1", end_ns=9 * SECOND_NS, **invoked),
        step("b", 4, "mail", trace="t"),
        step("a", 20, "pay", run="later", trace="u"),
        step("c", 20, "pay", trace="v"),
    ]
    reached = blast_radius(events, [("a", "bad", SECOND_NS)])

    assert (reached.exact.agents, reached.exact.effects) == (("a", "b"), 2)
    assert (reached.possible.agents, reached.possible.runs, reached.at_risk) == (("a", "b"), 3, 1)
