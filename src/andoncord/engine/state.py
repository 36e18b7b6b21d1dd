"""The engine's state: what the journal says, and nothing else."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec

from andoncord.engine.approvalbook import ApprovalBook
from andoncord.engine.deskbook import DeskBook
from andoncord.engine.index import Index
from andoncord.engine.noticebook import NoticeBook
from andoncord.engine.orderbook import OrderBook
from andoncord.incident.incident import Incident
from andoncord.kernel.effect import Effect, Receipt
from andoncord.kernel.errors import NotFoundError
from andoncord.kernel.journal import Entry
from andoncord.recover.registry import Registry
from andoncord.respond.playbook import Playbook


class Intent(msgspec.Struct, frozen=True, kw_only=True):
    """An effect that was decided, and its receipt once there is one."""

    id: str
    incident: str
    step: str
    """Which step of which round it is; at most one intent per incident carries the same step."""
    effect: Effect
    by: str
    issued_ns: int
    receipt: Receipt | None = None

    @property
    def standing(self) -> str:
        """The order of its own that it tells the guards of; empty for any other effect."""
        return str(self.effect.parameters.get("standing", ""))


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """The rung that an incident put in force for one agent. Orders of their own stand beside it."""

    agent: str
    rung: str
    epoch: int
    incident: str
    intent: str
    reason: str
    by: str
    since_ns: int
    expires_ns: int = 0
    """When it ends by itself; 0 for an order without end."""


class ActivePolicy(msgspec.Struct, frozen=True, kw_only=True):
    """A policy in force, as YAML and in the compiled form that guards load."""

    id: str
    yaml: str
    compiled: tuple[dict[str, Any], ...]
    by: str
    incident: str


@dataclass(slots=True)
class State:
    """Rebuilt by `replay`, advanced by `apply`; nothing else may change it."""

    seq: int = 0
    head: Entry | None = None
    generation: int = 1
    epoch: int = 0
    """The highest epoch given out. An epoch only ever rises."""
    incidents: dict[str, Incident] = field(default_factory=dict)
    intents: dict[str, Intent] = field(default_factory=dict)
    steps: dict[str, dict[str, str]] = field(default_factory=dict)
    """Incident id → step → intent id, in the order of issue."""
    outstanding: dict[str, None] = field(default_factory=dict)
    """Intents without a receipt, oldest first."""
    controls: dict[str, Control] = field(default_factory=dict)
    orders: OrderBook = field(default_factory=OrderBook)
    index: Index = field(default_factory=Index)
    registry: Registry = field(default_factory=Registry)
    policies: dict[str, ActivePolicy] = field(default_factory=dict)
    seen: dict[str, None] = field(default_factory=dict)
    wishes: dict[str, str] = field(default_factory=dict)
    """Idempotency key of a wish → the incident it ended up in."""
    books: dict[str, tuple[Playbook, ...]] = field(default_factory=dict)
    """Every set of playbooks that was in force, by its digest."""
    book: str = ""
    """The digest of the set in force now."""
    approvals: ApprovalBook = field(default_factory=ApprovalBook)
    desk: DeskBook = field(default_factory=DeskBook)
    """What waits for a person because an agent may not do it."""
    notices: NoticeBook = field(default_factory=NoticeBook)
    """Whom to tell, and who was told."""
    shadow_findings: int = 0
    digested: dict[str, int] = field(default_factory=dict)
    """Ingest log → its last batch whose digest is in the journal."""

    def incident(self, incident_id: str) -> Incident:
        """The incident with this id.

        Raises:
            NotFoundError: there is none.
        """
        try:
            return self.incidents[incident_id]
        except KeyError:
            raise NotFoundError(f"there is no incident {incident_id!r}") from None

    def intents_of(self, incident_id: str) -> Iterator[Intent]:
        """The incident's intents in the order of issue."""
        for intent_id in self.steps.get(incident_id, {}).values():
            yield self.intents[intent_id]

    def step(self, incident_id: str, step: str) -> Intent | None:
        """The intent that stands for a step, if it was issued."""
        intent_id = self.steps.get(incident_id, {}).get(step)
        return self.intents[intent_id] if intent_id else None

    def rung_of(self, agent: str) -> str:
        """The rung that incidents put in force for an agent: `none` where none holds it."""
        control = self.controls.get(agent)
        return control.rung if control else "none"

    def epoch_of(self, agent: str) -> tuple[int, int]:
        """The epoch in force for an agent, as (generation, counter)."""
        control = self.controls.get(agent)
        return (self.generation, max(control.epoch if control else 0, self.orders.epoch_of(agent)))
