"""Who reached whom: hand-offs, messages, and spans of one agent below another's, read off events one at a time."""

from collections import OrderedDict
from collections.abc import Callable, Container
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.stitch import INFERRED

MAX_SPANS = 20_000
"""Spans whose agent is remembered, so that a span below another agent's is known for what it is."""
MAX_PENDING = 5_000
"""Spans that wait for their parent, which ends, hence arrives, after them."""
MAX_BELOW = 200
"""Of them, those that wait for the same parent: some never end."""
MAX_CLIMB = 64
TOOLS_KEPT = 1_024
"""Names of tools of which it is remembered whether they go to anybody."""

CALLED, HANDED_OVER, SENT = "called", "handed over to", "sent a message to"
"""How one agent reached another: a span of its below the other's, a hand-off, a message."""

_HANDOFFS = ("transfer_to_", "handoff_to_", "hand_off_to_", "delegate_to_", "transfer to ", "handoff to ")
_TRANSFERS = frozenset({"transfer_to_agent", "handoff_to_agent", "delegate_to_agent"})
_MESSAGES = frozenset({"send_message", "message_agent", "ask_agent", "agent.message", "agents.send"})
RECIPIENTS = ("to", "recipient", "agent", "target", "target_agent", "agent_name")
_TOOLS = frozenset({EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED})
LINKED = frozenset({EventKind.AGENT_INVOKED, EventKind.OTHER, *_TOOLS})
"""Kinds of events that say something about it: spans that other agents' spans hang below among them."""

_decode = msgspec.json.Decoder().decode


class Reach(NamedTuple):
    """One agent reached another, once."""

    sender: str
    how: str
    receiver: str
    at_ns: int
    trace_id: str
    span_id: str
    """The event that shows it."""
    ok: bool
    run_id: str
    """Of the sender."""


NOBODY: tuple[Reach, ...] = ()


def partner_named(event: Event) -> tuple[str, str]:
    """Whom a tool call goes to, as far as it says so itself, and how; two empty texts where it goes to nobody.

    >>> partner_named(Event(kind=EventKind.TOOL_COMPLETED, name="transfer_to_billing"))
    ('billing', 'handed over to')
    >>> partner_named(Event(kind=EventKind.TOOL_COMPLETED, name="send_message", arguments='{"to": "billing"}'))
    ('billing', 'sent a message to')
    >>> partner_named(Event(kind=EventKind.TOOL_COMPLETED, name="lookup"))
    ('', '')
    """
    name = event.name
    named, how = way(name)
    if how and (name in _TRANSFERS or name in _MESSAGES):
        named = next(iter(recipients(event.arguments)), "")
        return (named, how) if named else ("", "")
    return named, how


@lru_cache(maxsize=TOOLS_KEPT)
def way(name: str) -> tuple[str, str]:
    """Whom a tool goes to, where its name says so, and how it goes there; no how for a tool that goes to nobody."""
    if name in _TRANSFERS or name in _MESSAGES:
        return "", HANDED_OVER if name in _TRANSFERS else SENT
    if name.startswith(_HANDOFFS):
        return name[len(next(prefix for prefix in _HANDOFFS if name.startswith(prefix))) :], HANDED_OVER
    return "", ""


def recipients(arguments: str) -> list[str]:
    """The names that the arguments of a message give for its recipient, best first."""
    if not arguments.startswith("{"):
        return []
    try:
        decoded: Any = _decode(arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return []
    if not isinstance(decoded, dict):
        return []
    named = (decoded.get(name) for name in RECIPIENTS)
    return [each for each in named if isinstance(each, str) and each]


class Partners:
    """Finds out who reached whom. Memory is bounded by the constants of this module.

    Args:
        known: the agents there are. A message can go to anybody, so only to one of these it is one between agents.
        named: the known agent that a tool is named after, else the text.
        max_spans: spans whose agent is remembered.

    Cost: O(1) per event, but for climbing from an agent's span to the one above it.
    """

    def __init__(self, known: Container[str], named: Callable[[str], str], *, max_spans: int = MAX_SPANS) -> None:
        self._known, self._named, self._max_spans = known, named, max_spans
        # Ordered: a plain dictionary looks for its oldest entry past all the places of those that were removed before.
        self._spans: OrderedDict[tuple[str, str], tuple[str, str, str]] = OrderedDict()
        """Span → its agent, its parent, and its run."""
        self._pending: OrderedDict[tuple[str, str], list[tuple[str, int, str]]] = OrderedDict()
        """Parent → agents below it, when, and by which span; as long as the parent was not seen."""

    def observe(self, event: Event, at_ns: int) -> tuple[Reach, ...]:
        """Take in an event of a kind in `LINKED`; who is now known to have reached whom."""
        kind = event.kind
        found: list[Reach] = []
        if kind in _TOOLS and way(event.name)[1]:
            receiver, how = self._told(event)
            if receiver:
                found.append(Reach(event.agent, how, receiver, at_ns, event.trace_id, event.span_id, event.ok, event.run_id))
        elif kind is EventKind.AGENT_INVOKED:
            before = event.attributes.get("graph.node.parent_id")
            if isinstance(before, str) and before and before != event.agent and before in self._known:
                found.append(Reach(before, HANDED_OVER, event.agent, at_ns, event.trace_id, event.span_id, event.ok, ""))
        if event.span_id:
            self._link(event, at_ns, found)
        return tuple(found) if found else NOBODY

    def _told(self, event: Event) -> tuple[str, str]:
        """Whom a tool call goes to: of messages only to an agent that is known."""
        name = event.name
        if name in _TRANSFERS or name in _MESSAGES:
            other = next((each for each in recipients(event.arguments) if each in self._known), "")
            return other, HANDED_OVER if name in _TRANSFERS else SENT
        if not name.startswith(_HANDOFFS):
            return "", ""
        prefix = next(each for each in _HANDOFFS if name.startswith(each))
        return self._named(name[len(prefix) :]), HANDED_OVER

    def _link(self, event: Event, at_ns: int, found: list[Reach]) -> None:
        """Remember whose span this is, and find the agent above it, now or when its parent arrives."""
        key, above = (event.trace_id, event.span_id), event.parent_span_id
        agent = "" if INFERRED in event.attributes else event.agent
        self._spans[key] = (agent, above, event.run_id)
        if len(self._spans) > self._max_spans:
            self._spans.popitem(last=False)
        if event.kind is EventKind.AGENT_INVOKED and agent and above:
            self._climb(agent, (event.trace_id, above), at_ns, event.span_id, found)
        for below, when_ns, span_id in self._pending.pop(key, ()) if self._pending else ():
            self._climb(below, key, when_ns, span_id, found)

    def _climb(self, agent: str, key: tuple[str, str], at_ns: int, span_id: str, found: list[Reach]) -> None:
        for _ in range(MAX_CLIMB):
            known = self._spans.get(key)
            if known is None:
                waiting = self._pending.setdefault(key, [])
                if len(waiting) < MAX_BELOW:
                    waiting.append((agent, at_ns, span_id))
                if len(self._pending) > min(MAX_PENDING, self._max_spans):
                    self._pending.popitem(last=False)
                return
            other, above, run_id = known
            if other and other != agent:
                found.append(Reach(other, CALLED, agent, at_ns, key[0], span_id, True, run_id))
                return
            if not above:
                return
            key = (key[0], above)
