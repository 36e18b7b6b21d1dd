"""Meets the obligations of policies: masks, waits for approvals, keeps rates, has snapshots taken. What is not met denies."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from andoncord_sdk import _platform
from andoncord_sdk.approval_duty import ApprovalDuty
from andoncord_sdk.errand import Errand, within
from andoncord_sdk.errors import CallDenied
from andoncord_sdk.obligation import PERIODS, Owed, Redact, RequireApproval, Snapshot, ThrottleCalls, masked
from andoncord_sdk.orders import Order
from andoncord_sdk.otlp import SEVERITY_WARN, LogRecord

if TYPE_CHECKING:
    from andoncord_sdk.run import Run
    from andoncord_sdk.step import GuardedCall

MAX_BUCKETS = 10_000
MAX_REFERENCE = 200
"""Characters of what a snapshot hook returns that are reported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotRequest:
    """What a snapshot hook is told."""

    of: str
    """What is to be saved, as the policy calls it."""
    policy: str
    agent: str
    run_id: str
    tool: str
    arguments: Mapping[str, Any]


SnapshotHook = Callable[[SnapshotRequest], Any]
"""Saves something before a call. What it returns, as text, is where it can be found; raising means that it failed."""


class Duties:
    """What a guard does about obligations. Thread-safe.

    Args:
        agent: the agent's name.
        report: takes a record, and `urgent`.
        hold_max_s: no call is held longer for an approval, whatever its policy says; None for no limit.
        clock_ns: for rates and holds, a clock that never steps back.
    """

    def __init__(
        self,
        *,
        agent: str,
        report: Callable[..., None],
        hold_max_s: float | None = None,
        clock_ns: Callable[[], int] = _platform.boot_ns,
    ) -> None:
        self.approvals = ApprovalDuty(agent=agent, hold_max_s=hold_max_s, clock_ns=clock_ns)
        self.snapshots: dict[str, SnapshotHook] = {}
        self._agent = agent
        self._report = report
        self._clock_ns = clock_ns
        self._buckets: dict[tuple[str, str], tuple[float, int]] = {}
        """By policy and tool: tokens left, and when."""
        self._lock = threading.Lock()

    def prepare(self, call: "GuardedCall", owed: tuple[Owed, ...]) -> None:
        """Note what the call owes, and mask its arguments.

        Raises:
            CallDenied: its arguments would have to be masked and cannot be replaced.
        """
        call.owed = owed
        self.approvals.let_go(call, but=owed)
        arguments: Any = call.given
        for each in owed:
            if isinstance(each.obligation, Redact):
                if not call.can_replace:
                    remedy = "make the call with run.call, @guard.tool, or pass on step.arguments"
                    message = f"{each.message}: its arguments have to be redacted, and cannot be replaced here; {remedy}"
                    raise CallDenied("policy", message, tool=call.name, policy=each.policy_id)
                for path in each.obligation.paths:
                    arguments = masked(arguments, path)
        call.replace(arguments)

    def check(self, run: "Run", call: "GuardedCall", order: Order) -> Order | Errand | None:
        """What has to be done first, or `order` to wait on for an approval; None when everything is met.

        What is used up by being met is used up once for a call.

        Raises:
            CallDenied: an obligation is not met.
        """
        approvals = [each for each in call.owed if isinstance(each.obligation, RequireApproval)]
        # All are asked for before the first is waited for, and what the call needs besides is got when they are there: a
        # snapshot that is older than the wait, or a turn that is held through it, is of no use to anybody.
        are_there = [self.approvals.is_there(run, call, order, each) for each in approvals]
        if not all(are_there):
            return order
        for each in call.owed:
            if isinstance(each.obligation, Snapshot) and each not in call.met:
                return SnapshotErrand(self, run, call, each)
            if isinstance(call.met.get(each), CallDenied):
                raise call.met[each]
        try:
            for each in call.owed:
                if isinstance(each.obligation, ThrottleCalls) and each not in call.met:
                    self._take_turn(call, each, each.obligation)
            # Last: a turn can be given back, an approval cannot.
            is_approved = all(self.approvals.take(run, call, order, each) for each in approvals)
        except CallDenied:
            self._give_turns_back(call)
            raise
        if is_approved:
            return None
        self._give_turns_back(call)  # Another call was faster.
        return order

    def take_snapshot(self, run: "Run", call: "GuardedCall", owed: Owed) -> None:
        """Have a snapshot taken, within its time, and note on the call what came of it."""
        wanted = owed.obligation
        assert isinstance(wanted, Snapshot)
        hook = self.snapshots.get(wanted.of)
        if hook is None:
            failure = f"this guard has no snapshot hook {wanted.of!r}"
        else:
            request = SnapshotRequest(
                of=wanted.of,
                policy=owed.policy_id,
                agent=self._agent,
                run_id=run.id,
                tool=call.name,
                arguments=call.arguments,
            )
            is_done, outcome = within(wanted.at_most_s, lambda: hook(request))
            if is_done and not isinstance(outcome, BaseException):
                call.met[owed] = f"snapshot of {wanted.of}: {str(outcome)[:MAX_REFERENCE]}"
                return
            failure = f"it failed ({outcome!r})" if is_done else f"it took longer than {wanted.at_most_s:g} s"
        message = f"{owed.message}: {call.name} needs a snapshot of {wanted.of} first, and {failure}"
        if wanted.if_it_fails == "deny":
            call.met[owed] = CallDenied("snapshot", message, tool=call.name, policy=owed.policy_id)
            return
        call.met[owed] = f"no snapshot of {wanted.of}: {failure}"
        self._report_gap(run, call, f"{message}; the policy lets it go on")

    def _take_turn(self, call: "GuardedCall", owed: Owed, rate: ThrottleCalls) -> None:
        """Take a token out of the bucket of this policy and tool.

        Raises:
            CallDenied: it is empty.
        """
        now, key = self._clock_ns(), (owed.policy_digest, call.name)
        per_ns = rate.calls / (PERIODS[rate.per] * 1e9)
        with self._lock:
            if len(self._buckets) >= MAX_BUCKETS and key not in self._buckets:
                self._buckets.pop(next(iter(self._buckets)))
            left, since_ns = self._buckets.get(key, (float(rate.calls), now))
            left = min(float(rate.calls), left + (now - since_ns) * per_ns)
            if left >= 1.0:
                self._buckets[key] = (left - 1.0, now)
                call.met[owed] = ""
                return
            self._buckets[key] = (left, now)
        wait_s = (1.0 - left) / per_ns / 1e9
        message = f"{owed.message}: {call.name} may be called {rate.calls} times per {rate.per}; again in {wait_s:.1f} s"
        raise CallDenied("throttle", message, tool=call.name, policy=owed.policy_id)

    def _give_turns_back(self, call: "GuardedCall") -> None:
        """The call is not made: the tokens that it took are there for others."""
        for each in call.owed:
            if isinstance(each.obligation, ThrottleCalls) and each in call.met:
                del call.met[each]
                key = (each.policy_digest, call.name)
                with self._lock:
                    if key in self._buckets:
                        left, since_ns = self._buckets[key]
                        self._buckets[key] = (min(float(each.obligation.calls), left + 1.0), since_ns)

    def _report_gap(self, run: "Run", call: "GuardedCall", message: str) -> None:
        """Report a call that goes on without what it should have had."""
        self._report(
            LogRecord(
                event_name="andoncord.guard.degraded",
                at_ns=_platform.now_ns(),
                trace_id=run.trace_id,
                span_id=call.span_id,
                severity=SEVERITY_WARN,
                attributes={
                    **run.attributes,
                    call.name_attribute: call.name,
                    "andoncord.decision.code": "snapshot_failed",
                    "andoncord.decision.message": message,
                },
            ),
            urgent=True,
        )

    def forget_other_threads(self) -> None:
        """In a forked child: the lock is renewed, whoever held it; approvals that were handed out are the parent's."""
        self._lock = threading.Lock()
        self.approvals.forget_other_threads()


class SnapshotErrand:
    """Having a snapshot taken before a call."""

    def __init__(self, duties: Duties, run: "Run", call: "GuardedCall", owed: Owed) -> None:
        self._duties = duties
        self._run = run
        self._call = call
        self._owed = owed

    def do(self) -> None:
        self._duties.take_snapshot(self._run, self._call, self._owed)
