"""State that is not as it must be: what registered validators refuse, and declared invariants that do not hold (DET-17)."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger
from andoncord.detect.facts import Facts, Key
from andoncord.kernel.errors import CallerError
from andoncord.policy.expression import parse
from andoncord.telemetry.event import Event, EventKind
from andoncord_sdk.expression import compile_condition
from andoncord_sdk.values import ExpressionError

REPORTED = "andoncord.state"
"""Name of the events by which an agent reports its state: a JSON object."""
NAMES = ("state",)
MAX_STATE = 65_536
MAX_COMPILED = 2_000
_decode = msgspec.json.Decoder().decode

Check = Callable[[Mapping[str, Any]], bool]


def invariant(text: str, *, place: str) -> Check:
    """A condition over `state`, ready to be asked.

    Raises:
        CallerError: it is none, with place and remedy.

    >>> holds = invariant("state.balance >= 0", place="andon.yaml")
    >>> holds({"state": {"balance": -5}})
    False
    """
    try:
        return compile_condition(parse(text, place=place, names=NAMES))
    except ExpressionError as wrong:
        raise CallerError(str(wrong), place=place) from None


class _Seen:
    __slots__ = ()


class InvalidState:
    """Raise when a validator says that the state is not valid, or when a reported state breaks a declared invariant.

    Once for each run and check. An invariant that cannot be evaluated, because the state has no such field, says nothing.

    Cost: O(1) per verdict of a validator; O(size of the state) per report.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key = trigger, key
        self._raised = Groups(_Seen, limit=max_groups)
        self._compiled: dict[str, Check | None] = {}

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not self._trigger.matches(event, facts):
            return ()
        if event.kind is EventKind.OTHER and event.name == REPORTED:
            return [hit for name in self._broken(event, facts) for hit in self._once(event, name, REPORTED)]
        return self._once(event, event.name, "")

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _broken(self, event: Event, facts: Facts) -> list[str]:
        invariants = facts.declared.invariants
        if not invariants or not event.arguments.startswith("{") or len(event.arguments) > MAX_STATE:
            return []
        try:
            state = _decode(event.arguments)
        except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
            return []
        return [name for name, text in invariants.items() if self._breaks(text, state)]

    def _breaks(self, text: str, state: Any) -> bool:
        if text not in self._compiled:
            if len(self._compiled) >= MAX_COMPILED:
                self._compiled.clear()
            try:
                self._compiled[text] = invariant(text, place="invariant")
            except CallerError:
                self._compiled[text] = None
        check = self._compiled[text]
        if check is None:
            return False
        try:
            return not check({"state": state})
        except ExpressionError:
            return False

    def _once(self, event: Event, name: str, how: str) -> Iterable[Hit]:
        key = (*self._key(event)[:-1], name, event.trusted)
        if self._raised.get(key) is not None:
            return ()
        self._raised.at(key)
        evidence = event.span_id or event.parent_span_id
        return (
            Hit(
                event=event,
                key=key,
                at_ns=event.at_ns,
                onset_ns=event.start_ns or event.at_ns,
                evidence=(evidence,) if evidence else (),
                words={"check": name},
                facts={"check": name, "basis": "declared invariant" if how else "validator"},
            ),
        )
