"""The guard: what an agent's code holds on to."""

import atexit
import os
import threading
import weakref
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from andoncord_sdk import _platform
from andoncord_sdk.admission import Admission, OnLoop, OnUnknownPrice, ToolKind
from andoncord_sdk.approval import Approvals
from andoncord_sdk.asking import AskedApprovals
from andoncord_sdk.breaker import BreakerSettings
from andoncord_sdk.breaker_board import BreakerBoard
from andoncord_sdk.budget import Limits, micro_usd
from andoncord_sdk.config import ChangeListener, Config
from andoncord_sdk.duties import SnapshotHook
from andoncord_sdk.errors import CallDenied
from andoncord_sdk.evaluate import Evaluations
from andoncord_sdk.exporter import Exporter
from andoncord_sdk.follow import Follower
from andoncord_sdk.guarding import carrying, guarded
from andoncord_sdk.handing import Carry, Handing
from andoncord_sdk.heartbeat import Heartbeat
from andoncord_sdk.introduction import GuardState, heartbeat, hello, resource
from andoncord_sdk.judging import Judging
from andoncord_sdk.ladder import Rung
from andoncord_sdk.lease import READS_S, Lease
from andoncord_sdk.link import Ack, Report
from andoncord_sdk.obligation import RequireApproval
from andoncord_sdk.orders import Gate, Order
from andoncord_sdk.otlp import Attributes, LogRecord, Record
from andoncord_sdk.plane import ControlPlane
from andoncord_sdk.policy import PolicySet
from andoncord_sdk.prices import Prices
from andoncord_sdk.run import Run, current_run
from andoncord_sdk.spill import Spill
from andoncord_sdk.wire import Endpoint

FIRST_CONTACT_S = 2.0
"""A new guard waits this long for the orders in force and its first lease, so that a stopped agent does not act before it
hears of it. After this start-up grace a missing lease counts as one that has ended."""
FLUSH_S = 2.0
"""Closing waits this long for telemetry to get out."""
MONITORED_HEARTBEATS = 4
"""From the rung "monitor" on, heartbeats come this many times as often."""

LADDER = ("deny", "pause", "resume", "stop", "restrict", "throttle", "quarantine", "scoped", "breaker")
"""What a guard can really do about calls: `scoped` is to hold an order about single tools and runs apart from the others."""
CHECKS = ("scope", "policies", "obligations", "budget", "shared_budget", "loop")
CAPABILITIES = (*LADDER, *CHECKS, "config", "lease", "flag", "model_calls")
"""`model_calls`: they are guarded as well. `probe` and `canary` are added once one is registered."""

ChangeKind = Literal["prompt", "config", "tool", "model", "deployment"]

Validator = Callable[[Mapping[str, Any]], bool]
P = ParamSpec("P")
T = TypeVar("T")


class Guard(Judging):
    """Enforces, in this process, what the agent may do; follows orders; reports what happens.

    Works without a server: scope, policies, budget and loop are checked locally. Thread-safe. Raises into the agent only to
    deny, and waits only while an order or a policy holds the call.

    Args:
        agent: the agent's name.
        server: the control plane, such as http://127.0.0.1:8420; None to follow no orders.
        telemetry: the OTLP/HTTP receiver, such as http://127.0.0.1:4318; None to report nothing.
        token: bound to this agent; without it, what it reports cannot trigger an action.
        instance: names this process; made up if None.
        tools: the declared scope, each tool "read" or "write". None declares nothing, and everything is allowed.
        budget_usd: what one run may spend.
        budget_tokens: what its models may read and write together.
        budget_calls: how often it may call models and tools.
        on_unknown_price: what happens to a model call that the budget is limited for and whose price nobody stated.
        prices: what models cost, as rows of a price table, before those that the server sends.
        policies: compiled policies that hold whatever the server sends.
        on_loop: what happens to a run that repeats itself without progress.
        polls: tools that poll or wait by design: asking them again is no loop, whatever they answer.
        approvals: where approvals that policies require are looked for; without it at the control plane, if there is one.
        snapshots: what saves something before a call, by the name that policies give it.
        on_nudge: takes a sentence for the model at the third repetition.
        breakers: circuit breakers, by glob over the names of tools and models; `agent` stands for all calls together.
        messages: globs over the tools that send or take messages or hand the task on, beside those that are recognised by
            name: a quarantine holds them.
        environment: such as "prod".
        role: what the agent acts as, such as "report-writer"; policies and orders can be scoped to it.
        system: the service the agent belongs to; the agent's name if "".
        heartbeat_s: seconds between heartbeats.
        hold_max_s: how long a call may be held, by an order or for an approval, before it is refused instead; None for no limit
            but the policy's.
        reads_without_lease_s: how long calls that only read go on after the last lease of a lost server has ended.
        models_without_lease_s: the same for calls of models; 0 refuses them at once, None takes `reads_without_lease_s`.
        fallback: "hand-over": while the agent is paused, tasks that it would begin go to a person's inbox, and when it is
            stopped, those that it had begun as well.
        may_share_memory: look at a flag of the server on the same machine at every call; False to follow the stream alone.
        spill: a folder in which reports wait, unmasked, while the receiver is away, for this or a later process.
        clock_ns: for tests: nanoseconds on a clock that runs on while the machine is suspended; the lease is counted on it.

    >>> guard = Guard("refund-agent", tools={"orders.lookup": "read"}, budget_usd=0.50)
    >>> @guard.tool("orders.lookup")
    ... def lookup(order_id: str) -> str:
    ...     return "paid"
    >>> with guard.run("refund order 17") as run:
    ...     lookup("17")
    ...     run.call("shell", print, text="hello")
    Traceback (most recent call last):
        ...
    andoncord_sdk.errors.RunStopped: refund-agent may not use shell: it is not among its declared tools
    """

    def __init__(
        self,
        agent: str,
        *,
        server: str | None = None,
        telemetry: str | None = None,
        token: str | None = None,
        instance: str | None = None,
        tools: Mapping[str, ToolKind] | None = None,
        budget_usd: float | None = None,
        budget_tokens: int | None = None,
        budget_calls: int | None = None,
        on_unknown_price: OnUnknownPrice = "deny",
        prices: Sequence[Mapping[str, Any]] = (),
        policies: Sequence[dict[str, Any]] = (),
        on_loop: OnLoop = "stop",
        polls: Collection[str] = (),
        on_nudge: Callable[[str], None] | None = None,
        approvals: Approvals | None = None,
        snapshots: Mapping[str, SnapshotHook] | None = None,
        breakers: Mapping[str, BreakerSettings] | None = None,
        messages: Sequence[str] = (),
        environment: str = "",
        role: str = "",
        system: str = "",
        heartbeat_s: float = 1.0,
        hold_max_s: float | None = None,
        reads_without_lease_s: float = READS_S,
        models_without_lease_s: float | None = None,
        fallback: Literal["", "hand-over"] = "",
        may_share_memory: bool = True,
        spill: str | Path | None = None,
        clock_ns: Callable[[], int] = _platform.boot_ns,
    ) -> None:
        if not agent:
            raise ValueError("a guard needs the agent's name")
        if unknown := {kind for kind in (tools or {}).values() if kind not in ("read", "write")}:
            raise ValueError(f'each tool is "read" or "write", got {", ".join(map(repr, sorted(unknown)))}')
        if on_loop not in ("stop", "pause"):
            raise ValueError(f'on_loop is "stop" or "pause", got {on_loop!r}')
        if on_unknown_price not in ("deny", "estimate"):
            raise ValueError(f'on_unknown_price is "deny" or "estimate", got {on_unknown_price!r}')
        if fallback not in ("", "hand-over"):
            raise ValueError(f'fallback is "" or "hand-over", got {fallback!r}')
        if heartbeat_s <= 0:
            raise ValueError(f"heartbeat_s must be greater than 0, got {heartbeat_s}")
        self.agent = agent
        self.instance = instance or _platform.instance_name()
        self._limits = Limits(None if budget_usd is None else micro_usd(budget_usd), budget_tokens, budget_calls)
        self._system = system or agent
        self._heartbeat_s = heartbeat_s
        self._runs: dict[str, Run] = {}
        self._lock = threading.Lock()
        self._is_closed = False
        self._config = Config()
        self._adapters: dict[str, frozenset[str]] = {}
        self._plane: ControlPlane | None = None
        self._admission = Admission(
            agent=agent,
            environment=environment,
            role=role,
            gate=Gate(),
            report=self._report,
            tools=None if tools is None else dict(tools),
            policies=PolicySet(list(policies)) if policies else None,
            on_loop=on_loop,
            polls=frozenset(polls),
            hold_max_s=hold_max_s,
            on_nudge=on_nudge,
            on_unknown_price=on_unknown_price,
            prices=Prices(tuple(prices)) if prices else None,
            messages=tuple(messages),
            clock_ns=clock_ns,
        )
        self._admission.duties.approvals.source = approvals
        self._admission.duties.snapshots = dict(snapshots or {})
        self._evaluations = Evaluations(self._report)
        self._follower = Follower(
            admission=self._admission,
            config=self._config,
            own_policies=policies,
            open_runs=self._open_runs,
            open_probe=self._open_probe,
            changed=self._config_changed,
            acknowledge=self._acknowledge,
        )
        self._board = BreakerBoard(self._admission, breakers or {}, tell=self._tell)
        self._board.set({})
        self._exporter: Exporter | None = None
        self._heartbeat: Heartbeat | None = None
        if telemetry is not None:
            kept = None if spill is None else Spill(spill)
            self._exporter = Exporter(Endpoint(telemetry, token), self._resource(), spill=kept)
        if server is not None:
            endpoint = Endpoint(server, token)
            self._admission.duties.approvals.source = approvals or AskedApprovals(
                endpoint, instance=self.instance, heard=self._admission.gate.touch
            )
            lease = Lease(
                agent=agent,
                gate=self._admission.gate,
                report=self._report,
                reads_s=reads_without_lease_s,
                models_s=reads_without_lease_s if models_without_lease_s is None else models_without_lease_s,
                clock_ns=clock_ns,
            )
            self._plane = ControlPlane(
                endpoint,
                admission=self._admission,
                lease=lease,
                follower=self._follower,
                board=self._board,
                hello=self._hello,
                own_prices=prices,
                may_share_memory=may_share_memory,
            )
            self._admission.handing = Handing(
                agent=agent,
                instance=lambda: self.instance,
                endpoint=endpoint,
                falls_back=fallback == "hand-over",
                report=self._report,
                recheck=self._recheck,
                order=lambda: self._admission.gate.order,
                lease=lease,
            )
            self._plane.start()
            lease.granted.wait(FIRST_CONTACT_S)
        if self._exporter is not None:
            self._heartbeat = Heartbeat(self._beat, self._beat_interval_s)
        _guards.add(self)

    # ------------------------------------------------------------------------------------------------- the agent's side

    def run(self, task: str = "", *, key: str = "", context: Mapping[str, Any] | None = None) -> Run:
        """A run, to be used in a `with` or `async with`.

        Args:
            key: your own name for the task, such as a ticket's number: a person gets the same task once.
            context: what a person needs who gets it.
        """
        return Run(self._admission, self, task=task, key=key, context=context, limits=self._limits)

    def effect(self, tool: str, carry: Callable[..., Any]) -> None:
        """Declare a tool's calls to be side effects that can be held for a person: `carry(**arguments)` carries one out."""
        self._carry(tool, lambda arguments: carry(**arguments))

    def handed_over(self, item: str) -> Mapping[str, Any] | None:
        """What became of work that a person got: `status` and `answer`. None where the control plane cannot be asked."""
        return None if self._admission.handing is None else self._admission.handing.look(item)

    def tool(self, name: str | None = None, *, effect: bool = False) -> Callable[[Callable[P, T]], Callable[P, T]]:
        """Guard a function, sync or async: each call is a step of the run that is current where it is called.

        Args:
            name: the tool's name; the function's if None.
            effect: its calls are side effects that can be held for a person, and carried out later by this function.
        """

        def decorate(fn: Callable[P, T]) -> Callable[P, T]:
            tool = name or fn.__name__
            self._admission.versions.note_tool(tool, fn)
            if effect:
                self._carry(tool, carrying(fn))
            return guarded(fn, lambda arguments: self.enclosing_run(tool).step(tool, arguments, can_replace=True))

        return decorate

    def validator(self, name: str) -> Callable[[Validator], Validator]:
        """Register a check of the state that runs report: it gets the state, and says whether that is valid.

        What it says is heard of as the evaluation `state.<name>`; a state that is not valid is a finding.
        """

        def register(validate: Validator) -> Validator:
            self._admission.validators[name] = validate
            return validate

        return register

    def change(self, kind: ChangeKind, old: str, new: str) -> None:
        """Report that something about the agent changed: its prompt, a tool, its model."""
        self._report(
            LogRecord(
                event_name="andoncord.change",
                at_ns=_platform.now_ns(),
                attributes={
                    "gen_ai.agent.name": self.agent,
                    "andoncord.change.kind": kind,
                    "andoncord.change.from": old,
                    "andoncord.change.to": new,
                },
            )
        )

    def reached_through(self, adapter: str, *, lacks: Collection[str] = ()) -> None:
        """Calls reach this guard through an adapter that cannot do everything: what it lacks is announced no more.

        An order that needs it is then not counted as carried out.
        """
        self._adapters[adapter] = frozenset(lacks)
        self._tell()

    @property
    def capabilities(self) -> tuple[str, ...]:
        """What this guard can really do, as it is announced to the control plane."""
        lacks = frozenset[str]().union(*self._adapters.values())
        asked = {"probe": self._follower.probe, "canary": self._follower.task}
        handing = self._admission.handing
        hands = () if handing is None else ("handover", "outbox") if handing.effects else ("handover",)
        words = (*CAPABILITIES, *hands, *(word for word, fn in asked.items() if fn is not None))
        return tuple(word for word in words if word not in lacks)

    def on_config(self, listener: ChangeListener) -> None:
        """Call `listener(version, values)` at every pushed version, and now if there is one already."""
        self._config.listen(listener)

    @property
    def config(self) -> Mapping[str, Any]:
        """The registry values in force; empty before the first push."""
        return self._config.values

    @property
    def config_version(self) -> str | None:
        return self._config.version

    @property
    def state(self) -> GuardState:
        now = self._admission.gate.snapshot()
        return GuardState(
            rung=now.order.rung.word,
            epoch=now.order.epoch,
            reason=now.order.reason,
            in_flight=len(now.in_flight),
            runs_active=len(self._runs),
            steps_started=now.steps_started,
            steps_ended=now.steps_ended,
            is_connected=self._plane is not None and self._plane.is_connected,
            lease_left_s=None if self._admission.lease is None else self._admission.lease.left_s,
            records_dropped=0 if self._exporter is None else self._exporter.dropped,
        )

    @property
    def has_budget(self) -> bool:
        """Whether what a run may spend is limited, so that an unknown price must not count as free."""
        return self._limits.micro_usd is not None

    def enclosing_run(self, tool: str) -> Run:
        """The run of this guard that encloses the code it is called from, for an adapter that is about to call `tool`.

        Raises:
            CallDenied: there is none, so `tool` must not be called. The refusal has been reported.
        """
        run = current_run()
        while run is not None and run.admission is not self._admission:
            run = run.outer  # Another agent's run was opened inside ours.
        if run is None:
            remedy = "open one with guard.run(), or carry the context into the thread"
            refusal = CallDenied("guard_error", f"{tool} was called outside a run of {self.agent}: {remedy}", tool=tool)
            stray = self.run()
            self._admission.refuse(stray, stray.step(tool), refusal)
            raise refusal
        return run

    def wait_released(self, timeout: float | None = None) -> bool:
        """Wait until the agent is neither paused nor stopped. False if `timeout` seconds passed first."""
        return self._admission.gate.wait_below(Rung.PAUSE, timeout)

    def flush(self, timeout: float = FLUSH_S) -> bool:
        """Wait until what was reported so far has been sent. False if `timeout` seconds passed first."""
        return self._exporter is None or self._exporter.flush(timeout)

    def close(self) -> None:
        """Flush for a bounded time, and stop following orders. What is in force stays in force here."""
        with self._lock:
            if self._is_closed:
                return
            self._is_closed = True
        if self._heartbeat is not None:
            self._heartbeat.close()
            self._report_heartbeat(is_closed=True)
        if self._plane is not None:
            self._plane.close()
        if self._exporter is not None:
            self._exporter.close(FLUSH_S)

    # ------------------------------------------------------------------------------------------------- inside

    def opened(self, run: Run) -> None:
        """A run says that it is open."""
        with self._lock:
            self._runs[run.id] = run

    def closed(self, run: Run) -> None:
        """A run says that it is over."""
        with self._lock:
            self._runs.pop(run.id, None)
        self._evaluations.closed(run)

    def _open_runs(self) -> list[Run]:
        with self._lock:
            return list(self._runs.values())

    def _carry(self, tool: str, carry: Carry) -> None:
        if self._admission.handing is not None:
            self._admission.handing.effects[tool] = carry
            self._tell()

    def _recheck(self, tool: str, arguments: Mapping[str, Any]) -> list[RequireApproval]:
        stray = Run(self._admission, self, task=f"release of {tool}")
        call = stray.step(tool, arguments, can_replace=True)
        self._admission.recheck(stray, call)
        return [each.obligation for each in call.owed if isinstance(each.obligation, RequireApproval)]

    def _open_probe(self, task: str, order: Order) -> Run:
        return Run(self._admission, self, task=task, limits=self._limits, probe_order=order)

    def _config_changed(self, kind: str, old: str, new: str) -> None:
        self.change(kind, old, new)  # type: ignore[arg-type]  # one of the kinds, by construction

    def _report(self, record: Record, *, urgent: bool = False) -> None:
        if self._exporter is not None:
            self._exporter.put(record, urgent=urgent)

    def _acknowledge(self, ack: Ack) -> None:
        assert self._plane is not None
        self._plane.ack(ack)

    def _tell(self) -> None:
        """Say what has changed since the registration."""
        if self._plane is not None:
            self._plane.tell(Report(capabilities=self.capabilities, state=self._follower.state()))

    def _hello(self) -> dict[str, Any]:
        return hello(self._admission, instance=self.instance, capabilities=self.capabilities)

    def _resource(self) -> Attributes:
        return resource(self._admission, instance=self.instance, system=self._system)

    def _beat(self) -> None:
        self._report_heartbeat(is_closed=False)

    def _report_heartbeat(self, *, is_closed: bool) -> None:
        self._report(heartbeat(self._admission, self.state, config_version=self._config.version, is_closed=is_closed))

    def _beat_interval_s(self) -> float:
        is_monitored = self._admission.gate.order.rung >= Rung.MONITOR
        return self._heartbeat_s / MONITORED_HEARTBEATS if is_monitored else self._heartbeat_s

    def _restart_after_fork(self) -> None:
        """Go on in a forked child as an instance of its own: only the forking thread exists there."""
        if self._is_closed:
            return
        self.instance = f"{self.instance.split('/')[0]}/{_platform.pid()}"
        self._lock = threading.Lock()
        self._config.forget_other_threads()
        self._evaluations.forget_other_threads()
        self._admission.versions.forget_other_threads()
        self._admission.forget_other_threads()
        for run in self._runs.values():
            run.forget_other_threads()
        if self._exporter is not None:
            self._exporter.restart_after_fork(self._resource())
        if self._heartbeat is not None:
            self._heartbeat.start()
        if self._plane is not None:
            self._plane.start_after_fork()


_guards: "weakref.WeakSet[Guard]" = weakref.WeakSet()


def _restart_all_after_fork() -> None:
    for guard in list(_guards):
        guard._restart_after_fork()


def _close_all() -> None:
    for guard in list(_guards):
        guard.close()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_restart_all_after_fork)
