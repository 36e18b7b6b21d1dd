"""An incident's JSON view as lines of the story, in the order in which things happened."""

from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from andoncord.kernel.text import visible
from andoncord.sim.story import Onset, instant_ns, score_incident

RECOVERY_EFFECTS = frozenset({"configure", "restart", "probe"})
STOP_EFFECTS = frozenset({"order", "terminate", "capture"})
RELEASE = "release "
"""How the wish of an order that lets an agent go begins."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One line. `text` may quote agents and was made inert; the renderer adds no markup to it."""

    key: str
    """Names the line within its incident: a line is told once."""
    at_ns: int
    kind: str
    text: str


def lines(view: Mapping[str, Any], *, onset: Onset | None, is_expected: bool) -> list[Line]:
    """Everything that can be told about an incident so far, oldest first.

    Args:
        onset: when the failure behind it took effect, by the agent's own record.
        is_expected: whether there is a failure behind it; otherwise it is an alarm about nothing.
    """
    found = [Line(key="seen", at_ns=instant_ns(view["detected_at"]), kind=_seen_kind(is_expected), text=_seen(view, onset))]
    found += _receipts(view)
    found += [
        Line(
            key=f"verdict {number}",
            at_ns=instant_ns(given["at"]),
            kind="proven" if given["verdict"] == "VERIFIED" else "unproven",
            text=_verdict(given),
        )
        for number, given in enumerate(view["verdicts"])
    ]
    if view["resolved_at"]:
        is_real = view["disposition"] == "real"
        text = "recovered: verified before it was released, and back at work" if is_real else f"closed: {view['disposition']}"
        found.append(Line(key="resolved", at_ns=instant_ns(view["resolved_at"]), kind="recovery", text=text))
    return sorted(found, key=lambda line: line.at_ns)


def _receipts(view: Mapping[str, Any]) -> Iterator[Line]:
    for receipt in view["receipts"]:
        kind, at_ns = receipt["kind"], instant_ns(receipt["at"])
        text = f"{visible(receipt['wanted'])}: {visible(receipt['text'])}"
        if kind == "investigate" and view["root_causes"]:
            yield Line(key="cause", at_ns=at_ns, kind="cause", text=_cause(view))
        elif kind == "review" and view["review"]:
            yield Line(key="review", at_ns=at_ns, kind="review", text=f"review drafted: {view['review']['path']}")
        elif kind in RECOVERY_EFFECTS or (kind == "order" and receipt["wanted"].startswith(RELEASE)):
            yield Line(key=receipt["intent"], at_ns=at_ns, kind="recovery", text=text)
        elif kind in STOP_EFFECTS:
            yield Line(key=receipt["intent"], at_ns=at_ns, kind="stop", text=text)


def _seen_kind(is_expected: bool) -> str:
    return "seen" if is_expected else "alarm"


def _seen(view: Mapping[str, Any], onset: Onset | None) -> str:
    seen_in_s = score_incident(view, failure=None, onset=onset).detected_in_s
    after = f" {seen_in_s:.1f} s after it began" if seen_in_s is not None else ""
    pattern, category = view["pattern"].replace("_", " "), view["category"].replace("_", " ")
    return f"{view['id']}: {pattern}{after}, {view['severity']} / {view['sev']}, {category}: {visible(view['title'], 160)}"


def _verdict(given: Mapping[str, Any]) -> str:
    if given["verdict"] == "VERIFIED":
        return f"{given['verdict']}: {visible('; '.join(given['evidence']), 240)}"
    return f"{given['verdict']}, missing: {visible('; '.join(given['missing']), 240)}"


def _cause(view: Mapping[str, Any]) -> str:
    cause = view["root_causes"][0]
    suspect = view["responsible"][0] if view["responsible"] else None
    where = f" Responsible: step {suspect['span_id']} of {suspect['agent']}." if suspect else ""
    claim = f"{cause.get('claim') or 'consistent with'} {cause['type'].replace('_', ' ')}"
    return f"{claim}: {visible(cause.get('summary', ''), 240)}{where}"
