"""The post-incident review, drafted from the record; what the record cannot know is left blank for a person (LRN-1)."""

from typing import Any

import msgspec

from andoncord.kernel.text import visible, visible_block
from andoncord.kernel.time import HOUR_NS, rfc3339, seconds_between
from andoncord.kernel.vocabulary import SevLevel, Verdict
from andoncord.learn.case import Case
from andoncord.learn.proposal import Proposal, propose

DUE_NS = 48 * HOUR_NS
"""How long after resolution the review of a SEV-1 is due."""
MAX_MOMENTS = 20
MAX_LISTED = 8
BLANK = "(a person has to answer this)"


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """One question of the review, answered as far as the record goes."""

    id: str
    question: str
    answer: str
    needs_person: bool


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """A drafted review."""

    answers: tuple[Answer, ...]
    proposal: Proposal | None
    markdown: str
    due_ns: int | None
    """Set for SEV-1."""


def draft(case: Case) -> Review:
    """Draft the review of a case: five questions about the agent, two about our own response, and a proposed change."""
    proposal = propose(case)
    answers = (
        Answer(id="what", question="What did it do?", answer=_what(case), needs_person=not case.findings),
        _why(case),
        Answer(
            id="guardrails",
            question="Why did the guardrails not catch it?",
            answer=_guardrails(case),
            needs_person=not case.findings,
        ),
        Answer(
            id="blast_radius",
            question="What was the blast radius, and is it remediated?",
            answer=f"{_blast_radius(case)} What was done outside of the agents, and whether it is put right: {BLANK}",
            needs_person=True,
        ),
        Answer(
            id="prevention",
            question="Which guardrail change prevents it?",
            answer=proposal.why if proposal else f"The record names no call that a policy could refuse. {BLANK}",
            needs_person=proposal is None,
        ),
        Answer(id="detection", question="How was it detected, and how fast?", answer=_detection(case), needs_person=False),
        Answer(id="version", question="Which version was running?", answer=_versions(case), needs_person=False),
    )
    due_ns = case.resolved_ns + DUE_NS if case.sev is SevLevel.SEV1 and case.resolved_ns else None
    return Review(answers=answers, proposal=proposal, markdown=_markdown(case, answers, proposal, due_ns), due_ns=due_ns)


def _what(case: Case) -> str:
    if not case.findings:
        return f"No detector found it; it was declared by a person. {BLANK}"
    told = [f"{finding.rule}: {visible(finding.summary, 200)}" for finding in case.findings[:MAX_LISTED]]
    if len(case.findings) > MAX_LISTED:
        told.append(f"and {len(case.findings) - MAX_LISTED} more findings")
    suspects = case.investigation.responsible[:1] if case.investigation else ()
    where = [
        f"Most likely at step {suspect.span_id} of {visible(suspect.agent, 60)} ({visible(suspect.why, 160)})."
        for suspect in suspects
    ]
    return " ".join([f"{'; '.join(told)}.", *where])


def _why(case: Case) -> Answer:
    question = "Why did it do that?"
    found = case.investigation.root_causes if case.investigation else ()
    if not found:
        return Answer(id="why", question=question, answer=f"The record shows no cause. {BLANK}", needs_person=True)
    best = found[0]
    claim = "The cause" if best.claim == "cause" else "The record is consistent with"
    text = f"{claim}: {best.type.value} ({best.score:.2f}). {visible(best.summary, 300)}"
    if best.reasons and best.reasons[0] != best.summary:
        text += f" For it: {visible('; '.join(best.reasons[:2]), 300)}."
    if best.against:
        text += f" Against it: {visible('; '.join(best.against[:2]), 300)}."
    others = ", ".join(f"{cause.type.value} ({cause.score:.2f})" for cause in found[1:3])
    return Answer(id="why", question=question, answer=f"{text} Next: {others}." if others else text, needs_person=False)


def _guardrails(case: Case) -> str:
    if not case.findings:
        return BLANK
    refused = [finding for finding in case.findings if finding.enforced]
    parts = []
    if refused:
        parts.append(f"They did: the guard refused the call in {len(refused)} of {len(case.findings)} findings.")
    else:
        parts.append("No guardrail stood in its way: it was seen afterwards, in the telemetry.")
    if case.investigation:
        parts += [visible(factor, 200) for factor in case.investigation.factors[:MAX_LISTED]]
    return " ".join(parts)


def _blast_radius(case: Case) -> str:
    text = visible(str(case.impact.get("text", "")), 300)
    agents = ", ".join(visible(agent, 60) for agent in case.agents) or "unknown"
    return f"Agents: {agents}. {text + '.' if text else 'No estimate.'}"


def _detection(case: Case) -> str:
    if not case.findings:
        return "By a person."
    first = min(case.findings, key=lambda finding: finding.at_ns)
    parts = [f"By {first.rule} (score {first.score:.2f})."]
    if case.onset_ns and case.detected_ns:
        parts.append(f"{_seconds(case.onset_ns, case.detected_ns)} after the estimated onset.")
    if case.detected_ns and case.contained_ns:
        verdict = case.containment.value if case.containment else "no verdict"
        parts.append(f"Contained {_seconds(case.detected_ns, case.contained_ns)} later ({verdict}).")
    if case.containment is not Verdict.VERIFIED and case.verdicts:
        parts.append(f"Missing: {visible('; '.join(map(str, case.verdicts[-1].get('missing', ()))), 300)}.")
    return " ".join(parts)


def _versions(case: Case) -> str:
    parts = [
        f"The {visible(change.kind, 20)} of {visible(change.agent, 60)} went from {visible(change.before, 60) or 'nothing'} "
        f"to {visible(change.after, 60)} at {rfc3339(change.at_ns)}."
        for change in (case.investigation.changes if case.investigation else ())[-MAX_LISTED:]
    ]
    now = ", ".join(f"{visible(agent, 60)} on {visible(version, 60)}" for agent, version in sorted(case.versions.items()))
    if now:
        parts.append(f"Active when this was drafted: {now}.")
    return " ".join(parts) or "No configuration version is recorded."


def _seconds(start_ns: int, end_ns: int) -> str:
    return f"{max(0.0, seconds_between(start_ns, end_ns)):.1f} s"


def _markdown(case: Case, answers: tuple[Answer, ...], proposal: Proposal | None, due_ns: int | None) -> str:
    """The review as Markdown. Words of agents are escaped, or fenced by a fence longer than any in them."""
    lines = [*_head(case, due_ns), ""]
    for answer in answers:
        lines += [f"## {answer.question}{' *(open)*' if answer.needs_person else ''}", "", _md(answer.answer), ""]
    moments = [moment for moment in case.investigation.timeline if moment.key] if case.investigation else []
    told = [visible(f"{rfc3339(moment.at_ns)} {moment.agent}: {moment.text}", 300) for moment in moments[:MAX_MOMENTS]]
    lines += ["## Timeline", "", *_fenced("\n".join(told) or "No key moments in the record.", "text"), ""]
    if case.orders:
        lines += ["## Orders", "", *(f"- {_md(_order(order))}" for order in case.orders), ""]
    if proposal:
        lines += ["## Proposed change", "", _md(proposal.why), "", *_fenced(proposal.yaml, "yaml"), ""]
    if case.notes:
        lines += ["## Notes", ""]
        for note in case.notes:
            lines.append(f"- {_md(visible(str(note.get('by', '')), 60))}: {_md(visible(str(note.get('text', '')), 500))}")
        lines.append("")
    return "\n".join(lines)


def _head(case: Case, due_ns: int | None) -> list[str]:
    words = [case.sev.value, case.severity.value, case.category.value]
    if case.pattern:
        words.append(case.pattern.value)
    agents = ", ".join(visible(agent, 60) for agent in case.agents)
    lines = [
        f"# Review of {_md(visible(case.incident, 60))}: {_md(visible(case.title, 160))}",
        "",
        f"{_md(', '.join(words))}; agents: {_md(agents)}",
        "",
        "Drafted from the record. It closes when the open questions are answered and a structural change is applied.",
    ]
    if due_ns:
        lines.append(f"Due {rfc3339(due_ns)}.")
    lines += ["", "| moment | time |", "|---|---|"]
    for name, at_ns in (
        ("onset (estimate)", case.onset_ns),
        ("detected", case.detected_ns),
        ("contained", case.contained_ns),
        ("resolved", case.resolved_ns),
    ):
        lines.append(f"| {name} | {rfc3339(at_ns) if at_ns else 'not recorded'} |")
    return lines


def _order(order: dict[str, Any]) -> str:
    rung, agent, by = (visible(str(order.get(name, "")), 60) for name in ("rung", "agent", "by"))
    return f"{rung} of {agent} by {by}: {order.get('confirmed', 0)} of {order.get('asked', 0)} confirmed"


def _md(text: str) -> str:
    r"""Text that Markdown shows as it is: no link, image, HTML or heading can come of it.

    >>> _md("<img src=x> [click](http://x)")
    '&lt;img src=x&gt; \\[click\\]\\(http\\:\\/\\/x\\)'
    """
    entities = {"<": "&lt;", ">": "&gt;", "&": "&amp;"}
    return "".join(
        entities.get(character) or (f"\\{character}" if character in "\\`*_{}[]()#+!|~$@:/" else character)
        for character in text
    )


def _fenced(text: str, language: str) -> list[str]:
    """A code block that its content cannot end."""
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}{language}", visible_block(text, 20_000).rstrip("\n"), fence]
