"""Guarded functions: each call of one is a step, and gets its arguments masked where a policy says so."""

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

from andoncord_sdk.arguments import arguments_of
from andoncord_sdk.step import Step

P = ParamSpec("P")
T = TypeVar("T")

StepOf = Callable[[Mapping[str, Any]], Step]
"""Makes the step of one call out of its arguments, in the run that is current there."""


def guarded(fn: Callable[P, T], step_of: StepOf) -> Callable[P, T]:
    """`fn`, sync or async, with a step around each call."""
    named, replaced = arguments_of(fn)

    if inspect.iscoroutinefunction(fn):

        @functools.wraps(fn)
        async def call_async(*args: P.args, **kwargs: P.kwargs) -> Any:
            async with step_of(named(args, kwargs)) as step:
                if step.replacement is not None:
                    args, kwargs = replaced(step.replacement)  # type: ignore[assignment]
                step.result = result = await fn(*args, **kwargs)
            return result

        return call_async  # type: ignore[return-value]  # T is the coroutine here

    @functools.wraps(fn)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        with step_of(named(args, kwargs)) as step:
            if step.replacement is not None:
                args, kwargs = replaced(step.replacement)  # type: ignore[assignment]
            step.result = result = fn(*args, **kwargs)
        return result

    return call


def carrying(fn: Callable[..., Any]) -> Callable[[Mapping[str, Any]], Any]:
    """Calls `fn` with arguments that are given by name, as they were noted of a call."""
    _, replaced = arguments_of(fn)

    def carry(arguments: Mapping[str, Any]) -> Any:
        args, kwargs = replaced(arguments)
        return fn(*args, **kwargs)

    return carry
