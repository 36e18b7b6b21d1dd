"""The structural change proposed from a case."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from andoncord.investigate.casefile import Avoid, Cause, Investigation
from andoncord.kernel.vocabulary import Category, CauseType, Pattern, Severity, SevLevel
from andoncord.learn.case import Case
from andoncord.learn.proposal import propose
from andoncord.policy.policy import compile_policies, load
from andoncord_sdk.policy import Decision, PolicySet


def case(avoid: Avoid | None) -> Case:
    cause = Cause(type=CauseType.PROMPT_ISSUE, score=0.7, claim="consistent with", summary="It obeyed a document.", avoid=avoid)
    return Case(
        incident="INC-7",
        title="research acted on a document",
        severity=Severity.CRITICAL,
        sev=SevLevel.SEV1,
        category=Category.DECISION_FAILURE,
        pattern=Pattern.INJECTED_ACTION,
        agents=("research",),
        investigation=Investigation(root_causes=(cause,)),
    )


def policies_for(avoid: Avoid) -> PolicySet:
    proposal = propose(case(avoid))
    assert proposal is not None
    return PolicySet(compile_policies(load(proposal.yaml, place="proposal.yaml")))


def decide(policies: PolicySet, tool: str, arguments: dict[str, object], **run: object) -> Decision:
    return policies.decide({"agent": "research", "tool": tool, "args": arguments, "run": run})


def test_the_poisoned_document_is_refused_and_every_other_is_read() -> None:
    """The policy is as narrow as the call that led to the case."""
    policies = policies_for(Avoid(agent="research", tool="documents.read", arguments='{"source": "uploads", "document": "3"}'))

    assert not decide(policies, "documents.read", {"source": "uploads", "document": "3"}).allow
    assert decide(policies, "documents.read", {"source": "uploads", "document": "4"}).allow
    assert decide(policies, "documents.read", {}).allow
    assert decide(policies, "search.pages", {"source": "uploads", "document": "3"}).allow


def test_a_tool_that_is_none_of_its_business_is_refused_whole() -> None:
    """Without arguments the policy forbids the tool, to this agent alone."""
    policies = policies_for(Avoid(agent="research", tool="payments.transfer"))

    assert not decide(policies, "payments.transfer", {"amount": 1}).allow
    assert policies.decide({"agent": "payments", "tool": "payments.transfer", "args": {}, "run": {}}).allow


def test_a_bad_version_may_not_act() -> None:
    """A version pin: runs on the bad version are refused, runs that name no version are not."""
    policies = policies_for(Avoid(agent="research", version="v2"))

    assert not decide(policies, "search.pages", {}, config_version="v2").allow
    assert decide(policies, "search.pages", {}, config_version="v1").allow
    assert decide(policies, "search.pages", {}).allow


def test_a_stuck_run_is_stopped_earlier() -> None:
    """A cap on what a run may have spent before this tool."""
    policies = policies_for(Avoid(agent="research", tool="pay", cost_micro_usd=5_000))

    assert decide(policies, "pay", {}, spent_micro_usd=5_000).allow
    assert not decide(policies, "pay", {}, spent_micro_usd=5_001).allow


def test_a_masked_argument_recognises_nothing() -> None:
    """What was masked in the record is not what the next call will hold: only the rest is compared."""
    policies = policies_for(Avoid(agent="research", tool="mail", arguments='{"key": "[redacted:api-key]", "to": "eve"}'))

    assert not decide(policies, "mail", {"key": "sk-123", "to": "eve"}).allow


def test_a_long_argument_is_recognised_by_its_beginning() -> None:
    """Literals are bounded; the beginning stays."""
    policies = policies_for(Avoid(agent="research", tool="parse", arguments=msgspec.json.encode({"line": "a" * 900}).decode()))

    assert not decide(policies, "parse", {"line": "a" * 900}).allow
    assert decide(policies, "parse", {"line": "a" * 100}).allow


def test_nothing_to_avoid_means_nothing_proposed() -> None:
    """No call that a policy could refuse, no policy."""
    assert propose(case(None)) is None
    assert propose(case(Avoid(agent="research"))) is None


@given(
    agent=st.text(min_size=1, max_size=30),
    tool=st.text(max_size=30),
    arguments=st.dictionaries(st.text(max_size=20), st.text(max_size=300) | st.integers() | st.booleans(), max_size=4),
    because=st.text(max_size=50),
)
def test_whatever_agents_wrote_the_policy_parses_and_passes_its_own_tests(
    agent: str, tool: str, arguments: dict[str, str | int | bool], because: str
) -> None:
    """Hostile names and values cannot break out of the YAML or of the condition."""
    try:
        text = msgspec.json.encode(arguments).decode()
    except (UnicodeEncodeError, OverflowError, msgspec.MsgspecError):
        text = "{}"
    proposal = propose(case(Avoid(agent=agent, tool=tool, arguments=text, because=because)))

    if proposal is not None:
        (policy,) = load(proposal.yaml, place="proposal.yaml")
        assert policy.effect == "forbid"
        assert policy.tests
