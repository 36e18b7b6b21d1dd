"""Which calls an order about one tool or one run holds, as far as can be told from outside the guard."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from andoncord.respond.ladder import FENCING
from andoncord.telemetry.event import Event, EventKind

HOLDING = frozenset({*FENCING, "restrict"})
"""Rungs under which such calls must not begin any more; the others slow them, or claim less."""
STEP_KINDS = (EventKind.STEP_STARTED, EventKind.TOOL_COMPLETED, EventKind.TOOL_FAILED)


def words(within: Mapping[str, Any] | None) -> str:
    """What the order holds, in words; empty where it holds nothing, only slows it or opens a breaker."""
    return str(within["text"]) if within and within["rung"] in HOLDING else ""


def holds(within: Mapping[str, Any], tool: str, run_id: str) -> bool:
    """Whether the order holds a call."""
    if within["rung"] not in HOLDING or not fnmatchcase(tool, within["tool"]) or within["run"] not in ("", run_id):
        return False
    # Without a list the guard alone knows which tools read.
    allow = within["allow"]
    return within["rung"] in FENCING or (bool(allow) and not any(fnmatchcase(tool, glob) for glob in allow))


def is_within(event: Event, within: Mapping[str, Any]) -> bool:
    """Whether a step is one that must not begin under the order."""
    if event.kind not in STEP_KINDS or not holds(within, event.name, event.run_id):
        return False
    # Only of what has ended is it known that it was a tool.
    return within["rung"] in FENCING or event.kind is not EventKind.STEP_STARTED
