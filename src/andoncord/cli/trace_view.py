"""A trace as a tree and as a transcript, for people.

The words of agents are inert in both; in the transcript each of their lines stands behind a bar, so that none passes for ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from andoncord.kernel.money import usd_text
from andoncord.kernel.text import visible, visible_block
from andoncord.kernel.time import SECOND_NS

Span = Mapping[str, Any]
"""One event of a trace as the API shows it."""

SPAN_KINDS = frozenset({"agent.invoked", "model.completed", "model.failed", "tool.completed", "tool.failed", "other"})
"""Kinds that come as spans; the others are records written inside of one, and carry its id."""
NAME = 60
"""Characters shown of names."""
BLOCK = 4_000
"""Characters shown of each text."""
DEEPEST = 40
"""Levels that still move to the right."""
_WORDS = {
    "agent.invoked": "agent",
    "model.completed": "model",
    "model.failed": "model",
    "tool.completed": "tool",
    "tool.failed": "tool",
}


def tree(spans: Sequence[Span]) -> Iterator[str]:
    """The lines of a tree of spans by their parents, each level by time, and a line of totals.

    Nothing is left out: a span whose parent was not seen stands at the top and says so, a circle of parents is cut open.
    """
    nodes = _nodes(spans)
    below: dict[str, list[str]] = {}
    tops: list[str] = []
    for key, span in nodes.items():
        parent = _parent(span)
        (below.setdefault(parent, []) if parent in nodes and parent != key else tops).append(key)
    shown: set[str] = set()
    for first in [*tops, *nodes]:
        if first in shown:
            continue
        # Deep traces are walked without recursion. Kept: what is next, the bars it stands under, its branch and its level.
        waiting: list[tuple[str, str, str, int]] = [(first, "", "", 0)]
        while waiting:
            key, bars, branch, depth = waiting.pop()
            if key in shown:
                continue
            shown.add(key)
            parent = _parent(nodes[key])
            lost = "  (its parent was not seen)" if not depth and parent and parent not in nodes else ""
            yield bars + branch + _node(nodes[key]) + lost
            further = bars if not depth or depth > DEEPEST else bars + ("   " if branch == "└─ " else "│  ")
            children = [child for child in below.get(key, ()) if child not in shown]
            waiting += [
                (child, further, "└─ " if place == len(children) - 1 else "├─ ", depth + 1)
                for place, child in reversed(list(enumerate(children)))
            ]
    yield ""
    yield _totals(spans)


def transcript(spans: Sequence[Span]) -> Iterator[str]:
    """The lines of what each model saw and said, what its tools were given and gave, and what the guard said, step by step."""
    seen: dict[tuple[str, str], str] = {}
    number = 0
    with_models = any(span["kind"].startswith("model.") for span in spans)
    for span in sorted(spans, key=_at):
        texts = list(_texts(span))
        # Nodes of a graph repeat what the steps inside of them say, and agents what their models do.
        repeats = span["kind"] == "other" or (with_models and span["kind"] == "agent.invoked")
        if repeats or (not texts and span["kind"] in ("agent.invoked", "heartbeat", "step.started")):
            continue
        number += 1
        yield f"{number}. {_clock(span)}  {_node(span)}"
        for label, text in texts:
            place = (str(span["agent"]), label)
            before = seen.get(place) if label in ("was told", "saw") else None
            seen[place] = text
            if before == text:
                yield f"   {label}: as before"
                continue
            more = bool(before) and text.startswith(str(before))
            yield f"   {label}, besides:" if more else f"   {label}:"
            new = text.removeprefix(str(before)) if more else text
            yield from (f"   │ {line}" for line in visible_block(new.strip("\n"), BLOCK).split("\n"))
        yield ""
    if not number:
        yield "nothing in this trace was said: its emitter records no texts"


def _nodes(spans: Sequence[Span]) -> dict[str, Span]:
    """Spans by their ids, by time; records as nodes of their own, and no start of a step whose end is known."""
    ended = {span["span_id"] for span in spans if span["kind"] in SPAN_KINDS}
    nodes: dict[str, Span] = {}
    for place, span in enumerate(sorted(spans, key=_at)):
        if span["kind"] in SPAN_KINDS:
            nodes.setdefault(str(span["span_id"]), span)
        elif span["kind"] != "step.started":
            nodes[f"record {place}"] = span
        elif span["span_id"] not in ended:
            nodes.setdefault(str(span["span_id"]) or f"record {place}", span)
    return nodes


def _parent(span: Span) -> str:
    return str(span["parent_span_id"] if span["kind"] in SPAN_KINDS or span["kind"] == "step.started" else span["span_id"])


def _at(span: Span) -> int:
    return int(span["start_ns"])


def _node(span: Span) -> str:
    """One span on one line: what, who, how long, how much, how it ended."""
    word = _WORDS.get(span["kind"], "" if span["kind"] == "other" else span["kind"])
    name, agent = visible(str(span["name"]), NAME), visible(str(span["agent"]), NAME)
    parts = [" ".join(part for part in (word, name) if part) or "?"]
    if agent and agent != name:
        parts.append(f"[{agent}]")
    if span["kind"] == "step.started":
        parts.append("has not ended")
    elif span["end_ns"] and span["kind"] in SPAN_KINDS:
        parts.append(_duration(span["end_ns"] - span["start_ns"]))
    if span["input_tokens"] or span["output_tokens"]:
        parts.append(f"{span['input_tokens']} tokens in, {span['output_tokens']} out")
    if span["cost_micro_usd"]:
        parts.append(usd_text(span["cost_micro_usd"]))
    if not span["ok"]:
        parts.append(f"FAILED {visible(str(span['error_type']), NAME)}".rstrip())
    return "  ".join(parts)


def _totals(spans: Sequence[Span]) -> str:
    own = [span for span in spans if span["kind"] in SPAN_KINDS]
    failed = sum(not span["ok"] for span in own)
    parts = [f"{len(own)} spans", f"{failed} failed"]
    if own:
        parts.append(_duration(max(span["end_ns"] or span["start_ns"] for span in own) - min(map(_at, own))))
    parts.append(f"{sum(span['input_tokens'] for span in own)} tokens in, {sum(span['output_tokens'] for span in own)} out")
    cost = sum(span["cost_micro_usd"] for span in own)
    if cost:
        parts.append(usd_text(cost))
    return ", ".join(parts)


def _texts(span: Span) -> Iterator[tuple[str, str]]:
    """What of a span was told, seen and said, under a label each."""
    labels = (
        ("instructions", "was told"),
        ("input_text", "saw"),
        ("output_text", "said"),
        ("arguments", "with"),
        ("result", "got"),
    )
    for field, label in labels:
        if span[field]:
            yield label, str(span[field])
    attributes = span["attributes"]
    for name, label in (("message", "because"), ("status_message", "error")):
        if attributes.get(name) and attributes[name] != span["error_type"]:
            yield label, str(attributes[name])


def _clock(span: Span) -> str:
    """The time of day of a step."""
    at = str(span["start_at"])
    return at.partition("T")[2].removesuffix("Z") or at


def _duration(ns: int) -> str:
    """A duration, short.

    >>> _duration(1_500_000), _duration(2_340_000_000)
    ('1.5 ms', '2.34 s')
    """
    return f"{ns / SECOND_NS:.2f} s" if ns >= SECOND_NS else f"{ns / 1_000_000:.1f} ms"
