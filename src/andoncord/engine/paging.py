"""Telling people: the first page at once, the next level when nobody acknowledges, again when an acknowledgement grows stale.

Whom a page goes to is resolved when it is sent; who is asked after whom is frozen at the first page. Time enters as a fact, so
that what is due after a crash is what was due before it. No page waits for the containment, nor the containment for a page.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from andoncord.engine.books import facts_of
from andoncord.engine.drafts import intent_draft
from andoncord.engine.noticebook import Page
from andoncord.engine.state import State
from andoncord.engine.stepping import is_before_done, is_looked_into, judged, read_step, step_key
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import EffectKind
from andoncord.kernel.journal import Draft
from andoncord.respond.oncall import ONCALL, Escalation, Level, digest_ns, released_ns
from andoncord.respond.playbook import Step

GATHERED_MS = 30_000
NOTHING = "nothing to undo"
RESOLVED = "resolved/notify"
NOBODY = "nobody is configured: oncall.escalation is empty"


def loaded(state: State, escalation: Escalation | None, tracker: str) -> tuple[Draft, ...]:
    """Write the escalation and the tracker down, unless they are those that are in force already."""
    if (escalation, tracker) == (state.notices.escalation, state.notices.tracker):
        return ()
    body = {"escalation": msgspec.to_builtins(escalation) if escalation else None, "tracker": tracker}
    return (Draft(kind="oncall.loaded", body=body),)


def tell(state: State, incident: Incident) -> Iterator[Draft]:
    """Begin the first step `notify` of an incident that has not begun and may."""
    for step in incident.steps:
        if step["do"] != "notify":
            continue
        key = step_key(incident, step)
        if state.notices.is_begun(f"{incident.id}/{key}") or incident.judged.get(key):
            continue
        if step.get("condition") and not (is_looked_into(state, incident) and is_before_done(state, incident, step)):
            continue
        drafts, is_done = judged(state, incident, step)
        yield from drafts
        if not drafts and is_done:
            yield _begun(state, incident, read_step(step), key)
            return
        if drafts:
            return


def tell_resolved(state: State, incident: Incident) -> Iterator[Draft]:
    """Tell whoever was paged that it is over."""
    paged = [page for page in state.notices.pages.values() if page.incident == incident.id]
    if not paged or state.step(incident.id, RESOLVED) is not None:
        return
    told = [name for page in paged for name in page.told]
    if not told:
        return
    parameters = {"kind": "resolved", "to": list(dict.fromkeys(told)), "levels": [], **shown(incident)}
    yield intent_draft(
        state,
        incident.id,
        RESOLVED,
        EffectKind.NOTIFY,
        incident.agents[0],
        deadline_ms=paged[0].deadline_ms,
        reversal=NOTHING,
        parameters=parameters,
    )


def next_notice_ns(state: State) -> int | None:
    """When the next page or gathered notice is due; None when none is."""
    dues = [due for page in state.notices.pages.values() if (due := page.due_ns) is not None]
    return min([*dues, *(each.due_ns for each in state.notices.waiting.values())], default=None)


def notices_due(state: State, now_ns: int) -> Iterator[Draft]:
    """The first page that is due, else the first notice of what was gathered."""
    for page in state.notices.pages.values():
        due_ns = page.due_ns
        if due_ns is not None and due_ns <= now_ns:
            yield _next(state, page)
            return
    yield from _gathered(state, now_ns)


def _begun(state: State, incident: Incident, step: Step, key: str) -> Draft:
    when = step.settings["when"]
    now_ns = state.head.at_ns if state.head else 0
    escalation = state.notices.escalation
    if escalation is None and step.settings["who"] == ONCALL and step.settings["until"] != "acknowledged":
        return Draft(kind="step.judged", incident=incident.id, body={"step": key, "name": step.name, "skipped": NOBODY})
    if escalation is None or when == "now":
        page = Page(
            incident=incident.id,
            step=key,
            playbook=step.playbook,
            name=step.name,
            until=step.settings["until"],
            deadline_ms=step.at_most_ms,
            reversal=step.undo,
            escalation=_frozen(state, step),
        )
        return _page(state, incident, page, position=0)
    due_ns = released_ns(escalation.quiet, now_ns) if when == "batched" else digest_ns(escalation.digest, now_ns)
    body = {"step": key, "when": when, "due_ns": due_ns}
    return Draft(kind="notice.queued", incident=incident.id, body=body)


def _frozen(state: State, step: Step) -> Escalation | None:
    """Who is asked after whom for this step: for `oncall` what the settings say, for a name of its own that name alone."""
    who = step.settings["who"]
    if who == ONCALL:
        return state.notices.escalation
    base = state.notices.escalation or Escalation(levels=(Level(who=(who,)),))
    return msgspec.structs.replace(base, levels=(Level(who=(who,), wait=base.levels[0].wait),))


def _next(state: State, page: Page) -> Draft:
    incident = state.incidents[page.incident]
    if page.acknowledged_ns:
        return _page(state, incident, page, position=0)
    if page.position + 1 >= page.length:
        why = f"nobody acknowledged after {page.number} pages"
        return Draft(kind="page.unanswered", incident=incident.id, body={"step": page.step, "why": why})
    return _page(state, incident, page, position=page.position + 1)


def _page(state: State, incident: Incident, page: Page, *, position: int) -> Draft:
    levels = page.escalation.levels if page.escalation else ()
    level = position % len(levels) if levels else 0
    number = page.number + 1
    parameters: dict[str, Any] = {
        "kind": "page",
        "playbook": page.playbook,
        "name": page.name,
        "page": page.step,
        "number": number,
        "position": position,
        "level": level,
        "to": list(levels[level].who) if levels else [],
        "levels": [list(each.who) for each in levels],
        "until": page.until,
        "escalation": msgspec.to_builtins(page.escalation) if page.escalation else None,
        **shown(incident),
    }
    return intent_draft(
        state,
        incident.id,
        f"{page.step}/{number}",
        EffectKind.NOTIFY,
        incident.agents[0],
        deadline_ms=page.deadline_ms,
        reversal=page.reversal,
        parameters=parameters,
    )


def _gathered(state: State, now_ns: int) -> Iterator[Draft]:
    due = [each for each in state.notices.waiting.values() if each.due_ns <= now_ns]
    if not due or state.notices.escalation is None:
        return
    when = due[0].when
    chosen = [each for each in due if each.when == when]
    number = len(state.steps.get("", {})) + 1
    parameters = {
        "kind": "gathered",
        "when": when,
        "notices": [each.key for each in chosen],
        "incidents": [_line(state.incidents[each.incident]) for each in chosen],
        "to": list(state.notices.escalation.levels[0].who),
    }
    yield intent_draft(
        state,
        "",
        f"gathered/{number}",
        EffectKind.NOTIFY,
        "*",
        deadline_ms=GATHERED_MS,
        reversal=NOTHING,
        parameters=parameters,
    )


def shown(incident: Incident) -> dict[str, Any]:
    """What a message or a ticket says about an incident, as it is known now."""
    return {
        "title": incident.title,
        "agents": list(incident.agents),
        "incident": facts_of(incident),
        "state": incident.state,
        "containment": incident.containment or "",
        "impact": incident.impact.get("text") or "",
        "opened_ns": incident.opened_ns,
    }


def _line(incident: Incident) -> Mapping[str, Any]:
    return {
        "id": incident.id,
        "severity": incident.severity,
        "state": incident.state,
        "title": incident.title,
        "opened_ns": incident.opened_ns,
    }
