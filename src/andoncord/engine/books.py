"""Which playbooks hold for an incident: those in force when it opened, whatever is loaded later."""

from collections.abc import Sequence
from typing import Any

import msgspec

from andoncord.engine.state import State
from andoncord.incident.incident import Incident
from andoncord.kernel.journal import Draft
from andoncord.respond.composing import Book, compose, fitting
from andoncord.respond.facts import facts
from andoncord.respond.playbook import Playbook, digest_of


def loaded(state: State, playbooks: Sequence[Playbook]) -> tuple[Draft, ...]:
    """Write a set of playbooks down, unless it is the one that is in force already."""
    digest = digest_of(playbooks)
    if digest == state.book:
        return ()
    body = {"digest": digest, "playbooks": msgspec.to_builtins(list(playbooks))}
    return (Draft(kind="playbooks.loaded", body=body),)


def book_for(state: State, incident: Incident | None, playbooks: Sequence[Playbook], seen: dict[str, Any]) -> Book:
    """What the playbooks say about an incident with the facts `seen`.

    Raises:
        CallerError: no playbook speaks for its severity.
    """
    known = state.books.get(incident.book if incident else state.book)
    return compose(fitting(known or playbooks, seen))


def written(book: Book) -> dict[str, Any]:
    """A book as it is frozen into an incident."""
    return {
        "playbook": ", ".join(book.playbooks),
        "steps": msgspec.to_builtins(book.steps),
        "recovery_by": book.recovery,
        "recovery_role": book.role,
    }


def facts_of(incident: Incident) -> dict[str, Any]:
    """An incident as conditions see it."""
    return facts(
        severity=incident.severity,
        sev=incident.sev,
        category=incident.category,
        pattern=incident.pattern,
        agents=incident.agents,
        environment=incident.environment,
        impact=incident.impact,
        attempt=incident.round,
        verdict=incident.containment or "",
    )
