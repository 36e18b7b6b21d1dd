"""Approvals in the pure core: asked once, answered by the right person, used once, denied when nobody answers."""

from typing import Any

import msgspec
import pytest

from andoncord.engine.facts import ApprovalAsked, ApprovalsTaken, PersonAsked, TimePassed
from andoncord.engine.run import next_due_ns
from andoncord.kernel.errors import CallerError, ConflictError
from andoncord.kernel.time import SECOND_NS
from andoncord.respond.approval import MAX_OF_AGENT, Asked, check
from andoncord.testing.story import Story
from andoncord_sdk.approval import Action

ROLES = {"finance": ("ada", "fleet")}
ACTION = Asked(
    agent="refunds",
    run_id="r1",
    tool="payments.refund",
    arguments='{"amount":250}',
    policy_id="refund-cap",
    policy_digest="d1",
    role="finance",
    epoch=(1, 3),
)


def asked(story: Story, action: Asked = ACTION, *, by: str = "fleet") -> Story:
    story.submit(ApprovalAsked(action=action, requested_by=by, wait_s=900, now_ns=story.now))
    return story


def grant(story: Story, *, by: str = "ada", digest: str = "", roles: Any = ROLES) -> None:
    parameters = {"request": "apr_000001", "digest": digest or ACTION.digest, "roles": roles, "use_within_s": 120}
    story.submit(PersonAsked(command="grant_approval", by=f"person:{by}", parameters=parameters))


def taken(story: Story, action: Asked = ACTION) -> int:
    return len(story.submit(ApprovalsTaken(actions=(action,), instance="i1", now_ns=story.now)))


def test_the_digest_is_the_guards_own() -> None:
    """The server makes the digest that the guard compares with, from the same fields."""
    assert ACTION.digest == Action(*(getattr(ACTION, name) for name in Action._fields)).digest


def test_what_was_approved_is_used_once_and_nothing_else_is() -> None:
    """Before the answer nothing; after it this very action, once; another byte, run, policy or epoch never."""
    story = asked(asked(Story()))
    assert (len(story.state.approvals.requests), taken(story)) == (1, 0)
    grant(story)

    changes: tuple[dict[str, Any], ...] = (
        {"arguments": '{"amount":251}'},
        {"run_id": "r2"},
        {"policy_digest": "d2"},
        {"epoch": (1, 4)},
        {"role": "x"},
        {"people": 2},
    )
    others = [msgspec.structs.replace(ACTION, **change) for change in changes]
    assert [taken(story, other) for other in others] == [0] * len(others)
    assert (taken(story), taken(story)) == (1, 0)
    assert story.replayed().approvals == story.state.approvals


def test_where_two_have_to_two_different_ones_have_to() -> None:
    """One word is not enough, nor the same one twice, nor that of somebody who answers for the agent; two are."""
    story, roles = Story(), {"finance": ("ada", "bob", "olga")}
    fact = ApprovalAsked(action=ACTION, requested_by="fleet", not_by=("olga",), people=2, wait_s=900, now_ns=story.now)
    story.submit(fact)
    grant(story, by="ada", roles=roles)
    assert (story.state.approvals.get("apr_000001").status, taken(story)) == ("waiting", 0)
    with pytest.raises(ConflictError, match="ada has approved it"):
        grant(story, by="ada", roles=roles)
    with pytest.raises(ConflictError, match="whoever asked cannot approve"):
        grant(story, by="olga", roles=roles)
    grant(story, by="bob", roles=roles)
    assert (taken(story), taken(story)) == (1, 0)
    assert story.replayed().approvals == story.state.approvals


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"by": "eve"}, "eve is not in the role"),
        ({"by": "fleet"}, "whoever asked cannot approve"),
        ({"roles": {}}, "nobody is in the role"),
        ({"digest": "0" * 64}, "the digest of another action"),
    ],
)
def test_only_the_right_person_approves_what_was_shown(given: dict[str, Any], words: str) -> None:
    """Not whoever asked, nobody outside the role, nobody for a role without people, and not another digest."""
    story = asked(Story())
    with pytest.raises(ConflictError, match=words):
        grant(story, **given)
    assert story.state.approvals.get("apr_000001").status == "waiting"


def test_without_an_answer_in_time_it_is_denied_and_so_is_what_nobody_used() -> None:
    """Both ends come by the clock; after them nothing can be granted or taken."""
    story = asked(Story())
    asked(story, msgspec.structs.replace(ACTION, run_id="r2"))
    grant(story)
    story.now += 121 * SECOND_NS
    assert taken(story) == 0
    while (due_ns := next_due_ns(story.state)) is not None:
        story.now = max(story.now, due_ns)
        story.submit(TimePassed(now_ns=story.now))

    assert {each.status for each in story.state.approvals.requests.values()} == {"expired"}
    with pytest.raises(ConflictError, match="is expired"):
        grant(story)


def test_an_agent_that_was_told_no_does_not_ask_again_at_once() -> None:
    """The same action again within the time is not a new request; later it is."""
    story = asked(Story())
    denial = {"request": "apr_000001", "roles": ROLES}
    story.submit(PersonAsked(command="deny_approval", by="person:ada", parameters=denial))
    asked(story)
    assert len(story.state.approvals.requests) == 1
    story.now += 901 * SECOND_NS
    asked(story)
    assert len(story.state.approvals.requests) == 2


@pytest.mark.parametrize("arguments", ['{"a": 1}', '{"b":1,"a":2}', '{"a":1,"a":2}', "{", '{"x":"' + "a" * 8_000 + '"}'])
def test_arguments_that_could_be_read_in_two_ways_are_refused(arguments: str) -> None:
    """Not canonical, keys twice, no JSON, or more than anybody reads."""
    with pytest.raises(CallerError):
        check(msgspec.structs.replace(ACTION, arguments=arguments))


def test_whoever_waits_for_a_request_hears_that_it_expired() -> None:
    """Asking again, as a guard does all the time, does not renew it at once; a call that is made later asks anew."""
    story = asked(Story())
    while story.state.approvals.get("apr_000001").status == "waiting":
        story.now = max(story.now, next_due_ns(story.state) or 0)
        story.submit(TimePassed(now_ns=story.now))
    asked(story)
    assert len(story.state.approvals.requests) == 1
    story.now += 16 * SECOND_NS
    asked(story)
    assert len(story.state.approvals.requests) == 2


def test_a_runaway_fills_its_own_share_of_what_people_are_asked() -> None:
    """One agent that asks for ever leaves room for the others."""
    story = Story()
    for number in range(MAX_OF_AGENT):
        asked(story, msgspec.structs.replace(ACTION, agent="runaway", run_id=str(number)))
    with pytest.raises(ConflictError, match="runaway alone"):
        asked(story, msgspec.structs.replace(ACTION, agent="runaway", run_id="more"))
    asked(story)
    assert story.state.approvals.open_for(ACTION.digest) is not None
