"""Guarded calls: a tool call and a model call, from the check before them to the span after them."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, Self

from andoncord_sdk import _platform
from andoncord_sdk.budget import Reservation, cost_of, micro_usd
from andoncord_sdk.errand import do_async
from andoncord_sdk.obligation import Owed
from andoncord_sdk.orders import Order
from andoncord_sdk.otlp import KIND_CLIENT, KIND_INTERNAL, Attributes, LogRecord, SpanRecord, text_of

if TYPE_CHECKING:
    from andoncord_sdk.run import Run

_log = logging.getLogger("andoncord_sdk")

MAX_DATA = 16
"""Data named by one call in each direction: as many as the server looks at."""
MAX_NAME = 200

NOTHING_MET: dict[Owed, Any] = {}
"""Of calls that owe nothing; never written to."""

_current_call: ContextVar["GuardedCall | None"] = ContextVar("andoncord_current_call", default=None)


class GuardedCall(ABC):
    """One guarded call. A context manager, plain or async; `begin` and `end` serve adapters that get two callbacks.

    Entering waits while the agent is paused and raises when the call is refused. Leaving never raises.
    """

    operation: ClassVar[str]
    name_attribute: ClassVar[str]
    kind: ClassVar[int] = KIND_INTERNAL
    is_tool: ClassVar[bool] = False
    is_message: ClassVar[bool] = False
    """Something that goes to another agent or comes from one, whatever it is called."""

    __slots__ = (
        "_arguments_text",
        "_is_open",
        "_outer",
        "can_replace",
        "cost_max_micro_usd",
        "error_type",
        "given",
        "has_asked",
        "is_priced",
        "met",
        "name",
        "owed",
        "parent_span_id",
        "read",
        "replacement",
        "reservation",
        "run",
        "span_id",
        "start_ns",
        "tokens_max",
        "written",
    )

    def __init__(self, run: "Run", name: str, arguments: Mapping[str, Any], cost_max_micro_usd: int | None) -> None:
        self.run = run
        self.name = name
        self.given = arguments
        """The arguments as they came: what policies look at."""
        self.replacement: Mapping[str, Any] | None = None
        """What the tool gets instead, where a policy has arguments masked."""
        self.can_replace = False
        """Whoever makes the call gives the tool `arguments`, not what it had itself."""
        self.owed: tuple[Owed, ...] = ()
        self.met: dict[Owed, Any] = NOTHING_MET
        self._arguments_text: str | None = None
        self.cost_max_micro_usd = cost_max_micro_usd
        self.span_id = _platform.span_id()
        self.error_type = ""
        """Set it where the call failed without raising; an exception sets it by itself."""
        self.tokens_max: int | None = 0
        self.is_priced = False
        """Whoever makes the call knows what it costs."""
        self.has_asked = False
        """More of a shared budget was asked for on its behalf."""
        self.reservation: Reservation | None = None
        self.start_ns = 0
        self.read: tuple[str, ...] = ()
        """Data that `reads` named."""
        self.written: tuple[str, ...] = ()
        self.parent_span_id = run.span_id
        self._outer: GuardedCall | None = None
        self._is_open = False

    @property
    def arguments(self) -> Mapping[str, Any]:
        """What the tool is to be given: the arguments, masked where a policy says so once the call has begun."""
        return self.given if self.replacement is None else self.replacement

    def replace(self, arguments: Mapping[str, Any]) -> None:
        """Have the tool get other arguments."""
        if arguments is not self.given and arguments != self.replacement:
            self.replacement, self._arguments_text = arguments, None
        if self.met is NOTHING_MET:
            self.met = {}

    @property
    def arguments_text(self) -> str:
        """The arguments as text, made when first asked for: at the latest when the call starts, before the tool sees them."""
        if self._arguments_text is None:
            self._arguments_text = text_of(self.arguments)
        return self._arguments_text

    def reads(self, *data: str) -> None:
        """Say what this call read, by name, before it ends. What is said counts instead of what its arguments look like.

        At most 16 names are kept, of 200 characters; a comma in one becomes `%2C`.

        >>> from andoncord_sdk import Guard
        >>> with Guard("doc").run() as run, run.step("answer", {"ticket": 4711}) as step:
        ...     step.reads("doc:17", "doc:18")
        ...     step.writes("cache:4711")
        >>> step.read, step.written
        (('doc:17', 'doc:18'), ('cache:4711',))
        """
        self.read = self._named(self.read, data)

    def writes(self, *data: str) -> None:
        """Say what this call wrote, likewise: what reads that by its name later is downstream of what this run has read."""
        self.written = self._named(self.written, data)

    def _named(self, known: tuple[str, ...], data: tuple[str, ...]) -> tuple[str, ...]:
        names = (str(name).strip().replace(",", "%2C")[:MAX_NAME] for name in data)
        new = [name for name in dict.fromkeys(names) if name and name not in known]
        self.run.data.extend(new)
        return (*known, *new)[:MAX_DATA]

    def begin(self) -> Self:
        """Check, and wait while held.

        Raises:
            CallDenied: the call must not be made.
            RunStopped: the call must not be made, and the run is over.
        """
        admission, deadline_s = self.run.admission, None
        try:
            while (wait := admission.admit(self.run, self)) is not None:
                if not isinstance(wait, Order):
                    wait.do()
                    continue
                deadline_s = deadline_s or self._deadline_s()
                if not admission.gate.wait_change(wait, self._wait_s(deadline_s)) and _is_over(deadline_s):
                    raise admission.held_too_long(self.run, self, wait)
        except BaseException:
            admission.give_up(self)
            raise
        self._started()
        return self

    async def begin_async(self) -> Self:
        """`begin`, without blocking the event loop while held."""
        admission, deadline_s = self.run.admission, None
        try:
            while (wait := admission.admit(self.run, self)) is not None:
                if not isinstance(wait, Order):
                    await do_async(wait)
                    continue
                deadline_s = deadline_s or self._deadline_s()
                if not await admission.gate.wait_change_async(wait, self._wait_s(deadline_s)) and _is_over(deadline_s):
                    raise admission.held_too_long(self.run, self, wait)
        except BaseException:
            admission.give_up(self)
            raise
        self._started()
        return self

    def end(self, error: BaseException | None = None) -> None:
        """The call is over. Only the first time counts."""
        if not self._is_open:
            return
        self._is_open = False
        self.run.admission.gate.leave(self.span_id)
        if error is not None and not self.error_type:
            self.error_type = type(error).__name__
        try:
            self._settle(error)
            if (ended := self.run.admission.ended) is not None:
                ended(self)
            self._report_end(_platform.now_ns())
        except Exception:  # The call has been made; that it cannot be told must not break the agent.
            _log.exception("the end of %s could not be reported", self.name)

    def __enter__(self) -> Self:
        self.begin()
        _current_call.set(self)
        return self

    async def __aenter__(self) -> Self:
        await self.begin_async()
        _current_call.set(self)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        _current_call.set(self._outer)
        self.end(error)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, trace)

    @abstractmethod
    def _settle(self, error: BaseException | None) -> None:
        """Give the reservation back, or spend it."""

    @abstractmethod
    def _end_attributes(self) -> Attributes:
        """What the span says about this kind of call."""

    def _started(self) -> None:
        self._is_open = True
        if self.is_tool:
            self.run.calls += 1
        outer = _current_call.get()
        if outer is not None and outer.run is self.run:
            self._outer = outer
            self.parent_span_id = outer.span_id
        self.run.admission.report(
            LogRecord(
                event_name="andoncord.step.started",
                at_ns=self.start_ns,
                trace_id=self.run.trace_id,
                span_id=self.span_id,
                attributes={
                    **self.run.attributes,
                    "gen_ai.operation.name": self.operation,
                    self.name_attribute: self.name,
                    "gen_ai.tool.call.arguments": self.arguments_text,
                },
            )
        )

    def _report_end(self, end_ns: int) -> None:
        span = SpanRecord(
            name=f"{self.operation} {self.name}",
            trace_id=self.run.trace_id,
            span_id=self.span_id,
            parent_span_id=self.parent_span_id,
            kind=self.kind,
            start_ns=self.start_ns,
            end_ns=end_ns,
            error_type=self.error_type,
            attributes={
                **self.run.attributes,
                "andoncord.config.version": self.run.config_version,
                "gen_ai.operation.name": self.operation,
                self.name_attribute: self.name,
                **self._end_attributes(),
                "andoncord.obligations": "; ".join(map(str, self.met.values())) if self.owed else None,
                "andoncord.reads": ",".join(self.read),
                "andoncord.writes": ",".join(self.written),
            },
        )
        self.run.recent.append(span)
        self.run.admission.report(span)

    def _wait_s(self, deadline_s: float | None) -> float | None:
        """How long to wait before asking again: to the deadline, to its turn if it is throttled, to the end of its hold."""
        admission = self.run.admission
        waits_s = (_seconds_until(deadline_s), admission.enforcer.wait_s(self), admission.duties.approvals.wait_s(self))
        return min((each for each in waits_s if each is not None), default=None)

    def _deadline_s(self) -> float | None:
        """Until when an order may hold the call; an approval that it waits for has a deadline of its own."""
        limit_s = self.run.admission.hold_max_s
        is_unlimited = limit_s is None or self.run.admission.duties.approvals.wait_s(self) is not None
        return None if is_unlimited or limit_s is None else _platform.monotonic_s() + limit_s


class Step(GuardedCall):
    """One tool call. Set `result` before leaving: without it, a repetition cannot be told from progress.

    >>> from andoncord_sdk import Guard
    >>> with Guard("doc").run("say hello") as run:
    ...     with run.step("greet", {"name": "Ada"}) as step:
    ...         step.result = "Hello, Ada"
    >>> step.nudge is None
    True
    """

    operation = "execute_tool"
    name_attribute = "gen_ai.tool.name"
    is_tool = True

    __slots__ = ("nudge", "result")

    def __init__(self, run: "Run", tool: str, arguments: Mapping[str, Any], *, can_replace: bool = False) -> None:
        super().__init__(run, tool, arguments, 0)
        self.can_replace = can_replace
        self.result: Any = None
        self.nudge: str | None = None
        """After the end: a sentence for the model if this was the third repetition without progress."""

    def _settle(self, error: BaseException | None) -> None:
        assert self.reservation is not None
        self.reservation.settle(0)

    def _end_attributes(self) -> Attributes:
        result = text_of(self.result)
        # A failure is its own outcome: its type stands in for the result, so that two different failures are not one loop.
        outcome = result or self.error_type
        repeats = self.run.loop.observe(self.name, self.arguments_text, outcome, bool(self.error_type), self.run.state)
        if repeats is not None:
            self.nudge = f"{self.name} repeated {repeats} times without progress. Try something else, or stop and say why."
            self.run.tell_nudge(self.nudge)
        return {
            "gen_ai.tool.call.arguments": self.arguments_text,
            "gen_ai.tool.call.result": result,
            "andoncord.tool.version": self.run.admission.versions.of_tool(self.name),
        }


class ModelStep(GuardedCall):
    """One model call: its highest cost is reserved before, its real cost settled after.

    Set `cost_usd`, `input_tokens`, `output_tokens` and `output` before leaving. A call that never states its cost is settled
    at its highest, because unknown must not count as free.
    """

    operation = "chat"
    name_attribute = "gen_ai.request.model"
    kind = KIND_CLIENT

    __slots__ = ("cost_usd", "input", "input_tokens", "output", "output_tokens", "system")

    def __init__(
        self,
        run: "Run",
        model: str,
        *,
        max_cost_usd: float | None,
        max_tokens: int | None = None,
        is_priced: bool = False,
        system: str,
        input: Any,  # noqa: A002
    ) -> None:
        super().__init__(run, model, {}, None if max_cost_usd is None else micro_usd(max_cost_usd))
        self._arguments_text = ""
        self.tokens_max = max_tokens
        self.is_priced = is_priced
        self.system = system
        self.input = input
        self.output: Any = ""
        self.cost_usd: float | None = None
        self.input_tokens: int | None = None
        self.output_tokens: int | None = None

    def record(self) -> None:
        """Report a call that was made without asking, and count its cost."""
        self.start_ns = _platform.now_ns()
        self.run.budget.charge(self._cost(0), self._tokens(0))
        self._report_end(self.start_ns)

    def _settle(self, error: BaseException | None) -> None:
        assert self.reservation is not None
        held = self.reservation.amounts
        self.reservation.settle(self._cost(held.micro_usd), self._tokens(held.tokens))

    def _cost(self, unknown_micro_usd: int) -> int:
        """As the agent says; or by the price table; or what stands for unknown."""
        prices = self.run.admission.prices
        if self.cost_usd is None and prices is not None and self.input_tokens is not None and self.output_tokens is not None:
            priced = prices.cost_micro_usd(self.name, input_tokens=self.input_tokens, output_tokens=self.output_tokens)
            unknown_micro_usd = unknown_micro_usd if priced is None else priced
        return cost_of(self.cost_usd, unknown_micro_usd=unknown_micro_usd)

    def _tokens(self, unknown: int) -> int:
        if self.input_tokens is None and self.output_tokens is None:
            return unknown
        return max(0, self.input_tokens or 0) + max(0, self.output_tokens or 0)

    def _end_attributes(self) -> Attributes:
        return {
            "gen_ai.usage.input_tokens": self.input_tokens,
            "gen_ai.usage.output_tokens": self.output_tokens,
            "gen_ai.usage.cost": None if self.cost_usd is None else float(self.cost_usd),
            "gen_ai.prompt.version": self.run.admission.versions.of_prompt(self.system),
            "gen_ai.system_instructions": text_of([{"type": "text", "content": self.system}]) if self.system else None,
            "gen_ai.input.messages": _messages("user", self.input),
            "gen_ai.output.messages": _messages("assistant", self.output),
        }


def _messages(role: str, value: Any) -> str | None:
    """Text as one message in OpenTelemetry's form; a list is taken to have that form already."""
    if not value:
        return None
    if isinstance(value, list):
        return text_of(value)
    return text_of([{"role": role, "parts": [{"type": "text", "content": text_of(value)}]}])


def _is_over(deadline_s: float | None) -> bool:
    return deadline_s is not None and _platform.monotonic_s() >= deadline_s


def _seconds_until(deadline_s: float | None) -> float | None:
    return None if deadline_s is None else max(0.0, deadline_s - _platform.monotonic_s())
