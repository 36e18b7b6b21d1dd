"""Obligations: what has to be done so that a call may go on that a policy would otherwise forbid."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

MASK = "[redacted]"
"""Stands for what was masked."""
MAX_OBLIGATIONS = 8
"""Of one policy."""
MAX_PATHS = 32
MAX_PEOPLE = 5
"""Who may be asked for one call; more would never come together in time."""
MAX_NAME = 128
MAX_CALLS = 1_000_000
MAX_SNAPSHOT_S = 60.0
HOLD_S = 300.0
"""How long a call is held for its approval where the policy does not say: chosen, as long as the proxy holds a paused one."""
MAX_HOLD_S = 3_600.0
PERIODS = {"second": 1.0, "minute": 60.0, "hour": 3_600.0}

Path = tuple[str, ...]


class Redact(NamedTuple):
    """Mask arguments before the call; the tool never sees them."""

    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return f"redact {', '.join('.'.join(path) for path in self.paths)}"


class RequireApproval(NamedTuple):
    """A person in a role has to approve this very call."""

    role: str
    hold_s: float = HOLD_S
    """How long the call waits for it; 0 denies at once, and the same call may be made again."""
    people: int = 1
    """How many different ones; the control plane counts them."""

    def __str__(self) -> str:
        return f"approval by {self.role}" if self.people == 1 else f"approval by {self.people} of {self.role}"


class ThrottleCalls(NamedTuple):
    """So many calls in a period, of one tool, for one guard; after a pause as many at once."""

    calls: int
    per: str

    def __str__(self) -> str:
        return f"at most {self.calls} per {self.per}"


class Snapshot(NamedTuple):
    """Something has to be saved before the call."""

    of: str
    at_most_s: float
    if_it_fails: Literal["deny", "go_on"]

    def __str__(self) -> str:
        return f"snapshot of {self.of} first"


Obligation = Redact | RequireApproval | ThrottleCalls | Snapshot


class Owed(NamedTuple):
    """An obligation, and the policy that it comes from."""

    obligation: Obligation
    policy_id: str
    policy_digest: str
    """Of the compiled policy: another version of it is another policy."""
    message: str
    """Of the policy; also why its condition could not be checked, if it could not."""


def load_obligations(compiled: Any) -> tuple[Obligation, ...]:
    """Obligations out of a compiled policy: objects with one key, the kind, and its settings.

    Raises:
        ValueError: one is malformed or not known here.

    >>> [
    ...     str(each)
    ...     for each in load_obligations([{"throttle": {"calls": 5, "per": "minute"}}, {"redact": {"paths": ["card.no"]}}])
    ... ]
    ['at most 5 per minute', 'redact card.no']
    """
    if compiled is None:
        return ()
    if not isinstance(compiled, Sequence) or isinstance(compiled, str) or not 0 < len(compiled) <= MAX_OBLIGATIONS:
        raise ValueError(f"obligations are a list of 1 to {MAX_OBLIGATIONS}")
    return tuple(_loaded(each) for each in compiled)


def asked_by(obligation: Obligation) -> Obligation:
    """What an obligation asks for, apart from how patiently: two that ask for the same are equal.

    >>> asked_by(RequireApproval("finance", 5.0)) == asked_by(RequireApproval("finance"))
    True
    """
    return obligation._replace(hold_s=HOLD_S) if isinstance(obligation, RequireApproval) else obligation


def masked(value: Any, path: Path) -> Any:
    """`value` with what is at `path` masked; copied where it changes. In a list the path goes on in every element.

    What cannot be looked into is masked whole: the path may well lead inside it.

    >>> masked({"card": [{"no": 17}, {"no": 18}], "amount": 5}, ("card", "no"))
    {'card': [{'no': '[redacted]'}, {'no': '[redacted]'}], 'amount': 5}
    """
    if not path:
        return value if value is None else MASK
    if value is None:
        return None
    if isinstance(value, Mapping):
        if path[0] not in value:
            return value
        return {key: masked(item, path[1:]) if key == path[0] else item for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [masked(item, path) for item in value]
    return MASK


def _loaded(compiled: Any) -> Obligation:
    if not isinstance(compiled, Mapping) or len(compiled) != 1:
        raise ValueError("an obligation has one kind")
    ((kind, given),) = compiled.items()
    load = _KINDS.get(kind)
    if load is None:
        raise ValueError(f"the obligation {str(kind)[:40]!r} is not known; there are {', '.join(_KINDS)}")
    if not isinstance(given, Mapping):
        raise ValueError(f"{kind} needs its settings")
    return load(given)


def _redact(given: Mapping[str, Any]) -> Redact:
    _only(given, "redact", "paths")
    paths = given.get("paths")
    if not isinstance(paths, list | tuple) or not 0 < len(paths) <= MAX_PATHS:
        raise ValueError(f"redact: 'paths' is a list of 1 to {MAX_PATHS} argument paths")
    found = tuple(tuple(_word(path, "redact: a path").split(".")) for path in paths)
    if any(not part for path in found for part in path):
        raise ValueError("redact: a path is names divided by dots, such as customer.ssn")
    return Redact(found)


def _require_approval(given: Mapping[str, Any]) -> RequireApproval:
    _only(given, "require_approval", "role", "hold_s", "people")
    people = given.get("people", 1)
    if type(people) is not int or not 0 < people <= MAX_PEOPLE:
        raise ValueError(f"require_approval: 'people' is a whole number, 1 to {MAX_PEOPLE}")
    hold_s = given.get("hold_s", HOLD_S)
    if isinstance(hold_s, bool) or not isinstance(hold_s, int | float) or not 0 <= hold_s <= MAX_HOLD_S:
        raise ValueError(f"require_approval: 'hold_s' is seconds, 0 to {MAX_HOLD_S:g}")
    return RequireApproval(_word(given.get("role"), "require_approval: 'role'"), float(hold_s), people)


def _throttle(given: Mapping[str, Any]) -> ThrottleCalls:
    _only(given, "throttle", "calls", "per")
    calls, per = given.get("calls"), given.get("per")
    if type(calls) is not int or not 0 < calls <= MAX_CALLS:
        raise ValueError(f"throttle: 'calls' is a whole number, 1 to {MAX_CALLS}")
    if per not in PERIODS:
        raise ValueError(f"throttle: 'per' is one of {', '.join(PERIODS)}")
    return ThrottleCalls(calls, str(per))


def _snapshot(given: Mapping[str, Any]) -> Snapshot:
    _only(given, "snapshot", "of", "at_most_s", "if_it_fails")
    at_most_s, if_it_fails = given.get("at_most_s", 5.0), given.get("if_it_fails", "deny")
    if isinstance(at_most_s, bool) or not isinstance(at_most_s, int | float) or not 0 < at_most_s <= MAX_SNAPSHOT_S:
        raise ValueError(f"snapshot: 'at_most_s' is greater than 0 and at most {MAX_SNAPSHOT_S:g}")
    if if_it_fails not in ("deny", "go_on"):
        raise ValueError("snapshot: 'if_it_fails' is deny or go_on")
    return Snapshot(_word(given.get("of"), "snapshot: 'of'"), float(at_most_s), "deny" if if_it_fails == "deny" else "go_on")


_KINDS: dict[str, Callable[[Mapping[str, Any]], Obligation]] = {
    "redact": _redact,
    "require_approval": _require_approval,
    "throttle": _throttle,
    "snapshot": _snapshot,
}


def _only(given: Mapping[str, Any], kind: str, *known: str) -> None:
    if unknown := sorted(str(each) for each in given.keys() - set(known)):
        raise ValueError(f"{kind}: unknown field {unknown[0]!r}; there are {', '.join(known)}")


def _word(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise ValueError(f"{what} is text of 1 to {MAX_NAME} characters")
    return value
