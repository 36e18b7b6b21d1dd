"""What a guard has of its control plane: the order stream, the lease, the flag, and what a registration brings."""

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from andoncord_sdk.admission import Admission
from andoncord_sdk.allowance import Allowance
from andoncord_sdk.breaker_board import BreakerBoard
from andoncord_sdk.breaking import settings_in
from andoncord_sdk.flag import open_flag
from andoncord_sdk.follow import Follower, order_in
from andoncord_sdk.lease import Lease, LeaseKeeper
from andoncord_sdk.link import Ack, ControlLink, Report
from andoncord_sdk.prices import Prices
from andoncord_sdk.wire import Endpoint

_log = logging.getLogger("andoncord_sdk")


class ControlPlane:
    """Follows a control plane for a guard, from `start` to `close`.

    Args:
        admission: gets the lease, the flag, the shared budgets and the prices.
        lease: that it is to keep.
        follower: does what is ordered.
        board: gets the breakers that are declared.
        hello: the body of a registration.
        own_prices: before those that are sent.
        may_share_memory: whether a flag on the same machine is looked at.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        admission: Admission,
        lease: Lease,
        follower: Follower,
        board: BreakerBoard,
        hello: Callable[[], dict[str, Any]],
        own_prices: Sequence[Mapping[str, Any]],
        may_share_memory: bool,
    ) -> None:
        self._admission = admission
        self._follower = follower
        self._board = board
        self._own_prices = tuple(own_prices)
        self._may_share_memory = may_share_memory
        self._link = ControlLink(endpoint, hello=hello, welcomed=self._welcomed, received=follower.received)
        admission.lease = lease
        admission.allowance = Allowance(wanted=lambda: lease.wanted, clock_ns=admission.clock_ns)
        self._keeper = LeaseKeeper(
            endpoint,
            lease,
            ordered=functools.partial(follower.received, "order"),
            lost=self._link.reconnect,
            allowance=admission.allowance,
        )

    @property
    def is_connected(self) -> bool:
        """The order stream is open."""
        return self._link.is_connected

    def start(self) -> None:
        """Register, and follow."""
        self._link.start()

    def start_after_fork(self) -> None:
        """In a forked child no thread of these exists."""
        self._keeper.start()
        self._link.start()

    def close(self) -> None:
        self._keeper.close()
        self._link.close()

    def ack(self, ack: Ack) -> None:
        """Say what was made of an order."""
        self._link.ack(ack)

    def tell(self, report: Report) -> None:
        """Say what has changed since the registration."""
        self._link.tell(report)

    def _welcomed(self, welcome: dict[str, Any]) -> None:
        self._follower.welcomed(welcome)
        if not self._admission.role and isinstance(welcome.get("role"), str):
            self._admission.role = welcome["role"]
        try:
            self._board.set(settings_in(welcome.get("breakers") or {}))
        except (ValueError, TypeError) as wrong:
            _log.warning("the breakers sent at registration could not be set, those in force stay: %s", wrong)
        if isinstance(rows := welcome.get("prices"), list):
            self._admission.prices = Prices((*self._own_prices, *rows))
        offer = welcome.get("flag") if self._may_share_memory else None
        self._admission.flag = open_flag(offer, guard=welcome["guard_id"], ordered=self._flagged)
        self._keeper.welcomed(welcome)

    def _flagged(self, event: dict[str, Any]) -> None:
        """Follow an order out of shared memory, which only raises: what is milder or lifts anything waits for the stream."""
        in_force, told = self._admission.gate.order, order_in(event)
        if told.rung >= in_force.rung and {part.id for part in in_force.parts if part.id} <= {part.id for part in told.parts}:
            self._follower.received("order", event)
