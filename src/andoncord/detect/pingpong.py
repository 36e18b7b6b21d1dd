"""Agents that hand the same thing to each other and back, round after round, and nothing comes of it (DET-6, DET-16)."""

import re
from collections import deque
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Any, NamedTuple

import msgspec

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key, outcome, stable_digest
from andoncord.kernel.time import MINUTE_NS
from andoncord.telemetry.event import Event
from andoncord.telemetry.partners import RECIPIENTS, partner_named

ROUNDS = 4
"""Rounds of the same messages that are one too many: as many as the loop detector lets a call repeat. Chosen."""
MAX_PERIOD = 4
"""Messages of a round."""
POLL_NS = MINUTE_NS
"""Rounds that each begin this long after the one before are asking again by plan: models answer in seconds. Chosen."""
MAX_TALKS = 1_000
MAX_OUTCOMES = 256
"""Outcomes of other calls remembered of a conversation; with more, everything counts as new again."""
MAX_ARGUMENTS = 16_384
_IDENTITY = re.compile(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}t[0-9:.]+z?|\b(?=[0-9a-f-]*[a-f])[0-9a-f-]{12,}\b")
"""Moments and ids, which differ between two messages that say the same; amounts and short numbers are what is said."""
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="sorted").encode


class _Leg(NamedTuple):
    """One message: from whom, to whom, what, when."""

    sender: str
    receiver: str
    said: str
    at_ns: int
    span_id: str

    @property
    def what(self) -> tuple[str, str, str]:
        """What must be the same a round later."""
        return self.sender, self.receiver, self.said


class _Talk:
    __slots__ = ("is_raised", "legs", "outcomes")

    def __init__(self) -> None:
        self.legs: deque[_Leg] = deque(maxlen=ROUNDS * MAX_PERIOD)
        self.outcomes: set[str] = set()
        self.is_raised = False


class PingPong:
    """Raise when two to four agents hand the same messages around four times, and no call in between gave anything new; once.

    Messages and hand-offs of one conversation are compared without their recipients, case, white space, ids and times. A
    hand-off that says nothing counts within one trace only: in a conversation the user may have said something in between.
    Tools declared under `polls` and rounds a minute apart are asking again by plan. A message whose arguments were not
    recorded is not looked at.

    Cost: O(length of the message); at most 16 messages and 256 outcomes of 1 000 conversations.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = self.reads_texts = trigger.kinds
        self.triggers = (trigger,)
        self._trigger, self._key = trigger, key
        self._talks = Groups(_Talk, limit=min(MAX_TALKS, max_groups))

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if not event.agent or not self._trigger.matches(event, facts):
            return ()
        receiver, _ = partner_named(event)
        if not receiver:
            if len(self._talks):
                self._note(event)
            return ()
        if not event.arguments or not event.ok or event.name in facts.declared.polls:
            return ()
        said = _said(event.arguments)
        talk_id = event.task or event.session_id or event.trace_id if said else event.trace_id
        if not talk_id:
            return ()
        key = (*self._key(event), talk_id)
        talk = self._talks.at(key)
        talk.legs.append(_Leg(_plain(event.agent), _plain(receiver), stable_digest(said), event.at_ns, event.span_id))
        legs = _round_trips(talk.legs)
        if not legs:
            talk.is_raised = False
            return ()
        if talk.is_raised:
            return ()
        talk.is_raised = True
        agents = list(dict.fromkeys(leg.sender for leg in legs))
        hit = Hit(
            event=event,
            key=key,
            at_ns=event.at_ns,
            onset_ns=min(leg.at_ns for leg in legs),
            evidence=few(leg.span_id for leg in legs),
            words={"agents": ", ".join(agents), "rounds": str(ROUNDS)},
            facts={"agents": agents, "rounds": ROUNDS, "messages": len(legs)},
        )
        return (hit,)

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _note(self, event: Event) -> None:
        """Another call: what it gave is progress, unless it gave that before."""
        gave = stable_digest(event.agent, event.name, event.arguments[:MAX_ARGUMENTS], outcome(event))
        for talk_id in {event.task or event.session_id or event.trace_id, event.trace_id}:
            talk = self._talks.get((*self._key(event), talk_id))
            if talk is None or gave in talk.outcomes:
                continue
            if len(talk.outcomes) >= MAX_OUTCOMES:
                talk.outcomes.clear()
            talk.outcomes.add(gave)
            talk.legs.clear()
            talk.is_raised = False


def _round_trips(legs: Iterable[_Leg]) -> list[_Leg]:
    """The newest messages, if they are the same round again and again; else none."""
    held = list(legs)
    for period in range(2, MAX_PERIOD + 1):
        newest = held[-ROUNDS * period :]
        if len(newest) < ROUNDS * period or not _goes_around(newest[:period]):
            continue
        is_same = all(leg.what == later.what for leg, later in zip(newest, newest[period:], strict=False))
        starts = [leg.at_ns for leg in newest[::period]]
        if is_same and any(later - earlier < POLL_NS for earlier, later in pairwise(starts)):
            return newest
    return []


def _goes_around(legs: list[_Leg]) -> bool:
    """Whether each message comes from whom the one before went to, and the last goes to the first sender; or all backwards."""
    after = [*legs[1:], legs[0]]
    return all(leg.receiver == later.sender for leg, later in zip(legs, after, strict=True)) or all(
        leg.sender == later.receiver for leg, later in zip(legs, after, strict=True)
    )


def _said(arguments: str) -> str:
    """What a message says, without to whom; '' where it says nothing.

    >>> _said('{"to": "billing", "text": "Please  check 7f3a9c0d12ee"}') == _said(
    ...     '{"text": "please check 99ab01cd22ef", "to": "x"}'
    ... )
    True
    >>> _said('{"agent": "billing"}'), _said('{"text": "12500"}') == _said('{"text": "12400"}')
    ('', False)
    """
    text = arguments[:MAX_ARGUMENTS]
    try:
        value: Any = _decode(text) if len(arguments) <= MAX_ARGUMENTS else text
        if isinstance(value, dict):
            value = {name: each for name, each in value.items() if name not in RECIPIENTS and each not in ("", None)}
            text = _encode(value).decode() if value else ""
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        pass
    return _IDENTITY.sub("…", " ".join(text.lower().split()))


def _plain(name: str) -> str:
    """An agent's name without case and separators, as tools are named after it."""
    return "".join(letter for letter in name.lower() if letter.isalnum()) or name
