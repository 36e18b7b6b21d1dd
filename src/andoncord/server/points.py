"""Enforcement points as the server knows them: what they say of themselves, what they are told, what they answer."""

import asyncio
import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from andoncord.kernel.errors import CallerError

Kind = Literal["guard", "supervisor"]


class Registration(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard or supervisor says about itself when it connects."""

    agent: str
    instance: str
    kind: Kind = "guard"
    pid: int = 0
    host: str = ""
    process: dict[str, Any] = {}
    """Number, start, boot and pid namespace of the process; empty where there are none to tell."""
    sdk_version: str = ""
    capabilities: tuple[str, ...] = ()
    epoch: tuple[int, int] | None = None
    tools: dict[str, str] | None = None
    environment: str = ""
    role: str = ""
    """What the agent acts as; orders can be given to a role."""
    rung: str = "none"
    """What the guard has in force."""
    nonce: str = ""
    """Of its request for a first lease; empty where it keeps none."""


class Ack(msgspec.Struct, frozen=True, kw_only=True):
    """What a guard made of one order."""

    order_id: str
    epoch: tuple[int, int] | None = None
    outcome: Literal["enforced", "refused", "failed"]
    at_ns: int = 0
    state: dict[str, Any] = {}
    detail: dict[str, Any] = {}


class _State(msgspec.Struct, frozen=True, kw_only=True):
    """What of a reported state is read here; there may be more in it."""

    in_flight: tuple[dict[str, Any], ...] = ()
    steps_started: int = 0
    breakers: dict[str, str] = {}


class Force(msgspec.Struct, frozen=True, kw_only=True):
    """What is in force for an agent, as the journal says: the strictest in one word, and each order."""

    rung: str
    epoch: tuple[int, int]
    reason: str = ""
    by: str = ""
    incident: str = ""
    orders: tuple[dict[str, Any], ...] = ()
    """Every order in force, as guards read it; empty where there is none but the one in one word."""
    dropped: tuple[str, ...] = ()
    """Quarantines that ended with their messages dropped."""


@dataclass(slots=True, eq=False)
class Guard:
    """One registered enforcement point."""

    id: str
    token_id: str
    registration: Registration
    seen_ns: int
    queue: asyncio.Queue[tuple[str, bytes] | None] | None = None
    """What is to be sent, encoded; None is the end."""
    state: dict[str, Any] = field(default_factory=dict)
    """What it last reported about itself."""
    told: tuple[int, ...] = ()
    """The epoch of the order that was sent to it last."""

    @property
    def agent(self) -> str:
        return self.registration.agent

    @property
    def instance(self) -> str:
        return self.registration.instance

    @property
    def holder(self) -> str:
        """Who holds a part of a budget: of an instance that was started anew under its name, the present process."""
        process = msgspec.json.encode([self.registration.pid, self.registration.process])
        return f"{self.instance} {hashlib.sha256(process).hexdigest()[:16]}"

    @property
    def name(self) -> tuple[str, str, Kind]:
        """What tells it from every other."""
        return self.agent, self.instance, self.registration.kind

    @property
    def is_connected(self) -> bool:
        """Whether its order stream is open."""
        return self.queue is not None

    def end_stream(self) -> None:
        """Have the stream end, whatever waits for it."""
        queue, self.queue = self.queue, None
        if queue is None:
            return
        while queue.full():
            queue.get_nowait()
        queue.put_nowait(None)


def order_id(agent: str, epoch: tuple[int, int]) -> str:
    """Orders are told apart by agent and epoch, so an order that is sent again after a crash is the same order.

    >>> order_id("refund", (1, 7))
    'refund@1.7'
    """
    return f"{agent}@{epoch[0]}.{epoch[1]}"


def check_state(state: dict[str, Any]) -> None:
    """Refuse what would break whoever reads the states of all."""
    try:
        msgspec.convert(state, _State)
    except msgspec.ValidationError as wrong:
        raise CallerError(str(wrong), place="state", remedy="send what this version of the SDK sends") from None
