"""A run: one task of an agent, and the guarded calls in it."""

import inspect
import logging
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from andoncord_sdk import _platform
from andoncord_sdk.admission import Admission
from andoncord_sdk.budget import UNLIMITED, Budget, Limits, Reservation, micro_usd
from andoncord_sdk.errand import do_async
from andoncord_sdk.errors import AgentStopped, RunStopped
from andoncord_sdk.ladder import Rung
from andoncord_sdk.loopwatch import LoopWatch
from andoncord_sdk.orders import Order
from andoncord_sdk.otlp import Attributes, LogRecord, SpanRecord, text_of
from andoncord_sdk.step import ModelStep, Step

RECENT_STEPS = 20
"""Steps of an open run that are kept for the state captured when the agent is held."""
CAPTURE_TEXT_MAX_CHARS = 500
MAX_DATA = 16
"""Data of a run, the latest, that are named with the state it leaves behind."""

T = TypeVar("T")

_log = logging.getLogger("andoncord_sdk")

_current_run: ContextVar["Run | None"] = ContextVar("andoncord_current_run", default=None)


def current_run() -> "Run | None":
    """The run this code is in, or None."""
    return _current_run.get()


class RunRegistry(Protocol):
    """Where a run says that it is open."""

    def opened(self, run: "Run") -> None: ...

    def closed(self, run: "Run") -> None: ...


class Run:
    """One task. A context manager, plain or async; made by `Guard.run`.

    Once it is stopped, every further guarded call in it raises.

    Attributes:
        id: names the run in everything that is reported about it.
        outcome: a word of your own for how it ended.
        nudge: the latest sentence about a repetition without progress, for the model.
        state: your own word for the version of what the run acts on, such as a commit or a tick. Set it when that changes: the
            same call in another state is no repetition.
        stopped: why the run was stopped, or None.
        outer: the run this one was opened in, or None.
    """

    def __init__(
        self,
        admission: Admission,
        registry: RunRegistry,
        *,
        task: str,
        key: str = "",
        context: Mapping[str, Any] | None = None,
        limits: Limits = UNLIMITED,
        probe_order: Order | None = None,
    ) -> None:
        outer = _current_run.get()
        self.id = self.span_id = _platform.span_id()
        self.trace_id: str = _platform.trace_id() if outer is None else outer.trace_id
        self.task = task
        self.key = key
        """Your own name for the task: the same task is handed over to a person once, however often it is begun."""
        self.context = dict(context or {})
        """What a person needs who gets the task."""
        self.admission = admission
        allowance = admission.allowance
        self.budget = Budget(
            limits.micro_usd,
            limit_tokens=limits.tokens,
            limit_calls=limits.calls,
            above=None if allowance is None else allowance.budget,
        )
        self.loop = LoopWatch(exempt=admission.polls)
        self.state = ""
        self.probe_order = probe_order
        self.outcome = ""
        self.calls = 0
        """Tool calls let through so far."""
        self.nudge: str | None = None
        self.stopped: RunStopped | None = None
        self.recent: deque[SpanRecord] = deque(maxlen=RECENT_STEPS)
        self.data: deque[str] = deque(maxlen=MAX_DATA)
        """What its calls said that they read or wrote, the latest last."""
        self.attributes: Attributes = {
            "gen_ai.agent.name": admission.agent,
            "andoncord.run.id": self.id,
            "andoncord.task": task,
            "andoncord.probe": True if probe_order is not None else None,
        }
        self.start_ns = 0
        self.config_version = admission.config_version
        """The version in force when the run began: what it worked with, even if another is pushed before it ends."""
        self._registry = registry
        self.outer = outer
        self._failure = ""
        self.error_type = ""
        """Once it is over: how it failed, "" where it did not."""
        self._loop_hold: Order | None = None
        self._is_open = False
        self._lock = threading.Lock()

    # ------------------------------------------------------------------------------------------------- guarded calls

    def call(self, tool: str, fn: Callable[..., T], /, **arguments: Any) -> T:
        """Call `fn(**arguments)` as `tool`, guarded. With an async function, await what this returns.

        >>> from andoncord_sdk import Guard
        >>> with Guard("doc").run() as run:
        ...     run.call("add", lambda a, b: a + b, a=2, b=3)
        5
        """
        if inspect.iscoroutinefunction(fn):
            return self._call_async(tool, fn, arguments)  # type: ignore[return-value]  # T is the coroutine here
        with self.step(tool, arguments, can_replace=True) as step:
            step.result = result = fn(**step.arguments)
        return result

    def step(self, tool: str, arguments: Mapping[str, Any] | None = None, *, can_replace: bool = False) -> Step:
        """A tool call that is made inside the `with` (or `async with`).

        Args:
            can_replace: the tool is given `step.arguments`, so that a policy can have some of them masked. Without it a call
                that would need that is denied.
        """
        return Step(self, tool, arguments or {}, can_replace=can_replace)

    def model_step(
        self,
        model: str,
        *,
        max_cost_usd: float | None = None,
        max_tokens: int | None = None,
        is_priced: bool = False,
        system: str = "",
        input: Any = "",  # noqa: A002
    ) -> ModelStep:
        """A model call that is made inside the `with` (or `async with`).

        Args:
            max_cost_usd: what it can cost at most, which bounds the budget hard. Without it the dearest call so far is held.
            max_tokens: input and output together at most, likewise.
            is_priced: you know the price and will state the cost, although the guard has no price for this model.
        """
        return ModelStep(
            self, model, max_cost_usd=max_cost_usd, max_tokens=max_tokens, is_priced=is_priced, system=system, input=input
        )

    def reserve_usd(self, amount_usd: float) -> Reservation:
        """Hold a part of the budget for something that costs money outside a guarded call; settle it afterwards.

        Raises:
            RunStopped: it does not fit the budget.
        """
        amount, refusal = micro_usd(amount_usd), self.stopped
        if refusal is None:
            if (reservation := self.budget.reserve(amount)) is not None:
                return reservation
            refusal = self._more_budget(amount)
            if refusal is None and (reservation := self.budget.reserve(amount)) is not None:
                return reservation
            refusal = refusal or RunStopped("budget", f"no budget covers another ${amount_usd:.4f}")
        self.admission.refuse(self, Step(self, "", {}), refusal)
        raise refusal

    # ------------------------------------------------------------------------------------------------- records

    def model_call(
        self,
        *,
        model: str,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        cost_usd: float | None = None,
        input: Any = "",  # noqa: A002
        output: Any = "",
        system: str = "",
    ) -> None:
        """Record a model call that has been made, and count its cost. Never raises or waits: the next guarded call does."""
        call = ModelStep(self, model, max_cost_usd=None, system=system, input=input)
        call.input_tokens, call.output_tokens, call.cost_usd, call.output = input_tokens, output_tokens, cost_usd, output
        try:
            call.record()
        except Exception:
            _log.exception("a call of %s could not be recorded", model)

    def score(self, name: str, value: float, *, passed: bool | None = None) -> None:
        """Record an evaluator's judgement of this run."""
        self._score(name, value, passed, {})

    def _score(self, name: str, value: float, passed: bool | None, more: Attributes) -> None:
        label = None if passed is None else ("pass" if passed else "fail")
        self._log(
            "gen_ai.evaluation.result",
            {
                "gen_ai.evaluation.name": name,
                "gen_ai.evaluation.score.value": float(value),
                "gen_ai.evaluation.score.label": label,
                **more,
            },
        )

    def report_state(self, state: Mapping[str, Any]) -> None:
        """Report the state that this run leaves behind, as something that JSON can hold, and have it checked.

        The server holds it against the invariants declared for the agent; the validators of the guard are asked here. A
        validator that raises has not said anything. What the calls of the run said that they read or wrote is named with it, so
        that agents whose state went wrong by the same datum are one incident. Never raises.

        >>> from andoncord_sdk import Guard
        >>> guard = Guard("doc")
        >>> @guard.validator("balance")
        ... def balance(state):
        ...     return state["balance"] >= 0
        >>> with guard.run() as run:
        ...     run.report_state({"balance": 5})
        """
        data: Attributes = {"andoncord.reads": ",".join(dict.fromkeys(tuple(self.data)))}
        try:
            self._log("andoncord.state", {"gen_ai.tool.call.arguments": text_of(state), **data})
        except Exception:
            _log.exception("the state of a run could not be reported")
        for name, validate in self.admission.validators.items():
            try:
                is_valid = bool(validate(state))
            except Exception:
                _log.exception("validator %s could not say whether the state is valid", name)
                continue
            self._score(f"state.{name}", float(is_valid), is_valid, data)

    def fail(self, reason: str) -> None:
        """Mark the run as failed although nothing was raised."""
        self._failure = reason

    def resume(self) -> None:
        """Let a run go on that was paused because it looped. Its loop is counted afresh."""
        self._loop_hold = None
        self.loop.reset()
        self.admission.gate.touch()

    # ------------------------------------------------------------------------------------------------- begin and end

    def begin(self) -> Self:
        """Open the run.

        Raises:
            RunHandedOver: a person has the task.
            AgentStopped: a kill order is in force.
        """
        order = self.admission.gate.order
        if self.probe_order is None and (errand := self.admission.divert_run(self, order)) is not None:
            errand.do()
            self.admission.divert_run(self, order)
        self._open(order)
        return self

    def _open(self, order: Order) -> None:
        if self.probe_order is None and order.rung >= Rung.KILL:
            raise AgentStopped("order", f"{self.admission.agent} is stopped: {order.reason or 'no reason given'}")
        self.start_ns = _platform.now_ns()
        self.config_version = self.admission.config_version
        self._is_open = True
        _current_run.set(self)
        self._registry.opened(self)
        self._log("andoncord.run.started", {})

    def end(self, error: BaseException | None = None) -> None:
        """Close the run. Only the first time counts."""
        with self._lock:
            if not self._is_open:
                return
            self._is_open = False
        if _current_run.get() is self:
            _current_run.set(self.outer)
        self.error_type = error_type = self._error_type(error)
        self._registry.closed(self)
        outcome = self.outcome or self._failure or (f"stopped: {self.stopped.code}" if self.stopped else error_type) or "done"
        self._log("andoncord.run.ended", {"andoncord.run.ok": not error_type, "andoncord.run.outcome": outcome})
        self.admission.report(
            SpanRecord(
                name=f"invoke_agent {self.admission.agent}",
                trace_id=self.trace_id,
                span_id=self.span_id,
                parent_span_id="" if self.outer is None else self.outer.span_id,
                start_ns=self.start_ns,
                end_ns=_platform.now_ns(),
                error_type=error_type,
                attributes={
                    **self.attributes,
                    "gen_ai.operation.name": "invoke_agent",
                    "andoncord.config.version": self.config_version,
                },
            )
        )

    def stop(self, why: RunStopped) -> None:
        """Refuse every further guarded call in this run. The first reason stays."""
        with self._lock:
            self.stopped = self.stopped or why

    def __enter__(self) -> Self:
        return self.begin()

    async def __aenter__(self) -> Self:
        order = self.admission.gate.order
        if self.probe_order is None and (errand := self.admission.divert_run(self, order)) is not None:
            await do_async(errand)
            self.admission.divert_run(self, order)
        self._open(order)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.end(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end(error)

    # ------------------------------------------------------------------------------------------------- for the guard

    def facts(self) -> dict[str, Any]:
        """What policies may ask about the run. `config_version` is there only when a version was pushed: ask with `has(…)`."""
        facts = {"id": self.id, "task": self.task, "calls": self.calls, "spent_micro_usd": self.budget.spent_micro_usd}
        if self.admission.config_version:
            facts["config_version"] = self.admission.config_version
        return facts

    def capture(self) -> dict[str, Any]:
        """The open run as evidence: what it was doing when the agent was held."""
        return {
            "run_id": self.id,
            "trace_id": self.trace_id,
            "task": self.task[:CAPTURE_TEXT_MAX_CHARS],
            "started_ns": self.start_ns,
            "spent_micro_usd": self.budget.spent_micro_usd,
            "stopped": self.stopped.code if self.stopped else None,
            "steps": [_captured(span) for span in list(self.recent)],
        }

    def tell_nudge(self, nudge: str) -> None:
        self.nudge = nudge
        if self.admission.on_nudge is not None:
            try:
                self.admission.on_nudge(nudge)
            except Exception:
                _log.exception("the nudge callback failed")

    def hold_for_loop(self, order: Order) -> None:
        self._loop_hold = order

    def is_held_for_loop(self, order: Order) -> bool:
        """Whether a loop paused this run and neither `resume` nor a newer order has let it go."""
        hold = self._loop_hold
        if hold is None:
            return False
        if order.epoch == hold.epoch:
            return True
        self._loop_hold = None
        self.loop.reset()
        return False

    def forget_other_threads(self) -> None:
        """In a forked child: locks that other threads held are renewed."""
        self._lock = threading.Lock()
        self.budget.forget_other_threads()
        self.loop.forget_other_threads()

    def _more_budget(self, amount_micro_usd: int) -> RunStopped | None:
        """Ask the control plane where a shared budget does not cover an amount; the refusal where the run's own does not."""
        allowance, shortfall = self.admission.allowance, self.budget.shortfall(amount_micro_usd)
        if shortfall is None:
            return None
        if allowance is None or shortfall.budget is not allowance.budget:
            return RunStopped("budget", shortfall.message)
        allowance.errand(amount_micro_usd, 0).do()
        return None

    async def _call_async(self, tool: str, fn: Callable[..., Coroutine[Any, Any, T]], arguments: dict[str, Any]) -> T:
        async with self.step(tool, arguments, can_replace=True) as step:
            step.result = result = await fn(**step.arguments)
        return result

    def _error_type(self, error: BaseException | None) -> str:
        if error is not None:
            return type(error).__name__
        if self.stopped is not None:
            return type(self.stopped).__name__
        return "failed" if self._failure else ""

    def _log(self, event_name: str, attributes: Attributes) -> None:
        self.admission.report(
            LogRecord(
                event_name=event_name,
                at_ns=_platform.now_ns(),
                trace_id=self.trace_id,
                span_id=self.span_id,
                attributes={**self.attributes, "andoncord.config.version": self.config_version, **attributes},
            )
        )


def _captured(span: SpanRecord) -> dict[str, Any]:
    texts = {
        short: str(span.attributes[key])[:CAPTURE_TEXT_MAX_CHARS]
        for short, key in (("arguments", "gen_ai.tool.call.arguments"), ("result", "gen_ai.tool.call.result"))
        if span.attributes.get(key)
    }
    return {
        "name": span.name,
        "span_id": span.span_id,
        "started_ns": span.start_ns,
        "ended_ns": span.end_ns,
        "error_type": span.error_type,
        **texts,
    }
