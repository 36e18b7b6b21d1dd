"""How values become text on a page: every string is made inert before it is escaped.

Two things happen to whatever a template prints: `inert` shows control, escape and bidirectional characters instead of obeying
them, then Jinja escapes it. Nothing a template prints can leave out either step by accident.
"""

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from andoncord.kernel.money import usd_text
from andoncord.kernel.text import visible, visible_block
from andoncord.kernel.time import rfc3339

TEXT_LIMIT = 8_000
"""The most characters that one value may put on a page. Chosen: longer than any policy proposal, short for a phone."""

WORDS = {
    "approve_recovery": "approve the recovery",
    "complete_review": "complete the review",
    "apply_proposal": "apply the proposal",
    "none": "released",
}
"""Vocabulary that reads badly when its underscores merely become spaces."""


def inert(value: Any) -> Any:
    r"""What Jinja prints instead of `value`: strings without the power to move a cursor or turn a line around.

    >>> inert("a\x1b[2J")
    'a␛[2J'
    """
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    return visible_block(value, limit=TEXT_LIMIT)


def words(value: Any) -> str:
    """A word of the vocabulary as people read it.

    >>> words("infinite_loop"), words(None)
    ('infinite loop', '')
    """
    text = "" if value is None else str(value)
    return WORDS.get(text, text.replace("_", " "))


def duration(seconds: float | None) -> str:
    """A length of time in the two largest units that matter; empty when it is not known.

    >>> [duration(seconds) for seconds in (0.0123, 0.84, 12.3, 75, 3_700, 200_000, None)]
    ['12 ms', '0.84 s', '12 s', '1 min 15 s', '1 h 1 min', '2 d 7 h', '']
    """
    if seconds is None:
        return ""
    if seconds < 0.1:
        return f"{seconds * 1_000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.2g} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    for large, large_name, small, small_name in ((86_400, "d", 3_600, "h"), (3_600, "h", 60, "min"), (60, "min", 1, "s")):
        if whole >= large:
            rest = whole % large // small
            return f"{whole // large} {large_name}" + (f" {rest} {small_name}" if rest else "")
    raise AssertionError("a minute or more has a unit")


def milliseconds(value: float | None) -> str:
    """Milliseconds as people read them.

    >>> milliseconds(38.2), milliseconds(1_240), milliseconds(None)
    ('38 ms', '1.2 s', '')
    """
    return "" if value is None else duration(value / 1_000)


def clock(at: str | None) -> str:
    """The time of day of an RFC 3339 instant, to the second.

    >>> clock("2026-01-01T14:03:22.120Z"), clock(None)
    ('14:03:22', '')
    """
    return at[11:19] if at else ""


def day(at: str | None) -> str:
    """The date of an RFC 3339 instant.

    >>> day("2026-01-01T14:03:22.120Z")
    '2026-01-01'
    """
    return at[:10] if at else ""


def compact(value: Any) -> str:
    """A small record on one line, for reading, at most 600 characters. Units are read from the ends of its names.

    >>> compact({"tool": "refund", "repeats": 4, "cost_micro_usd": 412_000, "within_s": 3.0})
    'tool: refund · repeats: 4 · cost: $0.41 · within: 3 s'
    """
    if isinstance(value, dict):
        text = " · ".join(_named(str(key), item) for key, item in value.items())
    elif isinstance(value, (list, tuple)):
        text = ", ".join(_plain(item) for item in value)
    else:
        text = _plain(value)
    return visible(text, limit=600)


def _named(name: str, value: Any) -> str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        for suffix, text in (("_micro_usd", _money), ("_ns", _clock_of), ("_s", duration)):
            if name.endswith(suffix):
                return f"{words(name.removesuffix(suffix))}: {text(value)}"
    return f"{words(name)}: {_plain(value)}"


def _money(amount_micro_usd: int | float) -> str:
    return usd_text(int(amount_micro_usd))


def _clock_of(at_ns: int | float) -> str:
    return f"{clock(rfc3339(int(at_ns)))} UTC"


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def sev_tone(sev: str | None) -> str:
    """The colour of a severity level. The level itself is always printed beside it.

    >>> sev_tone("SEV-1")
    'sev1'
    """
    return {"SEV-1": "sev1", "SEV-2": "sev2", "SEV-3": "sev3"}.get(str(sev), "sev3")


def verdict_tone(verdict: str | None) -> str:
    """The colour of a verdict. Only `VERIFIED`, whole and exact, is ever the colour of success.

    >>> [verdict_tone(verdict) for verdict in ("VERIFIED", "UNVERIFIED", "FAILED", None, "verified?")]
    ['ok', 'warn', 'bad', 'unknown', 'unknown']
    """
    return {"VERIFIED": "ok", "UNVERIFIED": "warn", "FAILED": "bad"}.get(str(verdict), "unknown")


def outcome_tone(outcome: str | None) -> str:
    """The colour of a receipt: `partial` is never rounded up.

    >>> [outcome_tone(outcome) for outcome in ("done", "partial", "failed", "")]
    ['ok', 'warn', 'bad', 'unknown']
    """
    return {"done": "ok", "partial": "warn", "failed": "bad"}.get(str(outcome), "unknown")


def template_environment() -> Environment:
    """The Jinja environment of the console: autoescape always on, a misspelt name is an error."""
    environment = Environment(
        loader=PackageLoader("andoncord.server.console"),
        autoescape=True,
        finalize=inert,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        words=words,
        duration=duration,
        milliseconds=milliseconds,
        clock=clock,
        day=day,
        compact=compact,
        usd=usd_text,
        sev_tone=sev_tone,
        verdict_tone=verdict_tone,
        outcome_tone=outcome_tone,
        line=visible,
    )
    return environment
