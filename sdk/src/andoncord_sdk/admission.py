"""The check every guarded call passes: order in force, policies, scope, budget, loop. In that order; the strictest wins."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Literal

from andoncord_sdk import _platform
from andoncord_sdk.allowance import Allowance
from andoncord_sdk.breaking import Breaking
from andoncord_sdk.budget import Reservation
from andoncord_sdk.duties import Duties
from andoncord_sdk.enforcer import Enforcer
from andoncord_sdk.errand import Errand
from andoncord_sdk.errors import CallDenied, GuardError, RunStopped
from andoncord_sdk.flag import Flag
from andoncord_sdk.handing import Handing
from andoncord_sdk.ladder import Rung
from andoncord_sdk.lease import Lease
from andoncord_sdk.obligation import Owed
from andoncord_sdk.orders import Gate, Order
from andoncord_sdk.otlp import SEVERITY_WARN, LogRecord
from andoncord_sdk.policy import MAX_NEAR_MISSES, BoundPolicies, PolicySet
from andoncord_sdk.prices import Prices
from andoncord_sdk.versions import Versions

if TYPE_CHECKING:
    from andoncord_sdk.run import Run
    from andoncord_sdk.step import GuardedCall

ToolKind = Literal["read", "write"]
"""What a declared tool does to the world: nothing, or something."""
OnLoop = Literal["stop", "pause"]
OnUnknownPrice = Literal["deny", "estimate"]


@dataclass(slots=True, kw_only=True)
class Admission:
    """Decides whether a guarded call may start, and says why not. Shared by all runs of a guard; thread-safe.

    A call that may not start yet is given the order to wait on, or an errand after which to ask again; a call that may not
    start at all raises. A check that itself breaks refuses the call: a broken guard holds, it does not release.
    """

    agent: str
    gate: Gate
    report: Callable[..., None]
    """Takes a record, and `urgent`."""
    environment: str = ""
    role: str = ""
    tools: Mapping[str, ToolKind] | None = None
    """The declared scope; None where nothing is declared and everything is allowed."""
    policies: PolicySet | None = None
    on_loop: OnLoop = "stop"
    polls: Collection[str] = ()
    """Tools that poll or wait by declaration: asking them again is no loop."""
    hold_max_s: float | None = None
    on_nudge: Callable[[str], None] | None = None
    config_version: str = ""
    lease: Lease | None = None
    """What the control plane grants for a few seconds at a time; None where there is no control plane to follow."""
    allowance: Allowance | None = None
    """What is left for this guard of budgets that it shares; None where there is no control plane that could give any."""
    prices: Prices | None = None
    ended: "Callable[[GuardedCall], None] | None" = None
    """Told of every call that has ended."""
    on_unknown_price: OnUnknownPrice = "deny"
    flag: Flag | None = None
    """Where an order of a control plane on this machine shows first; None where there is none."""
    messages: Sequence[str] = ()
    """Globs over the tools that send or take messages, beside those that are recognised."""
    clock_ns: Callable[[], int] = _platform.boot_ns
    validators: dict[str, Callable[[Mapping[str, Any]], bool]] = field(default_factory=dict)
    """Name → says whether a state that a run reports is valid."""
    versions: Versions = field(default_factory=Versions)
    """Of tools and of the prompt, as they were noticed."""
    breaking: Breaking | None = None
    """Circuit breakers; None where none is set."""
    handing: Handing | None = None
    """What a person gets that the agent may not do; None where there is no control plane that could take it."""
    duties: Duties = field(init=False)
    """What policies oblige to."""
    enforcer: Enforcer = field(init=False)
    """What the orders in force do to each call."""
    _bound: BoundPolicies | None = None
    """`policies` as this agent meets them, once they have been asked."""

    def __post_init__(self) -> None:
        self.duties = Duties(agent=self.agent, report=self.report, hold_max_s=self.hold_max_s, clock_ns=self.clock_ns)
        self.enforcer = Enforcer(
            agent=self.agent, gate=self.gate, is_read=self.is_read, messages=self.messages, clock_ns=self.clock_ns
        )

    def admit(self, run: "Run", call: "GuardedCall") -> Order | Errand | None:
        """Let `call` start, and count it as in flight; or name the order that holds it, or what has to be done first.

        Raises:
            CallDenied: the call is refused.
            RunStopped: the call is refused and the run is over.
        """
        try:
            wait = self._admit(run, call)
            if wait is not None and self.breaking is not None:
                self.breaking.give_up(call)  # How long it waits here says nothing about how fast the dependency is.
            return wait
        except GuardError as refusal:
            self.refuse(run, call, refusal)
            raise
        except Exception as fault:
            message = f"the guard could not check this call, so it was not made ({type(fault).__name__}: {fault})"
            broken = CallDenied("guard_error", message, tool=call.name)
            self.refuse(run, call, broken)
            raise broken from fault

    def held_too_long(self, run: "Run", call: "GuardedCall", order: Order) -> GuardError:
        """The refusal of a call that was held as long as this guard may hold one."""
        why = f"{self.agent} is paused ({order.reason or 'no reason given'})"
        if awaited := self.duties.approvals.waits_for(call):
            why = f"{call.name} needs {awaited}"
        message = f"{why}; the call was held for {self.hold_max_s:g} s and not made"
        refusal = CallDenied("order", message, tool=call.name)
        self.refuse(run, call, refusal)
        return refusal

    def condition(self) -> dict[str, Any]:
        """What orders and breakers are doing here, for whoever reads the guard's state; nothing where they do nothing."""
        found = {
            "breakers": {} if self.breaking is None else self.breaking.breakers.not_closed(),
            "throttled": self.enforcer.throttled(),
            "held_messages": len(self.enforcer.outbox),
        }
        return {name: value for name, value in found.items() if value}

    def give_up(self, call: "GuardedCall") -> None:
        """The call is not made: its place among those that wait, and its trial of a breaker, are free."""
        self.enforcer.over(call)
        self.duties.approvals.give_up(call)
        if self.breaking is not None:
            self.breaking.give_up(call)

    def refuse(self, run: "Run", call: "GuardedCall", refusal: GuardError, *, action: str = "") -> None:
        """Report a refusal, and end the run if that is what it means."""
        self.give_up(call)
        if isinstance(refusal, RunStopped):
            run.stop(refusal)
        self.report(
            LogRecord(
                event_name="andoncord.guard.denied",
                at_ns=_platform.now_ns(),
                trace_id=run.trace_id,
                span_id=call.span_id,
                severity=SEVERITY_WARN,
                attributes={
                    **run.attributes,
                    call.name_attribute: call.name,
                    "gen_ai.tool.call.arguments": call.arguments_text,
                    "andoncord.decision.code": refusal.code,
                    "andoncord.decision.policy": refusal.policy,
                    "andoncord.decision.message": refusal.message,
                    "andoncord.decision.action": action or refusal.action,
                    **_explained(refusal),
                },
            ),
            urgent=True,
        )

    def forget_other_threads(self) -> None:
        """In a forked child, where only the forking thread exists."""
        parts = (self.enforcer, self.breaking, self.gate, self.duties, self.handing, self.lease, self.allowance, self.flag)
        for part in parts:
            if part is not None:
                part.forget_other_threads()

    def _admit(self, run: "Run", call: "GuardedCall") -> Order | Errand | None:
        while True:
            if (flag := self.flag) is not None and flag.words[0] != flag.seen:
                flag.look()
            order = self.gate.order
            handing = self.handing
            may_divert = handing is not None and (order.measures is not None or run.stopped is not None or handing.filed)
            if may_divert and (errand := self._divert(run, call, order)) is not None:
                return errand  # Before what else is in force: nothing is made by it.
            if run.stopped is not None:
                raise run.stopped.again(call.name)
            if run.probe_order is not None:
                self._check_probe(run, call, run.probe_order, order)
            elif (order.measures is not None or self.enforcer.outbox) and self.enforcer.check(run, call, order) is not None:
                return order
            if call.is_tool:
                self._check_rules(run, call)
            if (lease := self.lease) is not None and lease.clock_ns() >= lease.until_ns:
                self._go_without(lease, run, call)
            if (breaking := self.breaking) is not None:
                breaking.admit(call, order)
            reservation = run.budget.reserve_free() if call.is_tool else self._reserve(run, call)
            if reservation is None:
                if (errand := self._more_budget(run, call)) is not None:
                    return errand
                continue
            try:
                held: Order | Errand | None = self._check_loop(run, call, order)
                if held is None and call.owed:
                    held = self.duties.check(run, call, order)
                call.start_ns = _platform.now_ns()
                admitted = held is None and self.gate.enter((call.name, run.id, call.span_id, call.start_ns), order)
            except BaseException:
                reservation.release()
                raise
            if admitted:
                call.reservation = reservation
                if order.measures is not None or self.enforcer.outbox or self.enforcer.turns:
                    self.enforcer.over(call)
                return None
            reservation.release()
            if held is not None:
                return held

    def _divert(self, run: "Run", call: "GuardedCall", order: Order) -> Errand | None:
        """What has to be done so that a person gets a call, or its whole run; None where nobody does.

        Raises:
            GuardError: a person has it, or could not be told; or the rules forbid it, so that nobody gets it.
        """
        handing = self.handing
        assert handing is not None
        if handing.filed:
            handing.raise_filed(run, call)
        if run.probe_order is not None or (order.measures is None and run.stopped is None):
            return None
        diverted = handing.wanted(run, call, order) if run.stopped is None else handing.wanted_of_stopped(run)
        if diverted is None:
            return None
        if call.is_tool and run.stopped is None:
            self._check_rules(run, call)
        return handing.divert(run, call, diverted)

    def divert_run(self, run: "Run", order: Order) -> Errand | None:
        """What has to be done before a run may begin, which goes to a person instead; None where it may begin.

        Raises:
            RunHandedOver: a person has the task.
            RunStopped: it was to be handed over and could not be.
        """
        handing = self.handing
        diverted = None if handing is None else handing.wanted_of_run(order)
        return None if handing is None or diverted is None else handing.divert(run, None, diverted)

    def recheck(self, run: "Run", call: "GuardedCall") -> None:
        """See that the rules in force allow a call that a person lets go.

        Raises:
            GuardError: they do not.
        """
        self._check_rules(run, call)

    def _reserve(self, run: "Run", call: "GuardedCall") -> Reservation | None:
        """Hold what a model call may cost.

        Raises:
            CallDenied: nobody knows what it costs.
        """
        is_unknown = call.cost_max_micro_usd is None and self.on_unknown_price == "deny" and run.budget.limits_cost
        if is_unknown and not (call.is_priced or (self.prices is not None and self.prices.row(call.name) is not None)):
            remedy = "state max_cost_usd, or give the guard its price"
            raise CallDenied(
                "budget", f"the price of {call.name} is not known and the budget is limited: {remedy}", tool=call.name
            )
        if self.allowance is not None:
            self.allowance.expire()
        return run.budget.reserve(call.cost_max_micro_usd, call.tokens_max)

    def _more_budget(self, run: "Run", call: "GuardedCall") -> Errand | None:
        """How a call that does not fit its budgets can get more; None if by now it fits.

        Raises:
            RunStopped: it cannot.
        """
        shortfall = run.budget.shortfall(call.cost_max_micro_usd, call.tokens_max)
        if shortfall is None:
            return None
        allowance = self.allowance
        if allowance is None or shortfall.budget is not allowance.budget:
            raise RunStopped("budget", shortfall.message, tool=call.name)
        if call.has_asked:
            raise RunStopped("budget", f"{allowance.told}, so {call.name} was not called", tool=call.name)
        call.has_asked = True
        return allowance.errand(call.cost_max_micro_usd, call.tokens_max)

    def _go_without(self, lease: Lease, run: "Run", call: "GuardedCall") -> None:
        """Let a call that only reads, or one of a model, go on for a while without a lease, and report it; refuse any other.

        Raises:
            CallDenied: the call may change something, or it went on like that for long enough.
        """
        lease.wanted.set()
        for_s = max(0.0, -lease.left_s)
        lost = f"{self.agent} has had no lease from its control plane for {for_s:.1f} s"
        if not call.is_tool or self.is_read(call):
            what = "changes nothing" if call.is_tool else "is a model"
            if lease.goes_on(is_model=not call.is_tool):
                lease.report(
                    "lease_ended",
                    f"{lost}; {call.name}, which {what}, was let through",
                    trace_id=run.trace_id,
                    span_id=call.span_id,
                    attributes={**run.attributes, call.name_attribute: call.name},
                )
                return
            raise CallDenied("lease", f"{lost}, so not even {call.name}, which {what}, was called", tool=call.name)
        message = f"{lost}, so {call.name} was not called: without one only tools that read go on, and only for a while"
        raise CallDenied("lease", message, tool=call.name)

    def _check_probe(self, run: "Run", call: "GuardedCall", began_under: Order, order: Order) -> None:
        if order.epoch != began_under.epoch and order.rung >= Rung.PAUSE:
            raise RunStopped("order", "a newer order ended this probe", tool=call.name)
        if call.is_tool and not self.is_read(call):
            raise CallDenied("order", "a probe may only use tools that only read", tool=call.name)
        self.enforcer.check_probe(call, order)

    def _check_rules(self, run: "Run", call: "GuardedCall") -> None:
        denied: CallDenied | None = None
        owed: tuple[Owed, ...] = ()
        policies = self.policies
        if policies is not None:
            bound = self._bound
            if bound is None or bound.policies is not policies:
                bound = self._bound = policies.bound_to(self.agent, role=self.role, environment=self.environment)
            decision = bound.decide(call.name, call.given, run.facts)
            owed = decision.obligations
            if not decision.allow and not owed:
                if decision.code == "scope":
                    stopped = RunStopped("scope", decision.explanation, tool=call.name)
                    stopped.near_misses = decision.near_misses
                    raise stopped
                denied = CallDenied("policy", decision.explanation, tool=call.name, policy=decision.policy_id)
                denied.clause = decision.clause
        if self.tools is not None and call.name not in self.tools:
            # Out of scope ends the run, so it outranks a policy that would only refuse the call.
            message = f"{self.agent} may not use {call.name}: it is not among its declared tools"
            undeclared = RunStopped("scope", message, tool=call.name)
            nearest = get_close_matches(call.name, self.tools, n=MAX_NEAR_MISSES)
            undeclared.near_misses = tuple(f"{name} is declared, to {self.tools[name]}" for name in nearest)
            raise undeclared
        if denied is not None:
            raise denied
        if owed or call.owed:
            self.duties.prepare(call, owed)

    def _check_loop(self, run: "Run", call: "GuardedCall", order: Order) -> Order | None:
        if not call.is_tool or run.probe_order is not None:
            return None
        if run.is_held_for_loop(order):
            return order
        loop = run.loop
        if not loop.is_suspicious or not loop.suspects(call.name, call.arguments, run.state):
            return None
        repeats = loop.repeats_before(call.name, call.arguments_text, run.state)
        if repeats is None:
            return None
        message = f"{call.name} has repeated {repeats} times without progress, so it was not called again"
        if self.on_loop == "stop":
            raise RunStopped("loop", message, tool=call.name)
        run.hold_for_loop(order)
        self.refuse(run, call, CallDenied("loop", message, tool=call.name), action="pause_run")
        return order

    def is_read(self, call: "GuardedCall") -> bool:
        """Whether a call is to a tool that is declared to read."""
        return self.tools is not None and self.tools.get(call.name) == "read"


def _explained(refusal: GuardError) -> dict[str, str]:
    """What a policy decision says beyond its message."""
    explained = {
        "andoncord.decision.clause": refusal.clause,
        "andoncord.decision.near_misses": "; ".join(refusal.near_misses),
        "andoncord.decision.action_digest": refusal.action_digest,
    }
    return {name: text for name, text in explained.items() if text}
