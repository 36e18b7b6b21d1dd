"""Orders of their own: a rung for a scope, in force until it is lifted or its time is over."""

from collections.abc import Collection
from fnmatch import fnmatchcase
from typing import Any, Literal, get_args

import msgspec

from andoncord.kernel.errors import CallerError
from andoncord.respond.ladder import LADDER
from andoncord_sdk.ladder import ORDERS_MAX

MAX_NAME = 200
MAX_ALLOWED = 256
MAX_BY_PLAYBOOK = 8
"""Orders of playbooks that can be in force for one agent at once."""
MAX_IN_FORCE = ORDERS_MAX - 1 - MAX_BY_PLAYBOOK
"""Orders by hand that can be in force at once: guards refuse a larger set, and an incident's orders need a place in it."""
DEFAULT_RATE = 0.1
LEAST_RATE = 1e-6
GLOB = frozenset("*?[")
Instead = Literal["", "hand-over", "hold"]
"""What becomes of calls in place of being made: a person's inbox gets them as work, or holds them as they are."""

CAPABILITY = {
    "throttle": "throttle",
    "restrict": "restrict",
    "quarantine": "quarantine",
    "pause": "pause",
    "kill": "stop",
    "breaker": "breaker",
    "hand-over": "handover",
    "hold": "outbox",
}
"""What an enforcement point must announce to be asked for a rung. `monitor` needs nothing: it holds nothing."""
LADDER_WORDS = frozenset((*CAPABILITY.values(), "kill"))


class Scope(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which calls an order is about: those that every part of it fits. Without any part: every call of the fleet.

    >>> Scope(agent="refunds", tool="payments.*").text, Scope().text
    ('tool payments.* of agent refunds', 'the fleet')
    """

    agent: str = "*"
    """A glob over agents."""
    role: str = "*"
    """A glob over the roles of agents."""
    tool: str = "*"
    """A glob over tools."""
    run: str = ""
    """One run; empty for all."""

    @property
    def is_whole(self) -> bool:
        """Whether it is about every call of the agents that it covers."""
        return self.tool == "*" and not self.run

    @property
    def one_agent(self) -> str:
        """The agent, where only one can be meant; else empty."""
        return "" if GLOB & set(self.agent) or self.role != "*" else self.agent

    def covers(self, agent: str, roles: Collection[str]) -> bool:
        """Whether it can be about calls of an agent."""
        has_role = self.role == "*" or any(fnmatchcase(role, self.role) for role in roles)
        return has_role and fnmatchcase(agent, self.agent)

    @property
    def text(self) -> str:
        """In words."""
        who = [f"{word} {value}" for word, value in (("agent", self.agent), ("role", self.role)) if value != "*"]
        parts = [f"run {self.run}"] if self.run else []
        parts += [f"tool {self.tool}"] if self.tool != "*" else []
        return " of ".join([*parts, *who]) or "the fleet"


class StandingOrder(msgspec.Struct, frozen=True, kw_only=True):
    """An order in force."""

    id: str
    scope: Scope
    rung: str
    """`none` where the order is only about a breaker."""
    rate: float = 1.0
    """For throttle: the share of the usual rate."""
    allow: tuple[str, ...] = ()
    """For restrict: globs over the tools that may be called; empty for those declared to read."""
    breaker: Literal["", "open", "closed"] = ""
    instead: Instead = ""
    """In place of a rung: what becomes of the calls."""
    reason: str = ""
    by: str = ""
    incident: str = ""
    epoch: int = 0
    since_ns: int = 0
    expires_ns: int = 0
    """When it ends by itself; 0 for an order without end."""

    @property
    def what(self) -> str:
        """What is ordered, in words, without the scope."""
        if self.breaker:
            return f"breaker {self.breaker}"
        if self.instead:
            return "hold side effects" if self.instead == "hold" else "hand over"
        if self.rung == "throttle":
            return f"throttle to {self.rate:.4g} of the usual rate"
        if self.rung == "restrict" and self.allow:
            return f"restrict to {', '.join(self.allow[:5])}{' …' if len(self.allow) > 5 else ''}"
        return self.rung

    @property
    def capabilities(self) -> frozenset[str]:
        """What an enforcement point must announce to be able to carry it out."""
        needs = {CAPABILITY.get("breaker" if self.breaker else self.instead or self.rung, "")} - {""}
        if not self.scope.is_whole:
            needs.add("scoped")
        return frozenset(needs)

    def wire(self) -> dict[str, Any]:
        """As guards read it."""
        return {
            "id": self.id,
            "scope": {"tool": self.scope.tool, "run": self.scope.run},
            "rung": self.rung,
            "rate": self.rate,
            "allow": list(self.allow),
            "breaker": self.breaker,
            **({"instead": self.instead} if self.instead else {}),
            "reason": self.reason,
            "by": self.by,
            "incident": self.incident,
        }


def lacking(needs: Collection[str], announced: Collection[str]) -> tuple[str, ...]:
    """What an enforcement point cannot do of what an order needs.

    One that announces no word of the ladder says nothing about it: what it cannot do shows when it answers. What only orders
    of their own need (`throttle`, `quarantine`, `scoped`, `breaker`) has to be announced.

    >>> lacking({"stop", "scoped"}, {"pause", "stop"}), lacking({"pause"}, {"probe"})
    (('scoped',), ())
    """
    says = LADDER_WORDS & set(announced)
    optional = {"restrict", "pause", "stop"} if not says else set()
    return tuple(sorted(need for need in needs if need not in announced and need not in optional))


def checked(
    *, scope: dict[str, Any], rung: str, rate: float | None, allow: Collection[str], breaker: str, instead: str = ""
) -> tuple[Scope, str, float, tuple[str, ...], Literal["", "open", "closed"]]:
    """The parts of an order as a person gives them, validated together.

    Raises:
        CallerError: says which part makes no sense, and what would.
    """
    try:
        where = msgspec.convert({name: value for name, value in scope.items() if value not in (None, "")}, Scope)
    except msgspec.ValidationError as error:
        raise CallerError(str(error), place="scope", remedy="it has agent, role, tool and run, each a text") from None
    if any(len(part) > MAX_NAME for part in (where.agent, where.role, where.tool, where.run)):
        raise CallerError(f"longer than {MAX_NAME} characters", place="scope")
    if breaker not in ("", "open", "closed"):
        raise CallerError(f"unknown breaker order {breaker!r}", place="breaker", remedy="use open or closed")
    if instead not in get_args(Instead):
        raise CallerError(f"unknown word {instead!r}", place="instead", remedy="use hand-over or hold")
    if breaker or instead:
        if rung not in ("", "none") or (breaker and instead):
            place = "breaker" if breaker else "instead"
            raise CallerError("is for orders without a rung", place=place, remedy=f"order {rung or instead} by itself")
        rung = "none"
    elif rung not in LADDER[1:]:
        raise CallerError(f"unknown rung {rung!r}", place="rung", remedy=f"use one of: {', '.join(LADDER[1:])}")
    if rate is not None and rung != "throttle":
        raise CallerError("is for throttle", place="rate")
    if rate is not None and not LEAST_RATE <= rate <= 1:
        raise CallerError("is a share of the usual rate: greater than 0, at most 1", place="rate")
    if allow and rung != "restrict":
        raise CallerError("is for restrict", place="allow")
    if len(allow) > MAX_ALLOWED or any(not 0 < len(each) <= MAX_NAME for each in allow):
        raise CallerError(f"names at most {MAX_ALLOWED} tools", place="allow")
    if rung == "monitor" and not where.is_whole:
        raise CallerError("monitor is for whole agents", place="scope", remedy="leave tool and run out")
    chosen = rate if rate is not None else DEFAULT_RATE if rung == "throttle" else 1.0
    kind: Literal["", "open", "closed"] = "open" if breaker == "open" else "closed" if breaker else ""
    return where, rung, chosen, tuple(allow), kind
