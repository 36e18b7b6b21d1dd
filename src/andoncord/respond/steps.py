"""The kinds of steps that a playbook can have: one row each, so that a new kind is a row, an effect and its performer."""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from andoncord.kernel.effect import EffectKind
from andoncord.kernel.errors import CallerError
from andoncord.respond.ladder import RUNGS
from andoncord.respond.orders import DEFAULT_RATE, LEAST_RATE

DURATION_UNITS_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}
NOTHING = "nothing to undo"
RELEASE = "release"
LIFT = "lift"
VERSION_BEFORE = "activate the version before"
IRREVERSIBLE = "irreversible"
HOOK_BEFORE = "hook "
"""`hook NAME`: the reversal is another hook."""
LONGEST_WAIT_MS = 30 * 24 * 3_600_000
WATCH = "1m"
"""How long an agent is watched after a retry before it counts as a success. Chosen: twelve leases."""
RECOVERY_WORDS = ("person", "automatic")
ROLES = ("respond", "admin")
ANSWERS = ("yes", "no")
AUDIENCES = ("customer", "executive", "legal", "continuity")
"""Who may have to be told beside those who respond."""
LONGEST_ASK_MS = 7 * 24 * 3_600_000
LONGEST_ORDER_MS = 7 * 24 * 3_600_000
NOTIFY_UNTIL = ("sent", "acknowledged")
NOTIFY_WHEN = ("now", "batched", "digest")


MAX_QUESTION = 300
DEGRADED: dict[str, dict[str, str]] = {
    "deny": {"order": "kill", "breaker": "", "instead": ""},
    "read-only": {"order": "restrict", "breaker": "", "instead": ""},
    "hand-over": {"order": "none", "breaker": "", "instead": "hand-over"},
    "hold": {"order": "none", "breaker": "", "instead": "hold"},
}
"""What may become of a tool in place of its work, and the order that it is. A kill of a tool refuses its calls."""


class Kind(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of step."""

    effect: EffectKind | None
    """What performs it; None where the engine composes it of effects of its own."""
    fields: tuple[str, ...] = ()
    """Settings of its own, beside those that every step may have."""
    needed: tuple[str, ...] = ()
    reversals: tuple[str, ...]
    """What may stand under `undo`; one that ends with a blank is followed by a name."""
    orders: bool = False
    """It gives orders of their own, one for each agent, that stand beside the rung."""
    contains: bool = False
    """It belongs to the containment: it comes before everything that does not."""
    check: Callable[[Mapping[str, Any], str], dict[str, Any]] | None = None
    """Reads the settings of its own. Args: the settings as written, and the place for errors."""


COMMON = ("at_most", "undo", "if", "name", "limit")
"""Settings that every step may have."""


def duration_ms(text: str, *, place: str = "") -> int:
    """A duration such as `500ms`, `2s`, `5m` or `1h` in milliseconds.

    >>> duration_ms("2s"), duration_ms("500ms"), duration_ms("1h")
    (2000, 500, 3600000)
    """
    for unit, factor in DURATION_UNITS_MS.items():
        number = text.removesuffix(unit)
        if number != text and number.isascii() and number.isdigit():
            return int(number) * factor
    raise CallerError(f"not a duration: {text!r}", place=place, remedy="write for example 500ms, 2s, 5m or 1h")


def _order(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    rung = str(raw.get("rung", ""))
    if rung not in RUNGS[1:]:
        raise CallerError("needs a rung", place=place, remedy=f"use one of: {', '.join(RUNGS[1:])}")
    return {"rung": rung}


def _hook(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    value = raw.get("with") or {}
    if not isinstance(value, dict):
        raise CallerError("with is a mapping", place=place, remedy="for example {reason: overspent}")
    return {"hook": str(raw["hook"]), "with": value}


def _wait(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    for_ms = duration_ms(str(raw["for"]), place=f"{place}.for")
    if not 0 < for_ms <= LONGEST_WAIT_MS:
        raise CallerError("is at most 30 days", place=f"{place}.for")
    return {"for_ms": for_ms}


def _retry(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    values = raw["with"]
    if not isinstance(values, dict) or not values:
        raise CallerError("with is missing", place=place, remedy="for example {temperature: 0.1, context_tokens: 64000}")
    watch_ms = duration_ms(str(raw.get("watch", WATCH)), place=f"{place}.watch")
    return {"with": values, "watch_ms": watch_ms}


def _recover(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    by = str(raw["by"])
    if by not in RECOVERY_WORDS:
        raise CallerError(f"unknown recovery {by!r}", place=place, remedy=f"use one of: {', '.join(RECOVERY_WORDS)}")
    role = str(raw.get("role", "respond"))
    if role not in ROLES:
        raise CallerError(f"unknown role {role!r}", place=place, remedy=f"use one of: {', '.join(ROLES)}")
    return {"by": by, "role": role}


def _ticket(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    return {"tracker": str(raw.get("tracker", ""))}


def _notify(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    settings = {"who": str(raw["who"]), "until": str(raw.get("until", "sent")), "when": str(raw.get("when", "now"))}
    for field, words in (("until", NOTIFY_UNTIL), ("when", NOTIFY_WHEN)):
        if settings[field] not in words:
            raise CallerError(f"unknown {field} {settings[field]!r}", place=place, remedy=f"use one of: {', '.join(words)}")
    if settings["when"] != "now" and (settings["until"] != "sent" or settings["who"] != "oncall"):
        raise CallerError("what is gathered goes to oncall, and waits for nobody", place=place, remedy="leave until and who")
    return settings


def _traffic(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    """`throttle`, `block` or `breaker`, each with a glob over tools."""
    asked = [word for word in ("throttle", "block", "breaker") if raw.get(word)]
    if len(asked) != 1:
        raise CallerError("needs one of throttle, block, breaker", place=place, remedy='for example {throttle: "payments.*"}')
    word, tool = asked[0], str(raw[asked[0]])
    if raw.get("rate") is not None and word != "throttle":
        raise CallerError("is for throttle", place=f"{place}.rate")
    rate = raw.get("rate", DEFAULT_RATE) if word == "throttle" else 1.0
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not LEAST_RATE <= rate <= 1:
        raise CallerError("is a share of the usual rate: greater than 0, at most 1", place=f"{place}.rate")
    if word == "block" and tool == "*":
        raise CallerError("blocks everything", place=f"{place}.block", remedy="name a tool, or contain with rung: kill")
    rung = {"throttle": "throttle", "block": "kill", "breaker": "none"}[word]
    breaker = "open" if word == "breaker" else ""
    return {"tool": tool, "order": rung, "breaker": breaker, "instead": "", "rate": float(rate), **_lasting(raw, place)}


def _mitigate(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    """What becomes of the calls in scope."""
    to, tool = str(raw["to"]), str(raw.get("tool") or "*")
    if to not in DEGRADED:
        raise CallerError(f"unknown mitigation {to!r}", place=f"{place}.to", remedy=f"use one of: {', '.join(DEGRADED)}")
    if to == "deny" and tool == "*":
        raise CallerError("denies everything", place=f"{place}.to", remedy="name a tool, or contain with rung: kill")
    return {"tool": tool, **DEGRADED[to], "rate": 1.0, **_lasting(raw, place)}


def _lasting(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    if raw.get("for") is None:
        return {"lasts_ms": 0}
    lasts_ms = duration_ms(str(raw["for"]), place=f"{place}.for")
    if not 0 < lasts_ms <= LONGEST_ORDER_MS:
        raise CallerError("is at most a week", place=f"{place}.for")
    return {"lasts_ms": lasts_ms}


def _draft(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    if raw["notice"] not in AUDIENCES:
        raise CallerError(f"unknown notice {raw['notice']!r}", place=place, remedy=f"use one of: {', '.join(AUDIENCES)}")
    return {"notice": str(raw["notice"])}


def _ask(raw: Mapping[str, Any], place: str) -> dict[str, Any]:
    question = str(raw["question"]).strip()
    if len(question) > MAX_QUESTION:
        raise CallerError(f"longer than {MAX_QUESTION} characters", place=f"{place}.question")
    # YAML reads a bare yes or no as true or false.
    default = {True: "yes", False: "no"}.get(raw.get("default", "no"), str(raw.get("default", "no")))
    if default not in ANSWERS:
        raise CallerError(f"unknown answer {default!r}", place=f"{place}.default", remedy=f"use one of: {', '.join(ANSWERS)}")
    for_ms = duration_ms(str(raw["for"]), place=f"{place}.for")
    if not 0 < for_ms <= LONGEST_ASK_MS:
        raise CallerError("is at most a week", place=f"{place}.for")
    return {"question": question, "role": str(raw.get("role") or ""), "default": default, "for_ms": for_ms}


KINDS: dict[str, Kind] = {
    "fence": Kind(
        effect=EffectKind.ORDER, fields=("rung",), needed=("rung",), reversals=(RELEASE,), contains=True, check=_order
    ),
    "capture": Kind(effect=EffectKind.CAPTURE, reversals=(NOTHING,), contains=True),
    "mitigate": Kind(
        effect=EffectKind.ORDER,
        fields=("to", "tool", "for"),
        needed=("to",),
        reversals=(LIFT,),
        orders=True,
        contains=True,
        check=_mitigate,
    ),
    "traffic": Kind(
        effect=EffectKind.ORDER,
        fields=("throttle", "rate", "block", "breaker", "for"),
        reversals=(LIFT,),
        orders=True,
        contains=True,
        check=_traffic,
    ),
    "contain": Kind(
        effect=EffectKind.ORDER, fields=("rung",), needed=("rung",), reversals=(RELEASE,), contains=True, check=_order
    ),
    "verify": Kind(effect=EffectKind.VERIFY, reversals=(NOTHING,), contains=True),
    "investigate": Kind(effect=EffectKind.INVESTIGATE, reversals=(NOTHING,)),
    "hook": Kind(
        effect=EffectKind.HOOK,
        fields=("hook", "with"),
        needed=("hook",),
        reversals=(NOTHING, HOOK_BEFORE, IRREVERSIBLE),
        check=_hook,
    ),
    "draft": Kind(effect=EffectKind.DRAFT, fields=("notice",), needed=("notice",), reversals=(NOTHING,), check=_draft),
    "ask": Kind(
        effect=EffectKind.ASK,
        fields=("question", "role", "default", "for"),
        needed=("question", "for"),
        reversals=(NOTHING,),
        check=_ask,
    ),
    "wait": Kind(effect=EffectKind.WAIT, fields=("for",), needed=("for",), reversals=(NOTHING,), check=_wait),
    "notify": Kind(
        effect=None,
        fields=("who", "until", "when"),
        needed=("who",),
        reversals=(NOTHING, IRREVERSIBLE),
        check=_notify,
    ),
    "ticket": Kind(effect=None, fields=("tracker",), reversals=(NOTHING, IRREVERSIBLE), check=_ticket),
    "retry": Kind(effect=None, fields=("with", "watch"), needed=("with",), reversals=(VERSION_BEFORE,), check=_retry),
    "recover": Kind(effect=None, fields=("by", "role"), needed=("by",), reversals=(NOTHING,), check=_recover),
}
