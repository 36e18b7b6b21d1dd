"""What a finding comes from, where that can be said: findings of different agents with the same cause are one incident (INC-1).

Three kinds of cause have a name that two agents can share: a dependency that does not answer, one change, one datum. What fails
at the same time, or with the same word for an error, has no cause in common by that alone.
"""

import re
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec

from andoncord.detect.detector import Groups, Hit
from andoncord.detect.rule import Rule
from andoncord.kernel.text import visible
from andoncord.kernel.time import MINUTE_NS
from andoncord.kernel.vocabulary import Pattern
from andoncord.telemetry.event import Event, EventKind
from andoncord.telemetry.lineage import uses_of

MAX_CAUSES = 8
"""Causes named by one finding."""
MAX_NAME = 120
MAX_AGENTS = 10_000
MAX_CHANGES = 8
"""Changes remembered of one agent."""
CHANGE_NS = 30 * MINUTE_NS
"""For how long after a change what begins may come from it. Chosen: as long as findings of one agent belong together."""
MIN_VERSION = 6
"""Characters of a version below which two agents may have it by chance: `2` or `v1`."""
MAX_SAID = 300
"""Characters of what a failed call returned that are looked at for the other side's fault."""
MAX_ARGUMENTS = 16_384

_OTHER_SIDE = re.compile(
    r"time[d\s_-]*out|deadline[\s_-]?exceeded|unavailable|connection|connect[\s_-]?error|unreachable|no route to host"
    r"|(?:reset|closed) by peer|bad[\s_-]?gateway|unknown[\s_-]?host|name or service not known|getaddrinfo"
    r"|internal[\s_-]?server[\s_-]?error|(?:http|status)\S{0,6}\s?50[0234]\b",
    re.IGNORECASE,
)
"""Words for a fault of who was called, not of the call: a refusal or a file that is not there is the caller's own affair."""
_HOST = re.compile(
    r"(?:(?:[a-z][a-z0-9+.-]{0,20}:)?//)?(?:[^/?#@\s]{0,200}@)?(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,200})(?::\d{1,5})?(?:[/?#]|$)",
    re.IGNORECASE,
)
_STATUS = re.compile(r"50[0234]")
_WHERE = ("url", "uri", "endpoint", "base_url", "host")
_RUNS_ANYTHING = ("command", "cmd", "code", "script")
"""Arguments of tools that run whatever they are given: that such a tool fails says nothing about a dependency."""
_SHARED = frozenset({"model", "tool"})
"""Kinds of change of which the versions are names that everybody uses."""
_OF_DATA = frozenset({Pattern.STATE_CORRUPTION, Pattern.INJECTED_ACTION})
_decode = msgspec.json.Decoder().decode


class _Changes:
    __slots__ = ("made",)

    def __init__(self) -> None:
        self.made: deque[tuple[int, str]] = deque(maxlen=MAX_CHANGES)


class Causes:
    """Remembers what changed, and names what a hit may come from.

    Cost: nothing for an event that is no change; 8 changes for each of at most 10 000 agents.
    """

    def __init__(self) -> None:
        self._changes = Groups(_Changes, limit=MAX_AGENTS)

    def note(self, event: Event) -> None:
        """Take in a change that an agent went through."""
        before, after = (str(event.attributes.get(name, "")) for name in ("from", "to"))
        kind = event.name or "config"
        if event.agent and after and (kind in _SHARED or len(after) >= MIN_VERSION):
            name = ":".join(("change", *(part[:MAX_NAME] for part in (kind, before, after))))
            self._changes.at((event.agent, event.trusted)).made.append((event.at_ns, visible(name, 3 * MAX_NAME)))

    def of(self, rule: Rule, hit: Hit) -> list[str]:
        """The causes of what was found, by name; empty where nothing can be said."""
        return list(dict.fromkeys(self._of(rule, hit)))[:MAX_CAUSES]

    def _of(self, rule: Rule, hit: Hit) -> Iterator[str]:
        event = hit.event
        if (dependency := _dependency(event)) is not None:
            yield visible(f"dependency:{dependency}", 2 * MAX_NAME)
        if rule.pattern in _OF_DATA:
            if text := hit.facts.get("text"):
                yield f"text:{text}"
            uses = uses_of(event)
            yield from (f"datum:{visible(name, MAX_NAME)}" for name in (*uses.reads, *uses.writes))
        changes = self._changes.get((event.agent, event.trusted))
        if changes is not None:
            # One change can break agents in many ways; that two of them broke in the same way is what speaks for it.
            began_ns = hit.onset_ns or hit.at_ns
            yield from (f"{name} {rule.id}" for at_ns, name in reversed(changes.made) if 0 <= began_ns - at_ns <= CHANGE_NS)


def _dependency(event: Event) -> str | None:
    """Who did not answer: the tool, and the host where the call names one.

    >>> failed = Event(kind=EventKind.TOOL_FAILED, name="fetch", ok=False, error_type="ReadTimeout")
    >>> _dependency(failed), _dependency(msgspec.structs.replace(failed, arguments='{"url": "https://api.example/v1"}'))
    ('fetch', 'fetch at api.example')
    >>> _dependency(msgspec.structs.replace(failed, error_type="FileNotFoundError")) is None
    True
    """
    if event.kind is EventKind.GUARD_DEGRADED:
        return event.name[:MAX_NAME] or None if event.attributes.get("code") == "breaker_open" else None
    if event.kind is not EventKind.TOOL_FAILED or not event.name or not _is_other_side(event):
        return None
    arguments = _arguments(event)
    if any(name in arguments for name in _RUNS_ANYTHING):
        return None
    host = next((found for name in _WHERE if (found := _host(arguments.get(name)))), "")
    return event.name[:MAX_NAME] + (f" at {host[:MAX_NAME]}" if host else "")


def _is_other_side(event: Event) -> bool:
    said = f"{event.error_type} {event.result[:MAX_SAID]}"
    return bool(_OTHER_SIDE.search(said) or _STATUS.fullmatch(event.error_type))


def _arguments(event: Event) -> dict[str, Any]:
    if not event.arguments.startswith("{") or len(event.arguments) > MAX_ARGUMENTS:
        return {}
    try:
        decoded = _decode(event.arguments)
    except (msgspec.DecodeError, UnicodeEncodeError, RecursionError):
        return {}
    return decoded if isinstance(decoded, dict) else {}


def _host(value: object) -> str:
    """The host that an address names; empty where it is none.

    >>> _host("https://ada:pw@api.example:8443/v1?q=1"), _host("db-1:5432"), _host(17)
    ('api.example', 'db-1', '')
    """
    found = _HOST.match(value) if isinstance(value, str) else None
    return found[1].lower() if found else ""
