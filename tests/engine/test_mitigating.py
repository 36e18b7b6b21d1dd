"""Traffic control and mitigation by playbooks: given with the containment, lifted by a verified recovery or an undo."""

from andoncord.engine.state import Intent
from andoncord.kernel.effect import EffectKind, Outcome
from andoncord.kernel.vocabulary import IncidentState
from andoncord.respond.playbook import load
from andoncord.testing.story import PLAYBOOKS, Story, finding

OWN = load(
    """
id: slow-and-safe
when: {severity: high, pattern: infinite_loop}
source: a test
steps:
  - mitigate: {to: hold, name: freeze, at_most: 1s, undo: lift}
  - mitigate: {to: hand-over, name: people, at_most: 1s, undo: lift}
  - traffic: {throttle: "payments.*", name: pay-slowly, at_most: 1s, undo: lift}
  - capture: {at_most: 2s, undo: nothing to undo}
""",
    place="own.yaml",
)


def test_orders_beside_the_rung_are_given_between_the_fence_and_what_ends_the_agent() -> None:
    """Each has its receipt before the next; the evidence is sealed after them, and none changes the rung."""
    story = Story((*PLAYBOOKS, OWN))
    story.find(finding())
    story.run()

    order = [step.partition("/")[2].partition("/")[0] for step in story.performed]
    assert order[:6] == ["fence:pause", "mitigate", "mitigate", "traffic", "traffic", "capture"]
    given = [entry.body["order"] for entry in story.entries if entry.kind == "order.given"]
    assert [(each["instead"], each["rung"], each["scope"]["tool"], each["rate"]) for each in given] == [
        ("hold", "none", "*", 1.0),
        ("hand-over", "none", "*", 1.0),
        ("", "throttle", "*", 0.1),
        ("", "throttle", "payments.*", 0.1),
    ]
    assert story.replayed() == story.state


def test_a_verified_recovery_lifts_them_and_the_work_comes_back_before_the_agent_goes_on() -> None:
    """What is handed over comes back with the release; what slows and holds stays until the recovery has come to its end."""
    story = Story((*PLAYBOOKS, OWN))
    story.find(finding())
    story.run()

    assert story.state.incidents["inc_000001"].state is IncidentState.RESOLVED
    assert not story.state.orders.in_force
    lifted = [entry.seq for entry in story.entries if entry.kind == "order.lifted"]
    release = next(
        entry.seq
        for entry in story.entries
        if entry.kind == "intent.issued" and "/recover/" in entry.body["step"] and "release" in entry.body["step"]
    )
    assert [seq > release for seq in lifted] == [False, True, True, True]


def test_an_undo_lifts_what_a_playbook_ordered_last_first() -> None:
    """Orders that a person gave stay; what was lifted before cannot be undone and is named."""
    story = Story((*PLAYBOOKS, OWN))
    story.find(finding())
    while story.state.outstanding and "capture" not in story.performed[-1:]:
        if story.performed and "/capture/" in story.performed[-1]:
            break
        story.answer_one()
    first = next(iter(story.state.orders.in_force.values()))
    story.ask("lift", order=first.id, agents=["refunds"], reason="by hand")
    story.ask("undo", reason="a drill")
    story.run()

    undo = story.state.incidents["inc_000001"].undo
    assert undo is not None
    undone = [story.state.intents[intent] for intent in undo["undone"]]
    assert [each.effect.parameters.get("what") for each in undone if each.standing] == [
        "throttle to 0.1 of the usual rate",
        "throttle to 0.1 of the usual rate",
        "hand over",
    ]
    assert list(undo["impossible"].values()) == [f"{first.id} is not in force any more"]
    assert not story.state.orders.in_force
    assert story.state.rung_of("refunds") == "none"


def test_whoever_lets_the_agent_go_lifts_what_playbooks_ordered_beside_the_rung() -> None:
    """It would else be slowed, and its work kept from it, without anybody having wanted that; then the incident is over."""
    story = Story((*PLAYBOOKS, OWN))
    story.answers[EffectKind.INVESTIGATE] = lambda intent: (Outcome.DONE, {})
    story.find(finding())
    story.run()
    assert len(story.state.orders.in_force) == 4
    story.ask("release", agent="refunds", reason="looked at")
    story.run()

    assert not story.state.orders.in_force
    assert story.state.incidents["inc_000001"].state is IncidentState.RESOLVED


def test_a_limit_counts_what_was_ordered_for_the_agent_in_other_incidents_too() -> None:
    """What is beyond it is skipped, with the reason in the record; in containment as elsewhere."""
    limited = load(
        """
id: limited
when: {severity: high, pattern: infinite_loop}
source: a test
steps:
  - traffic: {block: "payments.*", name: once, limit: 1/1h, at_most: 1s, undo: lift}
""",
        place="limited.yaml",
    )
    story = Story((*PLAYBOOKS, limited))
    story.find(finding())
    story.run()
    story.find(finding("f2", trace_id="t2", run_id="r2", span_id="s2", at_ns=story.now, onset_ns=story.now))
    story.run()

    judged = [entry.body["skipped"] for entry in story.entries if entry.kind == "step.judged" and entry.body["name"] == "once"]
    assert [why.partition(" for")[0] for why in judged] == ["", "it was done"]


ASKED = load(
    """
id: asked-first
when: {severity: high, pattern: infinite_loop}
source: a test
steps:
  - ask: {question: "Shall people get the work?", name: people, for: 5m, at_most: 5s, undo: nothing to undo}
  - mitigate: {to: hand-over, name: give, if: "steps.people == 'yes'", limit: 1/1h, for: 1h, at_most: 1s, undo: lift}
  - traffic: {block: "payments.*", name: block, if: "steps.people == 'no'", at_most: 1s, undo: lift}
  - recover: {by: person, at_most: 1h, undo: nothing to undo}
tests:
  - name: a yes hands over
    incident: {severity: high, pattern: infinite_loop}
    answers: {people: "yes"}
    expect: [people, give, recover]
""",
    place="asked.yaml",
)


def asked(answer: str) -> Story:
    """A story in which the question was answered, and nobody has approved the recovery yet."""
    story = Story((*PLAYBOOKS, ASKED))
    story.answers[EffectKind.ASK] = lambda _: (Outcome.DONE, {"answer": answer})
    story.find(finding())
    story.run()
    return story


def test_an_answer_decides_what_becomes_of_the_work_long_after_the_containment() -> None:
    """The order waits for the answer, counts against its limit and can be undone; the other is skipped with a reason."""
    for answer, what, skipped in (("yes", "hand over", "block"), ("no", "kill", "give")):
        story = asked(answer)
        intents = list(story.state.intents.values())
        given = [each for each in intents if each.step.startswith("1/asked-first/") and each.standing]
        assert [intent.effect.parameters["what"] for intent in given] == [what]
        question = next(each for each in intents if each.effect.kind is EffectKind.ASK)
        assert question.receipt is not None
        assert given[0].issued_ns >= question.receipt.at_ns
        incident = story.state.incident("inc_000001")
        assert "does not hold" in incident.judged[f"1/asked-first/{skipped}"]
        assert story.replayed() == story.state

        story.ask("undo", step=given[0].effect.parameters.get("name") or given[0].id, reason="a drill")
        story.run()
        assert given[0].standing not in story.state.orders.in_force

    story = asked("yes")
    story.ask("approve_recovery", scope="admin", reason="looked at")
    story.run()
    story.find(finding("f2", trace_id="t2", run_id="r2", span_id="s2", at_ns=story.now, onset_ns=story.now))
    story.run()
    assert "1 is the limit" in story.state.incident("inc_000002").judged["1/asked-first/give"]


def test_no_order_is_given_for_an_agent_that_was_let_go_before_the_answer() -> None:
    """Its work would be kept from it without anybody having wanted that; the record says why the step was left out."""
    story = Story((*PLAYBOOKS, ASKED))
    late: list[str] = []

    def answer(intent: Intent) -> tuple[Outcome, dict[str, str]]:
        late.append(intent.id)
        story.ask("release", agent="refunds", reason="a false alarm")
        return Outcome.DONE, {"answer": "yes"}

    story.answers[EffectKind.ASK] = answer
    story.find(finding())
    story.run()

    assert late
    assert not story.state.orders.in_force
    assert story.state.incident("inc_000001").judged["1/asked-first/give"] == "the way back has begun"
