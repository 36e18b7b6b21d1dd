"""What a guard does about approvals that policies require: asks for them, has calls wait, uses each up for one call."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from andoncord_sdk.approval import Action, Approvals, AwaitedApprovals, UnwritableError, canonical
from andoncord_sdk.asking import AskedApprovals
from andoncord_sdk.errors import CallDenied
from andoncord_sdk.obligation import Owed, RequireApproval
from andoncord_sdk.orders import Order

if TYPE_CHECKING:
    from andoncord_sdk.run import Run
    from andoncord_sdk.step import GuardedCall

NS = 1_000_000_000
LOOK_AGAIN_S = 2.0
"""A call that is held for an approval is checked again at least this often: its lease may have ended meanwhile."""


@dataclass(frozen=True, slots=True)
class Awaited:
    """Stands in a call's `met` while the call is held for an approval."""

    action: Action
    until_ns: int


class ApprovalDuty:
    """Has calls wait for the approvals they owe, within a bounded time. Thread-safe.

    Args:
        agent: the agent's name.
        hold_max_s: no call is held longer, whatever its policy says; None for no limit.
        clock_ns: a clock that never steps back.
    """

    def __init__(self, *, agent: str, hold_max_s: float | None, clock_ns: Callable[[], int]) -> None:
        self.source: Approvals | None = None
        """Where approvals come from; None where none can come."""
        self._agent = agent
        self._hold_max_s = hold_max_s
        self._clock_ns = clock_ns

    def is_there(self, run: "Run", call: "GuardedCall", order: Order, owed: Owed) -> bool:
        """Whether an approval need not be waited for: it is taken, or can be, or it has yet to turn out that it cannot.

        Raises:
            CallDenied: it will not come, or not in time.
        """
        action = self._action(run, call, order, owed)
        approvals = self.source
        if call.met.get(owed) == action.digest or not isinstance(approvals, AwaitedApprovals):
            return True
        if not approvals.look(action):
            self._hold(call, owed, action)
            return False
        return True

    def take(self, run: "Run", call: "GuardedCall", order: Order, owed: Owed) -> bool:
        """Use an approval up for the call; False if the call is held for it.

        Raises:
            CallDenied: there is none, and none will come.
        """
        action = self._action(run, call, order, owed)
        if call.met.get(owed) == action.digest:
            return True
        if self.source is None or not self.source.take(action):
            self._hold(call, owed, action)
            return False
        self.let_go(call, but=tuple(each for each in call.owed if each != owed))
        call.met[owed] = action.digest
        return True

    def wait_s(self, call: "GuardedCall") -> float | None:
        """Until when a call that is held for an approval is checked again; None for any other."""
        ends = [each.until_ns for each in call.met.values() if isinstance(each, Awaited)]
        if not ends:
            return None
        left_s = (min(ends) - self._clock_ns()) / NS
        return min(LOOK_AGAIN_S, left_s) if left_s > 0 else LOOK_AGAIN_S  # It is over, and an order holds the call.

    def waits_for(self, call: "GuardedCall") -> str:
        """What approvals a call is held for, in words; empty where it is not."""
        waiting = [each.action for each in call.met.values() if isinstance(each, Awaited)]
        return " and ".join(f"the approval of {action.role} (digest {action.digest})" for action in waiting)

    def give_up(self, call: "GuardedCall") -> None:
        """The call is not made: nobody is asked on its behalf any more."""
        if call.met:
            self.let_go(call)

    def let_go(self, call: "GuardedCall", but: tuple[Owed, ...] = ()) -> None:
        """The call waits no more for any approval, or for those of `but` alone."""
        for owed, each in list(call.met.items()):
            if isinstance(each, Awaited) and owed not in but:
                del call.met[owed]
                if isinstance(self.source, AwaitedApprovals):
                    self.source.let_go(each.action)

    def forget_other_threads(self) -> None:
        """In a forked child: approvals that were handed out are the parent's."""
        if isinstance(self.source, AskedApprovals):
            self.source.forget_other_threads()

    def _action(self, run: "Run", call: "GuardedCall", order: Order, owed: Owed) -> Action:
        """What is to be approved.

        Raises:
            CallDenied: nobody could say what it is.
        """
        wanted = owed.obligation
        assert isinstance(wanted, RequireApproval)
        try:
            arguments = canonical(call.arguments)
        except UnwritableError as wrong:
            message = f"{_needs(call, owed)}, and its arguments cannot be approved: {wrong}"
            raise CallDenied("approval", message, tool=call.name, policy=owed.policy_id) from None
        return Action(
            agent=self._agent,
            run_id=run.id,
            tool=call.name,
            arguments=arguments,
            policy_id=owed.policy_id,
            policy_digest=owed.policy_digest,
            role=wanted.role,
            epoch=order.epoch,
            people=wanted.people,
        )

    def _hold(self, call: "GuardedCall", owed: Owed, action: Action) -> None:
        """Let the call wait for an approval.

        Raises:
            CallDenied: it cannot, or it has waited for long enough, or the approval will not come.
        """
        if why := self._why_not_held(call, owed, action):
            refusal = CallDenied("approval", f"{_needs(call, owed)}, and {why}", tool=call.name, policy=owed.policy_id)
            refusal.action_digest = action.digest
            raise refusal

    def _why_not_held(self, call: "GuardedCall", owed: Owed, action: Action) -> str:
        approvals, met, wanted = self.source, call.met.get(owed), owed.obligation
        assert isinstance(wanted, RequireApproval)
        hold_s = min(wanted.hold_s, math.inf if self._hold_max_s is None else self._hold_max_s)
        if not isinstance(approvals, AwaitedApprovals) or not hold_s:
            return "there is none for it"
        if why := approvals.refusal(action):
            return why
        until_ns = met.until_ns if isinstance(met, Awaited) else self._clock_ns() + int(hold_s * NS)
        if self._clock_ns() >= until_ns:
            return f"nobody answered within {hold_s:g} s"
        if isinstance(met, Awaited):
            if met.action == action:
                return ""
            approvals.let_go(met.action)  # Another order is in force now: what is asked for is another action.
            del call.met[owed]
        if not approvals.hold(action):
            return "too many calls wait for one already"
        call.met[owed] = Awaited(action, until_ns)
        return ""


def _needs(call: "GuardedCall", owed: Owed) -> str:
    assert isinstance(owed.obligation, RequireApproval)
    return f"{owed.message}: {call.name} needs the approval of {owed.obligation.role}"
