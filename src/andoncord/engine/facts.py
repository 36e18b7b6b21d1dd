"""Facts: everything that can make the engine decide something."""

from typing import Any

import msgspec

from andoncord.detect.finding import Finding
from andoncord.kernel.effect import Receipt
from andoncord.respond.approval import Asked
from andoncord.respond.desk import SideEffect, Work
from andoncord.respond.oncall import Escalation
from andoncord.respond.playbook import Playbook


class FindingArrived(msgspec.Struct, frozen=True, kw_only=True):
    """A detector found something."""

    finding: Finding


class ReceiptArrived(msgspec.Struct, frozen=True, kw_only=True):
    """The world answered an effect."""

    receipt: Receipt


class PersonAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A person wants something done. The same `key` twice is one wish.

    `command` is one of `andoncord.engine.wishes.COMMANDS`.
    """

    command: str
    by: str
    incident: str = ""
    agent: str = ""
    parameters: dict[str, Any] = {}
    key: str = ""


class TelemetryDigested(msgspec.Struct, frozen=True, kw_only=True):
    """Batches of telemetry became durable: their sequence numbers and the digest over them."""

    first_seq: int
    last_seq: int
    sha256: str
    log: str = ""
    """Whose ingest log, where several servers share a journal; empty where one has it for itself."""


class SystemNoted(msgspec.Struct, frozen=True, kw_only=True):
    """Something about Andoncord itself that belongs in the record, such as a worker that was started again."""

    what: str
    detail: dict[str, Any] = {}


class TimePassed(msgspec.Struct, frozen=True, kw_only=True):
    """The clock went on; what was ordered for a limited time may be over."""

    now_ns: int


class GuardAhead(msgspec.Struct, frozen=True, kw_only=True):
    """A guard came with an order in force that the journal may not know."""

    agent: str
    instance: str
    epoch: tuple[int, int]
    rung: str


class OrderBroken(msgspec.Struct, frozen=True, kw_only=True):
    """A call began that an order in force holds, after the verdict that it does not."""

    order: str
    """The intent that told the agent of it."""
    why: str
    now_ns: int


class PlaybooksLoaded(msgspec.Struct, frozen=True, kw_only=True):
    """These are the playbooks from now on; incidents that are open keep theirs."""

    playbooks: tuple[Playbook, ...]


class OncallLoaded(msgspec.Struct, frozen=True, kw_only=True):
    """Who is told first and who next, from now on; None where nobody is. Pages that are under way keep theirs."""

    escalation: Escalation | None
    tracker: str = ""
    """Where tickets go that do not say where; empty for nowhere."""


class ApprovalAsked(msgspec.Struct, frozen=True, kw_only=True):
    """A guard has a call that a person has to approve."""

    action: Asked
    digest: str = ""
    """Of the exact call, where `action` has it masked; empty where it is the exact one."""
    requested_by: str
    not_by: tuple[str, ...] = ()
    """People who answer for whoever asks."""
    people: int = 1
    """How many have to approve it."""
    wait_s: float
    now_ns: int


class ApprovalsTaken(msgspec.Struct, frozen=True, kw_only=True):
    """A guard wants to use what was granted for these very actions."""

    actions: tuple[Asked, ...]
    instance: str
    now_ns: int


class WorkHandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """An agent may not go on with some work, and a person gets it."""

    work: Work
    digest: str = ""
    """Of the exact work, where `work` has it masked; empty where it is the exact one."""
    to: tuple[str, ...] = ()
    """Whom to tell: people, rotas or channels."""


class EffectHeld(msgspec.Struct, frozen=True, kw_only=True):
    """A guard did not have a side effect done, and hands it over to be held."""

    effect: SideEffect
    digest: str = ""
    """Of the exact side effect, where `effect` has it masked; empty where it is the exact one."""
    not_by: tuple[str, ...] = ()
    """Who answers for the guard or its agent: they cannot give the approval that a policy wants for it."""
    to: tuple[str, ...] = ()
    """Whom to tell of the first that waits."""


Fact = (
    FindingArrived
    | ReceiptArrived
    | PersonAsked
    | TelemetryDigested
    | SystemNoted
    | GuardAhead
    | OrderBroken
    | TimePassed
    | PlaybooksLoaded
    | OncallLoaded
    | ApprovalAsked
    | ApprovalsTaken
    | WorkHandedOver
    | EffectHeld
)
