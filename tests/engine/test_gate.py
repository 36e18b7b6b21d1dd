"""The deploy gate."""

from andoncord.engine.gate import deploy_gate
from andoncord.kernel.vocabulary import Severity
from andoncord.testing.story import Story, finding


def test_the_deploy_gate_closes_with_the_incident_and_opens_when_it_is_resolved(story: Story) -> None:
    """Held or severely in question: not now. Nothing known: go ahead."""
    assert deploy_gate(story.state, "refunds")["allowed"]
    story.find(finding(severity=Severity.CRITICAL))
    story.run()
    closed = deploy_gate(story.state, "refunds")
    assert closed["incidents"] == ["inc_000001"]
    assert closed["why"] == ["kill is in force, inc_000001", "inc_000001 is open"]

    story.ask("approve_recovery")
    story.run()
    assert deploy_gate(story.state, "refunds")["allowed"]


def test_the_deploy_gate_is_closed_while_an_order_of_its_own_holds_the_agent(story: Story) -> None:
    """Of every agent that it covers; an order about one tool holds no agent."""
    story.ask("order", incident="", rung="kill", agents=["refunds"], about={"tool": "pay"}, reason="fraud")
    story.run()
    assert not any("ord_" in why for why in deploy_gate(story.state, "support")["why"])
    story.ask("order", incident="", rung="throttle", agents=["refunds"], about={}, reason="slow")
    story.run()
    assert deploy_gate(story.state, "support")["why"] == ["throttle to 0.1 of the usual rate is in force, ord_000002"]


def test_a_mild_incident_that_holds_nothing_does_not_stop_a_deployment(story: Story) -> None:
    """The gate is for what is severe; a gate that is always closed is walked around."""
    story.find(finding(severity=Severity.MEDIUM, trusted=False))
    story.run()
    assert deploy_gate(story.state, "refunds")["allowed"]
