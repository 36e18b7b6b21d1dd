"""What detectors have learned, as bytes and back, so that a restart does not cost them their past.

Only what is named in `KNOWN` is read, field by field: a snapshot is data, never code. One that was written by another version,
or for another rule of that name, or that is damaged is refused as a whole, and the detector begins anew.
"""

from array import array
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import msgspec

from andoncord.detect import (
    burn,
    cascade,
    company,
    feedback,
    growth,
    impact,
    mix,
    order,
    profile,
    quality,
    quiet,
    ranges,
    stream,
    synchrony,
)
from andoncord.detect.declared import Objective
from andoncord.detect.detector import Groups
from andoncord.detect.evidence import Wealth
from andoncord.detect.facts import stable_digest
from andoncord.detect.judge_error import Labels
from andoncord.detect.rule import Rule

VERSION = 9
"""Raised whenever a class below changes its fields."""

KNOWN: dict[str, type] = {
    cls.__module__.rpartition(".")[2] + "." + cls.__name__: cls
    for cls in (
        Wealth,
        profile.Draws,
        profile.Profile,
        stream.Bursts,
        stream.Stream,
        ranges._Watched,
        ranges._Count,
        ranges._Role,
        ranges._Pool,
        impact._Hour,
        order._Orders,
        company._Habits,
        burn._Stream,
        growth._Agent,
        growth._Run,
        quiet._Agent,
        mix.Past,
        mix._Agent,
        quality.FailureRate,
        quality._Changes,
        quality._Stream,
        feedback._Group,
        cascade._Case,
        cascade._Lineage,
        cascade._Group,
        synchrony._Group,
    )
}
_NAMES = {cls: name for name, cls in KNOWN.items()}
_RECORDS: dict[str, type] = {"scale": stream.Scale, "objective": Objective, "labels": Labels}
_SIDE = "side"


class Refused(Exception):
    """A snapshot that cannot be read."""


class Saved(msgspec.Struct, frozen=True, kw_only=True):
    """One rule's detector at a moment."""

    version: int
    rule: str
    digest: str
    """Of what the rule says: another rule under the same name has another past."""
    until_ns: int
    """Everything received until then is in it."""
    memory: Any


def digest_of(rule: Rule) -> str:
    """A digest of what a rule looks at and for."""
    looks_for = msgspec.json.encode((rule.on, rule.where, msgspec.to_builtins(rule.correlate)))
    return stable_digest(rule.id, looks_for.decode())


def save(rule: Rule, memory: tuple[Groups[Any], ...], *, until_ns: int) -> bytes:
    """A detector's memory as bytes."""
    frozen = [_freeze(part) for part in memory]
    return msgspec.msgpack.encode(
        Saved(version=VERSION, rule=rule.id, digest=digest_of(rule), until_ns=until_ns, memory=frozen)
    )


def load(rule: Rule, memory: tuple[Groups[Any], ...], body: bytes) -> int:
    """Fill a detector's memory from bytes; until when it knows.

    Raises:
        Refused: it is not this rule's, not this version's, or damaged; nothing was changed.
    """
    try:
        saved = msgspec.msgpack.decode(body, type=Saved)
        if saved.version != VERSION or saved.digest != digest_of(rule) or len(saved.memory) != len(memory):
            raise Refused("it is of another version of the rule or the program")
        thawed = [_thaw(part) for part in saved.memory]
    except (msgspec.DecodeError, KeyError, TypeError, ValueError, IndexError, RecursionError, AttributeError) as wrong:
        raise Refused(f"it is damaged: {wrong}") from None
    for part, value in zip(memory, thawed, strict=True):
        part.fill(value)
    return saved.until_ns


def _freeze(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return [_SIDE, value.value] if isinstance(value, stream.Side) else value
    kind = type(value)
    if kind in _NAMES:
        return [_NAMES[kind], [_freeze(getattr(value, name)) for name in kind.__slots__]]
    if isinstance(value, Groups):
        return ["groups", [[_freeze(key), _freeze(state)] for key, state in value.items()]]
    if isinstance(value, array):
        return ["array", value.typecode, value.tobytes()]
    if isinstance(value, deque):
        return ["deque", value.maxlen, [_freeze(item) for item in value]]
    if isinstance(value, dict):
        word = "ordered" if isinstance(value, OrderedDict) else "dict"
        return [word, [[_freeze(key), _freeze(item)] for key, item in value.items()]]
    if isinstance(value, list | tuple):
        return ["list" if isinstance(value, list) else "tuple", [_freeze(item) for item in value]]
    for name, record in _RECORDS.items():
        if isinstance(value, record):
            return [name, msgspec.to_builtins(value)]
    raise AssertionError(f"a detector remembers a {kind.__name__}, which no snapshot knows")


def _thaw(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    word, *rest = value
    if word in KNOWN:
        cls = KNOWN[word]
        made: Any = object.__new__(cls)
        for name, part in zip(cls.__slots__, rest[0], strict=True):  # type: ignore[attr-defined]
            setattr(made, name, _thaw(part))
        return made
    if word in _RECORDS:
        return msgspec.convert(rest[0], _RECORDS[word])
    return _PLAIN[word](*rest)


_PLAIN: dict[str, Callable[..., Any]] = {
    "groups": lambda items: [(_thaw(key), _thaw(state)) for key, state in items],
    "array": array,
    "deque": lambda limit, items: deque([_thaw(item) for item in items], maxlen=limit),
    "dict": lambda items: {_thaw(key): _thaw(item) for key, item in items},
    "ordered": lambda items: OrderedDict((_thaw(key), _thaw(item)) for key, item in items),
    "list": lambda items: [_thaw(item) for item in items],
    "tuple": lambda items: tuple(_thaw(item) for item in items),
    _SIDE: stream.Side,
}
