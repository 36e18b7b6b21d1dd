"""The drafted review."""

import msgspec

from andoncord.detect.finding import Finding
from andoncord.investigate.casefile import Cause, Investigation, Moment, Suspect
from andoncord.kernel.time import HOUR_NS
from andoncord.kernel.vocabulary import Category, CauseType, Pattern, Severity, SevLevel
from andoncord.learn.case import Case
from andoncord.learn.review import draft

HOSTILE = "\x1b[2J <script>alert(1)</script> [click](http://evil) ```\n# Owned"


def finding(summary: str = "called payments.transfer", *, enforced: bool = False) -> Finding:
    return Finding(
        id="f",
        rule="out-of-scope",
        agent="research",
        severity=Severity.CRITICAL,
        category=Category.DECISION_FAILURE,
        pattern=Pattern.UNAUTHORIZED_ACTION,
        score=1.0,
        summary=summary,
        at_ns=5,
        onset_ns=4,
        enforced=enforced,
    )


def case(summary: str = "called payments.transfer", *, enforced: bool = False) -> Case:
    return Case(
        incident="INC-7",
        title=summary,
        severity=Severity.CRITICAL,
        sev=SevLevel.SEV1,
        category=Category.DECISION_FAILURE,
        pattern=Pattern.UNAUTHORIZED_ACTION,
        agents=("research",),
        onset_ns=4,
        detected_ns=5,
        contained_ns=6,
        resolved_ns=HOUR_NS,
        findings=(finding(summary, enforced=enforced),),
        verdicts=({"verdict": "UNVERIFIED", "missing": ["an acknowledgement"], "evidence": [], "at_ns": 6},),
        orders=({"agent": "research", "rung": "pause", "by": "andoncord", "asked": 1, "confirmed": 0},),
        investigation=Investigation(
            timeline=(Moment(at_ns=4, kind="tool.completed", text=summary, agent="research", key=True),),
            responsible=(Suspect(agent="research", span_id="s", score=0.6, why=summary),),
            root_causes=(Cause(type=CauseType.PROMPT_ISSUE, score=0.7, claim="consistent with", summary=summary),),
        ),
    )


def test_the_questions_are_answered_from_the_record() -> None:
    """What, why, guardrails, blast radius, prevention, each in words of the record."""
    answers = {answer.id: answer for answer in draft(case()).answers}

    assert list(answers)[:5] == ["what", "why", "guardrails", "blast_radius", "prevention"]
    assert "out-of-scope" in answers["what"].answer
    assert "consistent with: prompt_issue" in answers["why"].answer
    assert "UNVERIFIED" in answers["detection"].answer


def test_what_the_record_cannot_know_waits_for_a_person() -> None:
    """Remediation outside of the agents is never claimed; nor is prevention without a proposal."""
    answers = {answer.id: answer for answer in draft(case()).answers}

    assert answers["blast_radius"].needs_person
    assert answers["prevention"].needs_person
    assert not answers["why"].needs_person


def test_a_refused_call_is_credited_to_the_guard() -> None:
    """Guardrails that worked are not asked why they did not."""
    answers = {answer.id: answer for answer in draft(case(enforced=True)).answers}

    assert answers["guardrails"].answer.startswith("They did")


def test_hostile_text_stays_text_in_markdown() -> None:
    """No markup, no escape sequence, no way out of the code block."""
    markdown = draft(case(HOSTILE)).markdown
    outside = "".join(part for number, part in enumerate(markdown.split("````")) if number % 2 == 0)

    assert "\x1b" not in markdown
    assert "<script" not in outside
    assert "](" not in outside
    assert not any(line.startswith("# Owned") for line in markdown.splitlines())


def test_the_review_of_a_sev1_is_due_in_48_hours() -> None:
    """Counted from resolution; other levels have no date."""
    assert draft(case()).due_ns == 49 * HOUR_NS
    assert draft(msgspec.structs.replace(case(), sev=SevLevel.SEV3)).due_ns is None


def test_a_case_that_nothing_detected_is_mostly_blank() -> None:
    """A person declared it: the record has little to say, and says so."""
    bare = msgspec.structs.replace(case(), findings=(), investigation=None, verdicts=(), orders=())

    assert all(answer.needs_person for answer in draft(bare).answers[:5])
