"""Approvals: a person's word for one exact call. This module says what is approved; who asks whom is behind the port."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, runtime_checkable

MAX_DEPTH = 32


class UnwritableError(ValueError):
    """Arguments that cannot be written down so that everybody reads the same, so nobody can approve them."""


class Action(NamedTuple):
    """One exact call, as it would be made: what an approval is for, and for nothing else."""

    agent: str
    run_id: str
    tool: str
    arguments: str
    """Canonical JSON, of what the tool would be given."""
    policy_id: str
    policy_digest: str
    role: str
    """Who has to approve it."""
    epoch: tuple[int, int] | None
    """Of the order in force: what was approved before another order is not approved under it."""
    people: int = 1
    """How many different ones have to."""

    @property
    def digest(self) -> str:
        """Names the action; another argument, run, policy version or epoch gives another digest."""
        text = json.dumps(["andoncord action 1", *self], ensure_ascii=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


class Approvals(Protocol):
    """Where a guard looks for approvals."""

    def take(self, action: Action) -> bool:
        """Whether a person in the role approved this very action. An approval is used up by being taken. Must not wait."""


@runtime_checkable
class AwaitedApprovals(Approvals, Protocol):
    """Approvals that a call can be held for. None of these waits; the guard checks held calls again when it is told to."""

    def look(self, action: Action) -> bool:
        """Whether `take` would say yes. Where it would not, somebody is asked."""

    def hold(self, action: Action) -> bool:
        """Count one more call that is held for this approval, until `let_go`. False if too many are."""

    def let_go(self, action: Action) -> None:
        """The call is held for it no more: nobody is asked on its behalf."""

    def refusal(self, action: Action) -> str:
        """Why the approval will not come; empty while it may."""


def canonical(arguments: Mapping[str, Any]) -> str:
    """Arguments as JSON of one form only.

    Raises:
        UnwritableError: they hold something that JSON has not.

    >>> canonical({"b": 1.0, "a": [True, None]})
    '{"a":[true,null],"b":1.0}'
    """
    return json.dumps(_plain(arguments, 0), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def _plain(value: Any, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise UnwritableError(f"they are nested more than {MAX_DEPTH} deep")
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            raise UnwritableError("they have keys that are no text")
        return {key: _plain(item, depth + 1) for key, item in value.items()}
    raise UnwritableError(f"they hold a {type(value).__name__}")
