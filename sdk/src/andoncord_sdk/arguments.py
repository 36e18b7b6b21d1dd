"""The arguments of a decorated function: as a policy sees them, and back."""

import inspect
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

Named = Callable[[tuple[Any, ...], dict[str, Any]], dict[str, Any]]
Replaced = Callable[[Mapping[str, Any]], tuple[tuple[Any, ...], dict[str, Any]]]


def arguments_of(fn: Callable[..., Any]) -> tuple[Named, Replaced]:
    """How to name the arguments of a call of `fn`, defaults included, for a policy must see what the function will see; and how
    to make arguments for it out of named ones again.
    """
    signature = inspect.signature(fn)
    catch_all = next((name for name, given in signature.parameters.items() if given.kind is given.VAR_KEYWORD), None)

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        arguments = dict(bound.arguments)
        if catch_all is not None:
            arguments.update(arguments.pop(catch_all))
        return arguments

    def replaced(arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        parameters = signature.parameters.keys() - {catch_all}
        bound = inspect.BoundArguments(signature, OrderedDict())
        for name in signature.parameters:  # In this order: positional ones are taken one after the other.
            if name != catch_all and name in arguments:
                bound.arguments[name] = arguments[name]
        if catch_all is not None:
            bound.arguments[catch_all] = {name: value for name, value in arguments.items() if name not in parameters}
        return bound.args, bound.kwargs

    return named, replaced
