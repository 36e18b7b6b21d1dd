"""Tickets: what a tracker is told about an incident, and how it is known again.

One incident has at most one ticket in each tracker. The `marker` in it is what it is found by after a crash. Words of agents
are hostile: they are cut here, and every adapter escapes what its tracker would read as markup.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from andoncord.kernel.text import visible
from andoncord.respond.notice import LINE, TITLE, thread_of

MARKER = "andoncord-"


class TicketText(msgspec.Struct, frozen=True, kw_only=True):
    """What a tracker is told."""

    marker: str
    """The same for everything about one incident of one installation: letters, digits, `_`, `.` and `-`."""
    incident: str
    severity: str
    opened_ns: int
    title: str
    lines: tuple[str, ...]
    link: str = ""


class Ticket(msgspec.Struct, frozen=True, kw_only=True):
    """One ticket, as its tracker names it."""

    id: str
    url: str = ""


class TrackerError(Exception):
    """A tracker did not do what it was asked.

    Args:
        is_final: asked again it would say the same.
        wait_s: after which time it wants to be asked again; 0 where it does not say.
    """

    def __init__(self, why: str, *, is_final: bool = False, wait_s: float = 0.0) -> None:
        super().__init__(why)
        self.is_final = is_final
        self.wait_s = wait_s


class Tracker(Protocol):
    """Where tickets are. Every method raises `TrackerError`."""

    async def find(self, text: TicketText) -> Ticket | None:
        """The ticket that carries the marker; None when there is none."""
        ...

    async def open(self, text: TicketText) -> Ticket:
        """Make a ticket."""
        ...

    async def resolve(self, ticket: str, text: TicketText) -> None:
        """Say in the ticket that the incident is over, once, and close it where that is wanted."""
        ...

    async def check(self) -> None:
        """See that tickets could be made, without making one."""
        ...


def compose(parameters: Mapping[str, Any], *, incident: str, link: str) -> TicketText:
    """The text that the parameters of a `ticket` effect ask for."""
    facts = parameters["incident"]
    severity, sev = str(facts["severity"]), str(facts["sev"])
    title = visible(str(parameters["title"]), TITLE)
    lines = [
        title,
        f"{severity} {sev}, {facts['category']}, {facts['pattern']}; agents: {visible(', '.join(parameters['agents']), LINE)}",
        f"state: {parameters['state']}; containment: {parameters['containment'] or 'under way or not judged yet'}",
    ]
    if parameters.get("impact"):
        lines.append(f"impact: {visible(str(parameters['impact']), LINE)}")
    if why := parameters.get("why"):
        lines.append(f"why: {visible(str(why), LINE)}")
    if disposition := parameters.get("disposition"):
        lines.append(f"it was: {visible(str(disposition), LINE)}")
    opened_ns = int(parameters["opened_ns"])
    return TicketText(
        marker=MARKER + thread_of(incident, opened_ns),
        incident=incident,
        severity=severity,
        opened_ns=opened_ns,
        title=f"[{sev}] {incident}: {title}",
        lines=tuple(lines),
        link=link,
    )
