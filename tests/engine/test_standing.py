"""Orders of their own: given, combined, lifted one by one, ended by time, replayed."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from andoncord.engine.containing import WATCHED_AT_ONCE
from andoncord.engine.expiry import next_expiry_ns
from andoncord.engine.facts import TimePassed
from andoncord.engine.orderbook import strictest
from andoncord.engine.restored import is_ahead
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.errors import CallerError, ConflictError, NotFoundError
from andoncord.kernel.vocabulary import IncidentState, Severity
from andoncord.respond.ladder import LADDER, height
from andoncord.respond.orders import checked
from andoncord.testing.story import Story, finding


def order(story: Story, rung: str, *, agents: tuple[str, ...] = ("refunds", "support"), **more: Any) -> str:
    """Give an order by hand and let the guards confirm it; its id."""
    story.ask("order", incident="", rung=rung, agents=list(agents), about=more.pop("scope", {}), **more)
    story.run()
    return list(story.state.orders.in_force)[-1]


def in_force(story: Story, agent: str, *roles: str) -> list[str]:
    """The orders of their own on an agent."""
    return [each.id for each in story.state.orders.on(agent, roles)]


def test_an_order_about_a_tool_covers_agents_that_come_later(story: Story) -> None:
    """It is told to the known agents under one epoch, and an unknown agent has the same epoch when it comes."""
    given = order(story, "kill", scope={"tool": "payments.refund"}, reason="fraud")

    assert {intent.effect.parameters.get("rung") for intent in story.state.intents.values() if intent.standing} == {"restrict"}
    told = [intent.effect for intent in story.state.intents.values() if intent.standing == given]
    orders = {effect.target: effect.parameters["epoch"] for effect in told if effect.kind is EffectKind.ORDER}
    assert orders == {"refunds": [1, 1], "support": [1, 1]}
    assert story.state.epoch_of("nobody yet") == (1, 1)
    assert not is_ahead(story.state, "nobody yet", (1, 1))
    assert (in_force(story, "nobody yet"), story.state.rung_of("refunds")) == ([given], "none")


def test_lifting_one_order_leaves_the_others(story: Story) -> None:
    """Each is lifted by itself, with a reason; the incident is resolved when nothing of it is in force."""
    one = order(story, "throttle", scope={}, rate=0.2)
    other = order(story, "pause", scope={"agent": "supp*"}, agents=("support",))

    story.ask("lift", incident="", order=one, agents=["refunds", "support"], reason="over")
    story.run()

    assert (in_force(story, "refunds"), in_force(story, "support")) == ([], [other])
    assert story.state.incidents["inc_000001"].state is IncidentState.RESOLVED
    assert story.state.incidents["inc_000002"].is_open
    with pytest.raises(NotFoundError, match=one):
        story.ask("lift", incident="", order=one, agents=["refunds"], reason="again")


def test_what_an_incident_holds_stays_when_an_order_is_lifted(story: Story) -> None:
    """And the other way round: they are counted apart, and the strictest decides."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    held = story.state.rung_of("refunds")
    given = order(story, "kill", scope={"agent": "refunds"}, agents=("refunds",))
    assert strictest(story.state.orders.on("refunds", ()), held) == "kill"

    story.ask("lift", incident="", order=given, agents=["refunds"], reason="not needed")
    story.run()

    assert story.state.rung_of("refunds") == held != "none"


def test_the_agents_of_one_order_are_watched_together(story: Story) -> None:
    """Not one after the other: the verdict on the last of forty does not wait for thirty-nine others."""
    agents = [f"agent-{number}" for number in range(40)]
    story.ask("order", incident="", rung="pause", agents=agents, about={})
    for _ in agents:
        story.answer_one()
    watched = [intent for intent in story.state.outstanding if story.state.intents[intent].effect.kind is EffectKind.VERIFY]
    assert len(watched) == WATCHED_AT_ONCE
    story.run()
    assert {given.agent for given in story.state.incidents["inc_000001"].verdicts} == set(agents)


def test_undoing_an_incident_lifts_no_order_of_its_own(story: Story) -> None:
    """What the playbook ordered is undone, the person's order stays, and so the incident stays open."""
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    given = order(story, "throttle", scope={"agent": "refunds"}, agents=("refunds",))
    story.ask("undo", reason="false alarm")
    story.run()

    assert (story.state.rung_of("refunds"), in_force(story, "refunds")) == ("none", [given])
    assert story.state.incidents["inc_000001"].is_open


def test_each_order_ends_at_its_own_time(story: Story) -> None:
    """One with an end can stand beside one without: the end of one lets nothing else go."""
    for_good = order(story, "restrict", scope={"role": "clerk"}, allow=["look"])
    order(story, "pause", scope={"agent": "ref*"}, lasts_s=60)
    due_ns = next_expiry_ns(story.replayed())
    assert due_ns is not None

    assert story.submit(TimePassed(now_ns=due_ns - 1)) == ()
    story.submit(TimePassed(now_ns=due_ns))
    story.run()

    assert (in_force(story, "refunds", "clerk"), next_expiry_ns(story.state)) == ([for_good], None)
    assert "the time that ada gave is over" in str(story.entries[-20:])


def test_a_dropped_quarantine_is_remembered(story: Story) -> None:
    """A guard that was away must not send what it held."""
    given = order(story, "quarantine", scope={"agent": "support"})
    story.ask("lift", incident="", order=given, agents=["support"], reason="tainted", messages="drop")

    assert story.state.orders.dropped_on("support", ()) == (given,)
    assert story.replayed().orders.dropped_on("support", ()) == (given,)


def test_an_incident_with_an_order_in_force_is_not_disposed_of(story: Story) -> None:
    """So that nobody forgets it."""
    given = order(story, "throttle", scope={"agent": "refunds"})
    with pytest.raises(ConflictError, match=given):
        story.ask("dispose", disposition="test")


@pytest.mark.parametrize(
    ("asked", "place"),
    [
        ({"rung": "melt"}, "rung"),
        ({"rung": "none"}, "rung"),
        ({"rung": "pause", "rate": 0.5}, "rate"),
        ({"rung": "throttle", "rate": 0}, "rate"),
        ({"rung": "kill", "allow": ["look"]}, "allow"),
        ({"rung": "pause", "breaker": "open"}, "breaker"),
        ({"rung": "", "breaker": "ajar"}, "breaker"),
        ({"rung": "pause", "scope": {"tol": "x"}}, "scope"),
        ({"rung": "monitor", "scope": {"tool": "x"}}, "scope"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused_with_its_place(asked: dict[str, Any], place: str) -> None:
    """Nothing is guessed."""
    with pytest.raises(CallerError) as refused:
        checked(**{"scope": {}, "rung": "", "rate": None, "allow": (), "breaker": "", **asked})
    assert refused.value.place == place


ACTS = st.lists(
    st.tuples(
        st.sampled_from(["give", "lift", "pause", "release"]),
        st.sampled_from(LADDER[1:]),
        st.sampled_from([{}, {"agent": "refunds"}, {"agent": "s*"}, {"role": "clerk"}]),
        st.integers(0, 5),
    ),
    max_size=12,
)


@settings(max_examples=40, deadline=None)
@given(ACTS)
def test_orders_given_and_lifted_in_any_order(acts: list[tuple[str, str, dict[str, str], int]]) -> None:
    """What is in force is what was given and not lifted; epochs rise for every agent concerned; replay is identity."""
    story, expected = Story(), dict[str, tuple[str, dict[str, str]]]()
    seen = dict.fromkeys(("refunds", "support"), (0, 0))
    for act, rung, scope, pick in acts:
        before = story.state.epoch
        if act == "give":
            given_id = order(story, rung, scope=scope)
            expected[given_id] = (rung, scope)
        elif act == "lift" and expected:
            chosen = list(expected)[pick % len(expected)]
            story.ask("lift", incident="", order=chosen, agents=["refunds", "support"], reason="r")
            story.run()
            del expected[chosen]
        elif act == "pause" and any(each.is_open and "refunds" in each.agents for each in story.state.incidents.values()):
            story.ask("contain", incident="", agent="refunds", rung="pause")
            story.run()
        for agent, known in seen.items():
            assert story.state.epoch_of(agent) >= known
            seen[agent] = story.state.epoch_of(agent)
        assert story.state.epoch >= before
    assert list(story.state.orders.in_force) == list(expected)
    covered = [rung for rung, scope in expected.values() if scope in ({}, {"agent": "refunds"})]
    assert strictest(story.state.orders.on("refunds", ()), "none") == max(["none", *covered], key=height)
    again = story.replayed()
    assert (again.orders, again.epoch, again.controls) == (story.state.orders, story.state.epoch, story.state.controls)
