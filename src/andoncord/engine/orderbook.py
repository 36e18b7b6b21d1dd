"""The orders of their own that are in force: given and lifted one by one, each change under a higher epoch."""

from collections.abc import Collection
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

import msgspec

from andoncord.kernel.journal import Entry
from andoncord.kernel.time import MILLISECOND_NS
from andoncord.respond.ladder import FENCING, height
from andoncord.respond.orders import StandingOrder

MAX_DROPPED = 64
"""Quarantines remembered as ended with their messages dropped: a guard that was away must not send what it held under one."""


@dataclass(slots=True)
class OrderBook:
    """Part of the engine's state: rebuilt from the journal, changed by nothing else."""

    in_force: dict[str, StandingOrder] = field(default_factory=dict)
    """By id, oldest first."""
    dropped: dict[str, StandingOrder] = field(default_factory=dict)
    """Quarantines whose messages were dropped at the end, latest last."""
    given: int = 0
    """Orders given so far, in force or not."""
    _agent_epochs: dict[str, int] = field(default_factory=dict)
    _common_epoch: int = 0
    """Of the last change that may concern agents that are not known yet."""

    def give(self, entry: Entry) -> int:
        """Take an order in; its epoch."""
        lasts_ms = entry.body.get("lasts_ms") or 0
        order = msgspec.structs.replace(
            msgspec.convert(entry.body["order"], StandingOrder),
            incident=entry.incident,
            by=entry.by,
            since_ns=entry.at_ns,
            expires_ns=entry.at_ns + lasts_ms * MILLISECOND_NS if lasts_ms else 0,
        )
        self.in_force[order.id] = order
        self.given += 1
        return self._raise(order, order.epoch)

    def lift(self, entry: Entry) -> int:
        """Take an order out; the epoch of that."""
        order = self.in_force.pop(entry.body["order"])
        if entry.body.get("messages") == "drop":
            self.dropped[order.id] = order
            while len(self.dropped) > MAX_DROPPED:
                del self.dropped[next(iter(self.dropped))]
        return self._raise(order, entry.body["epoch"])

    def epoch_of(self, agent: str) -> int:
        """The epoch of the last change that may concern an agent."""
        return max(self._common_epoch, self._agent_epochs.get(agent, 0))

    def on(self, agent: str, roles: Collection[str]) -> tuple[StandingOrder, ...]:
        """Every order in force that covers an agent."""
        return tuple(order for order in self.in_force.values() if order.scope.covers(agent, roles))

    def may_fence(self, agent: str) -> bool:
        """Whether an order of its own may keep an agent from beginning anything: its role is not looked at."""
        return any(
            order.rung in FENCING and order.scope.is_whole and fnmatchcase(agent, order.scope.agent)
            for order in self.in_force.values()
        )

    def dropped_on(self, agent: str, roles: Collection[str]) -> tuple[str, ...]:
        """The quarantines of an agent whose messages were dropped."""
        return tuple(order.id for order in self.dropped.values() if order.scope.covers(agent, roles))

    def _raise(self, order: StandingOrder, epoch: int) -> int:
        if order.scope.one_agent:
            self._agent_epochs[order.scope.one_agent] = epoch
        else:
            self._common_epoch = epoch
        return epoch


def strictest(orders: Collection[StandingOrder], rung: str) -> str:
    """The strictest of `rung` and of the orders that are about every call of an agent.

    >>> from andoncord.respond.orders import Scope
    >>> strictest([StandingOrder(id="o", scope=Scope(tool="x"), rung="kill")], "monitor")
    'monitor'
    """
    return max([rung, *(order.rung for order in orders if order.scope.is_whole)], key=height)
