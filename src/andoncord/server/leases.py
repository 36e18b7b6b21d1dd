"""Leases given to guards: what each may still hold, so that nobody is called stopped who may still act.

The server counts a lease from the moment it is given and adds a margin; the guard counts it from the moment it asked, which is
earlier. So a lease that the server calls ended has ended.
"""

import hmac
from collections import OrderedDict
from typing import Any

from andoncord.kernel.time import SECOND_NS
from andoncord.server.ports import ServerClock
from andoncord_sdk.lease import lease_mac

TTL_MS = 5_000
RENEW_S = 1.5
MARGIN_NS = SECOND_NS // 2
"""Added when outstanding leases are reported: for clocks of different speed, and a check that passed just before the end."""
MAX_HOLDERS = 20_000

Epoch = tuple[int, int]


class LeaseOffice:
    """Gives leases and remembers until when they run. Not for several threads.

    Args:
        secret: what the key of each guard is derived from; it never leaves the server.
    """

    def __init__(self, *, secret: bytes, clock: ServerClock, ttl_ms: int = TTL_MS) -> None:
        self._secret = secret
        self._clock = clock
        self._ttl_ms = ttl_ms
        self._began_ns = clock.monotonic_ns()
        self._given: OrderedDict[tuple[str, str], dict[Epoch, int]] = OrderedDict()

    def key_of(self, guard: str) -> bytes:
        """The key of one registration; it is told to the guard once."""
        return hmac.digest(self._secret, b"andoncord lease key 1\0" + guard.encode(), "sha256")

    def offer(self, *, guard: str, agent: str, instance: str, epoch: Epoch, rung: str, nonce: str) -> dict[str, Any]:
        """A first lease, with the key it is checked with."""
        lease = self.give(guard=guard, agent=agent, instance=instance, epoch=epoch, rung=rung, nonce=nonce)
        return {**lease, "key": self.key_of(guard).hex(), "renew_s": RENEW_S}

    def give(
        self, *, guard: str, agent: str, instance: str, epoch: Epoch, rung: str, nonce: str, orders: str = ""
    ) -> dict[str, Any]:
        """A lease for one guard under the order in force. An order does not end a lease; it raises the epoch beyond it.

        Args:
            orders: the digest of the set of orders that is sent along.
        """
        now = self._clock.monotonic_ns()
        held = self._given.setdefault((agent, instance), {})
        self._given.move_to_end((agent, instance))
        held[epoch] = now + self._ttl_ms * 1_000_000
        for ended in [each for each, until in held.items() if until + MARGIN_NS <= now]:
            del held[ended]
        while len(self._given) > MAX_HOLDERS:
            self._given.popitem(last=False)
        said: dict[str, Any] = {"epoch": epoch, "rung": rung, "ttl_ms": self._ttl_ms, "nonce": nonce}
        mac = lease_mac(self.key_of(guard), guard=guard, agent=agent, orders=orders, **said)
        return {**said, "epoch": list(epoch), "mac": mac}

    def outstanding(self) -> int:
        """How many leases may still be held."""
        now = self._clock.monotonic_ns()
        return sum(until + MARGIN_NS > now for held in self._given.values() for until in held.values())

    def left_s(self, agent: str, instance: str, *, below: Epoch) -> float | None:
        """Seconds for which a process may still hold a lease from before the order `below`; None when it never got one.

        What was given before this server started is not known, so for one lease's length everybody is taken to hold one.
        """
        now = self._clock.monotonic_ns()
        unknown = self._began_ns + self._ttl_ms * 1_000_000
        held = self._given.get((agent, instance))
        if held is None and unknown + MARGIN_NS <= now:
            return None
        ends = max((until for epoch, until in (held or {}).items() if epoch < below), default=0)
        return max(0.0, (max(ends, unknown) + MARGIN_NS - now) / SECOND_NS)
