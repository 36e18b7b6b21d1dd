"""What becomes of attributes by their names: worked out once for each set of names, since nearly all sets come again.

Most attributes come again, too, with the same bytes; then a dictionary knows what they say.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from operator import itemgetter
from typing import Any

import msgspec

from andoncord.telemetry.aliases import SpanKind
from andoncord.telemetry.event import Scalar
from andoncord.telemetry.messages import as_text
from andoncord.telemetry.otlp_attributes import attribute
from andoncord.telemetry.raw import DROPPED, MAX_ATTRIBUTES, Attributes, Read

MAX_NAME = 256
"""Characters kept of names and ids."""
MAX_EXTRA = 48
"""Attributes kept beside the fields of an event."""
MAX_REMEMBERED = 4_096
"""Attributes remembered by their bytes; with more, those that did not come again since are forgotten."""
MAX_REMEMBERED_BYTES = 128
"""Longer ones are texts, which do not come again."""
MAX_PLANS = 1_024
"""Sets of attribute names for which is remembered what to do with them; with more, all are forgotten."""
FIELD, SHORT, EXTRA, NUMBERED, SCORED, IGNORED = range(6)
"""What becomes of an attribute: a field of the event, kept under a short name, kept as it is, a piece of a message or a score,
nothing."""
_PIECES = (NUMBERED, SCORED)
_KEPT = (SHORT, EXTRA)
_EMPTY = "\ud800"
"""Stands behind the name of an attribute that says nothing. No name that was read has it: it is no character of its own."""
Slot = tuple[int, str, int]
"""What becomes of an attribute, the name it goes by, and its rank among the names of its field, 0 first."""


class _Met(dict[bytes, tuple[str, Any]]):
    """Attributes by their bytes. Of more than fit, those are forgotten that did not come again since."""

    def __init__(self, meet: Callable[[bytes], tuple[str, Any]]) -> None:
        super().__init__()
        self._meet = meet
        self._before: dict[bytes, tuple[str, Any]] = {}

    def __missing__(self, pair: bytes) -> tuple[str, Any]:
        if len(pair) > MAX_REMEMBERED_BYTES:
            return self._meet(pair)
        known = self._before.get(pair) or self._meet(pair)
        if len(self) >= MAX_REMEMBERED:
            self._before = dict(self)
            self.clear()
        self[pair] = known
        return known


class _Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a set of attributes by their names alone."""

    is_plain: bool
    """None of them is a piece of a message or a score, or holds fields inside of it: then the rest says it all."""
    fields: tuple[str, ...]
    values: Callable[[Attributes], tuple[Any, ...]]
    """The best attribute of each field."""
    extra: tuple[str, ...]
    beside: Callable[[Attributes], tuple[Any, ...]]
    kinds: tuple[tuple[str, Mapping[str, SpanKind]], ...]
    """The attributes whose value says the kind of the span, best first."""
    kind: SpanKind
    """The kind where none of their values does."""


def _values_of(names: Sequence[str]) -> Callable[[Attributes], tuple[Any, ...]]:
    if len(names) < 2:
        return lambda attributes: tuple(attributes[name] for name in names)
    return itemgetter(*names)


class PairReader:
    """Reads the attributes of spans as they are written in protobuf.

    Args:
        learn: what becomes of an attribute of this name.
        kinds: attributes whose value says the kind of a span, best first, with their values.
        presence: attributes whose mere presence says it, where no value does.
        holders: attributes that hold fields inside of them.
        otherwise: reads what cannot be read by names alone.
    """

    def __init__(
        self,
        *,
        learn: Callable[[str], Slot],
        kinds: Sequence[tuple[str, Mapping[str, SpanKind]]],
        presence: Sequence[tuple[str, SpanKind]],
        holders: Collection[str],
        otherwise: Callable[[Attributes], Read],
    ) -> None:
        self._learn, self._kinds, self._presence = learn, kinds, presence
        self._holders, self._otherwise = frozenset(holders), otherwise
        self._recall = _Met(self._meet).__getitem__
        self._plans: dict[tuple[str, ...], _Plan] = {}

    def read(self, pairs: Sequence[bytes]) -> Read:
        """What the attributes of a span come to.

        Raises:
            DecodeError: one of them is no attribute.
        """
        said: Attributes = dict(map(self._recall, pairs if len(pairs) <= MAX_ATTRIBUTES else pairs[:MAX_ATTRIBUTES]))
        if len(pairs) > MAX_ATTRIBUTES:
            said[DROPPED] = len(pairs) - MAX_ATTRIBUTES
        names = tuple(said)
        plan = self._plans.get(names)
        if plan is None:
            plan = self._plan(names)
        if not plan.is_plain:
            return self._otherwise({name.removesuffix(_EMPTY): value for name, value in said.items()})
        kind = plan.kind
        for name, kinds in plan.kinds:
            told = said[name]
            if isinstance(told, str) and (told in kinds or (told := told.strip('"')) in kinds):
                kind = kinds[told]
                break
        return dict(zip(plan.fields, plan.values(said))), dict(zip(plan.extra, plan.beside(said))), kind  # noqa: B905

    def _meet(self, pair: bytes) -> tuple[str, Any]:
        """An attribute whose bytes are new: its name and value, as they are kept."""
        key, value = attribute(pair)
        slot = self._learn(key)
        if value is None or (value == "" and slot[0] == FIELD):
            return key + _EMPTY, value
        if slot[0] in _KEPT and key not in self._holders:
            value = scalar(value)
        return key, value

    def _plan(self, names: tuple[str, ...]) -> "_Plan":
        """What to do with attributes of these names."""
        if len(self._plans) >= MAX_PLANS:
            self._plans.clear()
        slots = {name: self._learn(name) for name in names if not name.endswith(_EMPTY)}
        there = {name.removesuffix(_EMPTY) for name in names}
        best: dict[str, tuple[int, str]] = {}
        extra: dict[str, str] = {}
        for name, (becomes, to, rank) in slots.items():
            if becomes == FIELD and (to not in best or rank < best[to][0]):
                best[to] = rank, name
            elif becomes in (SHORT, EXTRA) and to not in extra and (becomes == SHORT or len(extra) < MAX_EXTRA):
                extra[to] = name
        plan = self._plans[names] = _Plan(
            is_plain=self._holders.isdisjoint(there) and all(slot[0] not in _PIECES for slot in slots.values()),
            fields=tuple(best),
            values=_values_of([name for _, name in best.values()]),
            extra=tuple(extra),
            beside=_values_of(list(extra.values())),
            kinds=tuple((name, kinds) for name, kinds in self._kinds if name in slots),
            kind=next((kind for name, kind in self._presence if name in there), "other"),
        )
        return plan


def scalar(value: Any) -> Scalar:
    """A value as it is kept beside the fields of an event."""
    if isinstance(value, str):
        return value if len(value) <= MAX_NAME else value[: MAX_NAME - 1] + "…"
    return value if isinstance(value, bool | int | float) else as_text(value)[:MAX_NAME]
