"""Secrets and personal data that an agent gave out: in an answer, or to a tool that sends them outside (DET-22).

What is secret was masked before it was stored. The tag of the mask stands where it was and is the evidence.
"""

import re
from collections.abc import Callable, Iterable

from andoncord.detect.detector import MAX_GROUPS, Groups, Hit, Trigger, few
from andoncord.detect.facts import Facts, Key
from andoncord.telemetry.event import Event, EventKind

MARK = "[redacted:"
_TAG = re.compile(r"\[redacted:([a-z][a-z0-9-]{0,40})\]")
_DISTINGUISHED = re.compile(r"-[0-9a-f]{3}$")
ORDINARY = frozenset({"email", "attribute"})
"""Tags that say nothing: addresses are in most mail, and what an attribute is called is the emitter's choice."""
PERSONAL = frozenset({"card", "ssn", "iban"})
MAX_TEXT = 65_536
"""Characters of a text that are looked at, from its end: answers come last."""
MAX_TAGS = 32
MAX_RUNS = 2_000
"""Runs whose users' secrets are remembered; of most runs there is nothing to remember."""
_ANSWERS = frozenset({EventKind.MODEL_COMPLETED, EventKind.RUN_ENDED, EventKind.AGENT_INVOKED})
_TELLS = frozenset({EventKind.RUN_STARTED, EventKind.MODEL_COMPLETED, EventKind.AGENT_INVOKED, EventKind.RUN_ENDED})
_READS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})


class _Run:
    __slots__ = ("given", "has_read", "raised")

    def __init__(self) -> None:
        self.given: set[str] = set()
        """Tags of what the user gave by himself."""
        self.has_read = False
        """A tool has answered with something masked: later inputs may repeat it."""
        self.raised: set[str] = set()


class SensitiveOutput:
    """Raise when something masked stands in an answer, or in a call of a tool that is declared to send outside; once for each.

    Silent about what the user gave in the task or the first input of the run: saying a card number back to its owner is no
    leak. What stands in the instructions of the agent is not the user's.

    Cost: one search for a mark in each text; O(text) only where there is one. 2 000 runs with masked texts are remembered,
    less than 1 kB each.
    """

    def __init__(self, trigger: Trigger, *, key: Callable[[Event], Key], max_groups: int = MAX_GROUPS) -> None:
        self.kinds = trigger.kinds
        self.reads_texts = trigger.kinds
        self._trigger, self._key = trigger, key
        self._runs = Groups(_Run, limit=min(MAX_RUNS, max_groups))

    def observe(self, event: Event, facts: Facts) -> Iterable[Hit]:
        if event.kind in _READS:
            return self._of_tool(event, facts)
        said = event.output_text if event.kind in _ANSWERS else ""
        told = event.kind in _TELLS and (MARK in event.task or MARK in event.input_text)
        leaks = MARK in said
        if not (told or leaks) or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        run = self._runs.at(key)
        if told:
            _note(run.given, _tags(event.task))
            if not run.has_read:
                _note(run.given, _tags(event.input_text))
        return self._raise(event, key, run, _tags(said), "answer") if leaks else ()

    def tick(self, now_ns: int) -> Iterable[Hit]:
        return ()

    def _of_tool(self, event: Event, facts: Facts) -> Iterable[Hit]:
        is_sent = event.name in facts.declared.outside and MARK in event.arguments
        is_read = MARK in event.result
        if not (is_sent or is_read) or not self._trigger.matches(event, facts):
            return ()
        key = self._key(event)
        run = self._runs.at(key)
        run.has_read = run.has_read or is_read
        return self._raise(event, key, run, _tags(event.arguments), "call") if is_sent else ()

    @staticmethod
    def _raise(event: Event, key: Key, run: _Run, tags: set[str], where: str) -> Iterable[Hit]:
        news = {tag for tag in tags if tag not in ORDINARY} - run.given - run.raised
        if not news:
            return ()
        _note(run.raised, news)
        named = ", ".join(sorted(news))
        hit = Hit(
            event=event,
            key=(*key, where, named),
            at_ns=event.at_ns,
            onset_ns=event.start_ns or event.at_ns,
            evidence=few([event.span_id]),
            score=0.9,
            words={"what": named, "where": "its answer" if where == "answer" else f"a call of {event.name}"},
            facts={"tags": sorted(news), "personal": bool(news & PERSONAL), "tool": event.name if where == "call" else ""},
        )
        return (hit,)


def _tags(text: str) -> set[str]:
    """The tags in a text, without what tells two of a kind apart.

    >>> sorted(_tags("[redacted:card] of [redacted:email-3f9], twice [redacted:card]"))
    ['card', 'email']
    """
    return {_DISTINGUISHED.sub("", tag) for tag in _TAG.findall(text[-MAX_TEXT:])} if MARK in text else set()


def _note(known: set[str], tags: Iterable[str]) -> None:
    for tag in tags:
        if len(known) < MAX_TAGS:
            known.add(tag)
