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


def transcript(steps: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """The lines of a transcript, as the API gives it."""
    for step in steps:
        event = {**step["event"], "start_at": step["at"]}
        yield f"{step['number']}. {_clock(event)}  {_node(event)}"
        for said in step["said"]:
            if said["repeats"] == "all":
                yield f"   {said['label']}: as before"
                continue
            yield f"   {said['label']}, besides:" if said["repeats"] else f"   {said['label']}:"
            yield from (f"   │ {line}" for line in visible_block(said["text"].strip("\n"), BLOCK).split("\n"))
        yield ""
    if not steps:
        yield "nothing in this trace was said: its emitter records no texts"


def touched(what: str, found: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the files, commands or systems of a trace or an agent."""
    rows = found[what]
    for row in rows:
        agent = f"[{visible(str(row['agent']), NAME)}]"
        if what == "files":
            undone = "  put back" if row["is_undone"] else ""
            times = f"  {row['count']} times" if row["count"] > 1 else ""
            yield f"{visible(row['path'], BLOCK)}  {', '.join(row['how'])}{times}{undone}  {agent}"
        elif what == "commands":
            yield f"{_clock({'start_at': row['at']})}  {visible(row['tool'], NAME)}  {agent}{'' if row['ok'] else '  FAILED'}"
            yield from (f"   │ {line}" for line in visible_block(row["text"].strip("\n"), BLOCK).split("\n"))
        else:
            failed = f", {row['failed']} failed" if row["failed"] else ""
            known = {"address": "an address in its calls", "attribute": "its spans", "provider": "its models"}
            basis = known.get(row["basis"], "the name of its tool")
            local = "  this machine" if row["is_local"] else ""
            yield f"{visible(row['name'], NAME)}  {row['count']} calls{failed}{local}  known by {basis}  {agent}"
    if not rows:
        words = {"files": "no change of a file", "commands": "no command", "systems": "no system outside"}
        yield f"{words[what]} is seen in what was recorded"
    if found["left_out"]:
        yield f"and {found['left_out']} more that are not listed"


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
    elif span["attributes"].get("cost_unknown"):
        parts.append("cost unknown")
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
    unknown = sum(bool(span["attributes"].get("cost_unknown")) for span in own)
    if cost or unknown:
        parts.append(
            (usd_text(cost) if cost else "cost unknown")
            + (f" and {unknown} calls of unknown price" if unknown and cost else "")
        )
    folded = sum(int(span["attributes"].get("folded", 0)) for span in own)
    if folded:
        parts.append(f"{folded} spans of the framework folded")
    return ", ".join(parts)


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
