"""What the adapters have in common: runs, guarded calls, what models cost, and the guard's own reason for an end."""

import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from andoncord_sdk.errors import CallDenied, GuardError, RunStopped
from andoncord_sdk.guard import Guard
from andoncord_sdk.run import Run
from andoncord_sdk.step import GuardedCall, ModelStep, Step

MAX_MESSAGES = 20
"""Latest messages of a model call's input that are reported."""
MAX_TEXT = 4000
"""Characters of one message or task that are reported."""
MAX_CAUSES = 20
"""Exceptions followed back to find the guard's refusal."""
TOKENS_PER_PRICE = 1_000_000

Prices = Mapping[str, tuple[float, float]]
"""US dollars per million input and output tokens, by model. Cached input counts in full: the guard errs on the dear side."""


class HandOff(Step):
    """A hand-off from one agent to the next that is no call of a tool: held like a message, and never reported as a step."""

    is_tool = False
    is_message = True
    __slots__ = ()


class Unfinished(Exception):
    """A call of which the framework never told the end."""


class Calls:
    """Makes the guarded calls of one adapter.

    Args:
        guard: decides; one run of the framework is one run of the guard.
        through: the adapter's name.
        lacks: which of the guard's capabilities its framework leaves no room for; they are announced no more.
        prices: what models cost. Required when the guard has a budget, since an unknown price must not count as free.
        max_call_usd: the most a single model call can cost, held before it is made; None holds the dearest so far.

    Raises:
        ValueError: a budget without prices.
    """

    def __init__(
        self,
        guard: Guard,
        *,
        through: str,
        lacks: Collection[str] = (),
        prices: Prices | None = None,
        max_call_usd: float | None = None,
    ) -> None:
        if guard.has_budget and prices is None:
            raise ValueError("the guard has a budget, so it needs to know what models cost: pass prices={model: (in, out)}")
        self.guard = guard
        guard.reached_through(through, lacks=lacks)
        self._prices = prices or {}
        self._max_call_usd = max_call_usd
        self._open_calls: dict[tuple[str, object], GuardedCall] = {}
        """By run and call, for frameworks that tell the beginning and the end apart; what stays open ends with its run."""

    @contextmanager
    def open(self, task: str = "") -> Iterator[Run]:
        """A guarded run around whatever starts the framework inside it. Serves async code too: opening never waits.

        Raises:
            AgentStopped: a kill order is in force.
            GuardError: what ended the run, whatever the framework made of it.
        """
        run = self.guard.run(task[:MAX_TEXT]).begin()
        error: BaseException | None = None
        try:
            yield run
            if run.stopped is not None:  # Some handler of the framework made a result of it.
                raise run.stopped
        except Exception as raised:
            error = run.stopped or refusal_in(raised) or raised
            if error is raised:
                raise
            raise error from raised
        except BaseException as raised:
            error = raised
            raise
        finally:
            for key in [key for key in list(self._open_calls) if key[0] == run.id]:
                self._open_calls.pop(key).end(error or Unfinished())
            run.end(error)

    # ------------------------------------------------------------------------------------------------- calls

    def tool(self, name: str, arguments: Mapping[str, Any], *, run: Run | None = None, can_replace: bool = False) -> Step:
        """A call of a tool, not begun yet, in `run` or the enclosing one.

        Args:
            can_replace: the tool is given what `replaced` says, so that a policy can have some of it masked.

        Raises:
            CallDenied: there is no run around it.
        """
        return (run or self.guard.enclosing_run(name)).step(name, arguments, can_replace=can_replace)

    def model(self, model: str, *, system: str = "", messages: Any = ()) -> ModelStep:
        """A call of a model, not begun yet.

        Args:
            model: the name under which prices know it.
            system: its instructions.
            messages: its input, in OpenTelemetry's form of messages.

        Raises:
            CallDenied: there is no run around it, or its price is needed and not known.
        """
        run = self.guard.enclosing_run(model)
        is_priced = model in self._prices
        step = run.model_step(model, max_cost_usd=self._max_call_usd, is_priced=is_priced, system=system, input=list(messages))
        if self.guard.has_budget and model not in self._prices:
            message = f"{self.guard.agent} has a budget, and the price of {model} is not known"
            refusal = CallDenied("guard_error", message, tool=model)
            run.admission.refuse(run, step, refusal)
            raise refusal
        return step

    def spend(self, step: ModelStep, input_tokens: int | None, output_tokens: int | None) -> None:
        """Say what a model call used. A call that is never told about is settled at its highest cost."""
        if input_tokens is None or output_tokens is None:
            return
        step.input_tokens, step.output_tokens = input_tokens, output_tokens
        step.cost_usd = self.cost_usd(step.name, input_tokens, output_tokens)

    def cost_usd(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """What a call of `model` cost, or None if its price is not known."""
        price = self._prices.get(model)
        return None if price is None else (input_tokens * price[0] + output_tokens * price[1]) / TOKENS_PER_PRICE

    async def hand_off(self, name: str) -> None:
        """Wait while messages, or all calls, are held: for a framework that hands over without calling a tool.

        Raises:
            GuardError: it must not be handed over.
        """
        run = self.guard.enclosing_run(name)
        admission, step = run.admission, HandOff(run, name, {})
        try:
            while True:
                order = admission.gate.order
                if order.measures is None and not admission.enforcer.outbox:
                    return
                if admission.enforcer.check(run, step, order) is None:
                    return
                turn_s = admission.enforcer.wait_s(step)
                wait_s = turn_s if turn_s is not None else admission.hold_max_s
                if not await admission.gate.wait_change_async(order, wait_s) and turn_s is None:
                    raise admission.held_too_long(run, step, order)
        except GuardError as refusal:
            admission.refuse(run, step, refusal)
            raise
        finally:
            admission.enforcer.over(step)

    def break_off(self, fault: Exception, *, run: Run | None = None) -> None:
        """End `run`, or the enclosing one, because the guard broke and the framework would make a result of that and go on."""
        if isinstance(fault, RunStopped):
            return
        run = run or self.guard.enclosing_run("")
        run.stop(RunStopped("guard_error", str(fault) if isinstance(fault, GuardError) else f"the guard is broken: {fault!r}"))

    # ------------------------------------------------------------------------------------------------- begin here, end there

    def is_open(self, run: Run, key: object) -> bool:
        return (run.id, key) in self._open_calls

    def keep(self, key: object, call: GuardedCall) -> None:
        """Remember a call that has begun until `take`. An older one under the same key was never finished."""
        if (unfinished := self._open_calls.pop((call.run.id, key), None)) is not None:
            unfinished.end(Unfinished())
        self._open_calls[call.run.id, key] = call

    def take(self, run: Run, key: object) -> GuardedCall | None:
        """The call that was kept under `key`, for its end."""
        return self._open_calls.pop((run.id, key), None)


def admit(step: Step) -> CallDenied | None:
    """Begin `step`, waiting while the agent is paused; or give the refusal that the model may read instead of a result.

    Raises:
        GuardError: a refusal that must end the run, for it is over or the guard is broken.
    """
    try:
        step.begin()
    except CallDenied as refusal:
        return _readable(refusal)
    return None


async def admit_async(step: Step) -> CallDenied | None:
    """`admit`, without blocking the event loop while held."""
    try:
        await step.begin_async()
    except CallDenied as refusal:
        return _readable(refusal)
    return None


def replaced(step: Step) -> dict[str, Any] | None:
    """The arguments that the tool is to be given instead of its own; None where it may have those. `step` has begun."""
    return None if step.arguments is step.given else dict(step.arguments)


@contextmanager
def optional(distribution: str) -> Iterator[None]:
    """Around the imports of a framework: without it, what to install is said.

    >>> with optional("no-such-framework"):
    ...     import no_such_framework
    Traceback (most recent call last):
    ImportError: install the framework with: pip install no-such-framework
    """
    try:
        yield
    except ImportError as missing:
        raise ImportError(f"install the framework with: pip install {distribution}") from missing


@contextmanager
def ending(call: GuardedCall) -> Iterator[None]:
    """End a call that has begun when the block is left, failed if the block raised."""
    try:
        yield
    except BaseException as error:
        call.end(error)
        raise
    call.end()


def with_nudge(result: str, step: Step) -> str:
    """A result as the model reads it, with a word at the third repetition. `step` has ended."""
    return result if step.nudge is None else f"{result}\n\n{step.nudge}"


def refusal_in(error: BaseException) -> GuardError | None:
    """What the guard raised, out of what the framework made of it."""
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None or isinstance(cause, GuardError):
            return cause
        cause = cause.__cause__ or cause.__context__
    return None


def text(role: str, content: Any) -> dict[str, Any]:
    """A message of text in OpenTelemetry's form."""
    return {"role": role, "parts": [{"type": "text", "content": cut(content)}]}


def tool_call(call_id: str, name: str, arguments: Any) -> dict[str, Any]:
    """A model's wish to call a tool, as a part of a message."""
    return {"type": "tool_call", "id": call_id, "name": name, "arguments": cut(arguments)}


def tool_response(call_id: str, response: Any) -> dict[str, Any]:
    """What came of it, as a part of a message."""
    return {"type": "tool_call_response", "id": call_id, "response": cut(response)}


def cut(value: Any) -> str:
    """A value as text of bounded length."""
    return (value if isinstance(value, str) else json.dumps(value, default=str))[:MAX_TEXT]


def _readable(refusal: CallDenied) -> CallDenied:
    if refusal.code == "guard_error":
        raise refusal
    return refusal
