"""Where telling people stands: pages that wait for an acknowledgement, and notices that are gathered."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from andoncord.kernel.effect import Effect, Outcome, Receipt
from andoncord.kernel.journal import Entry
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.respond.oncall import Escalation, wait_ns
from andoncord.respond.steps import duration_ms


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One step `notify` of one incident, and how far it has come."""

    incident: str
    step: str
    """The step's key; each page's intent has it with a number."""
    playbook: str
    name: str
    until: str
    deadline_ms: int
    reversal: str
    escalation: Escalation | None
    """Frozen at the first page; None where nobody is configured."""
    number: int = 0
    """Pages so far."""
    position: int = 0
    """The place of the last one in the escalation, which begins anew after an acknowledgement."""
    last_ns: int = 0
    has_failed: bool = False
    """The last one reached nobody, so that the next level need not wait."""
    acknowledged_ns: int = 0
    told: tuple[str, ...] = ()
    """Rotas, people and channels that were asked."""
    is_over: bool = False

    @property
    def length(self) -> int:
        """Pages until it gives up."""
        return len(self.escalation.levels) * self.escalation.loops if self.escalation else 0

    @property
    def due_ns(self) -> int | None:
        """When the next page is due; None when none is."""
        if self.is_over or self.until != "acknowledged" or self.escalation is None:
            return None
        if self.acknowledged_ns:
            return self.acknowledged_ns + duration_ms(self.escalation.stale_after) * MILLISECOND_NS
        level = self.position % len(self.escalation.levels)
        is_last = level == len(self.escalation.levels) - 1
        # Where a whole loop reached nobody, it waits all the same: a channel that is away is not asked faster for that.
        return self.last_ns + (0 if self.has_failed and not is_last else wait_ns(self.escalation.levels[level]))


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """A notice that can wait, and until when it does."""

    key: str
    incident: str
    when: str
    due_ns: int


@dataclass(slots=True)
class NoticeBook:
    """All of it, by `incident/step`. Rebuilt from the journal like the state that holds it."""

    escalation: Escalation | None = None
    tracker: str = ""
    """Where tickets go that do not say where; empty for nowhere."""
    pages: dict[str, Page] = field(default_factory=dict)
    waiting: dict[str, Waiting] = field(default_factory=dict)
    told: set[str] = field(default_factory=set)
    """What was gathered and has gone out, and pages of incidents that are over."""

    def is_begun(self, key: str) -> bool:
        """Whether a step was begun."""
        return key in self.pages or key in self.waiting or key in self.told

    def load(self, entry: Entry) -> None:
        given = entry.body["escalation"]
        self.escalation = msgspec.convert(given, Escalation) if given else None
        self.tracker = entry.body.get("tracker", "")

    def queue(self, entry: Entry) -> None:
        key = f"{entry.incident}/{entry.body['step']}"
        self.waiting[key] = Waiting(key=key, incident=entry.incident, when=entry.body["when"], due_ns=int(entry.body["due_ns"]))

    def issue(self, entry: Entry, effect: Effect) -> None:
        """A notice was decided."""
        parameters = effect.parameters
        for key in parameters.get("notices", ()):
            self.waiting.pop(key, None)
            self.told.add(key)
        if parameters["kind"] != "page":
            return
        key = f"{entry.incident}/{parameters['page']}"
        known = self.pages.get(key) or self._first(entry.incident, effect)
        self.pages[key] = msgspec.structs.replace(
            known,
            number=parameters["number"],
            position=parameters["position"],
            last_ns=entry.at_ns,
            has_failed=False,
            acknowledged_ns=0,
            told=tuple(dict.fromkeys((*known.told, *parameters["to"]))),
        )

    def receive(self, incident: str, effect: Effect, receipt: Receipt) -> None:
        """What came of it is known."""
        key = f"{incident}/{effect.parameters.get('page', '')}"
        page = self.pages.get(key)
        if page is not None and page.number == effect.parameters["number"]:
            self.pages[key] = msgspec.structs.replace(page, has_failed=receipt.outcome is Outcome.FAILED)

    def acknowledge(self, entry: Entry) -> None:
        for key in self._of(entry.incident):
            self.pages[key] = msgspec.structs.replace(self.pages[key], acknowledged_ns=entry.at_ns, is_over=False)

    def give_up(self, entry: Entry) -> None:
        key = f"{entry.incident}/{entry.body['step']}"
        self.pages[key] = msgspec.structs.replace(self.pages[key], is_over=True)

    def resolve(self, incident: str) -> None:
        """The incident is over: no page of it is due any more."""
        for key in self._of(incident):
            self.pages[key] = msgspec.structs.replace(self.pages[key], is_over=True)

    def close(self, incident: str) -> None:
        """Forget what is not needed once an incident's review is done."""
        for key in self._of(incident):
            del self.pages[key]
            self.told.add(key)

    def _of(self, incident: str) -> list[str]:
        return [key for key, page in self.pages.items() if page.incident == incident]

    def _first(self, incident: str, effect: Effect) -> Page:
        parameters: dict[str, Any] = effect.parameters
        frozen = parameters["escalation"]
        return Page(
            incident=incident,
            step=parameters["page"],
            playbook=parameters["playbook"],
            name=parameters["name"],
            until=parameters["until"],
            deadline_ms=effect.deadline_ms,
            reversal=effect.reversal,
            escalation=msgspec.convert(frozen, Escalation) if frozen else None,
        )
