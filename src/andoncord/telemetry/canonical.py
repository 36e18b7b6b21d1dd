"""From a span or log record of any telemetry family to the one event record, by the alias table."""

import math
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from andoncord.kernel.money import MICRO_PER_USD, micro_usd
from andoncord.telemetry.aliases import AliasTable, NumberedMessages, SpanKind
from andoncord.telemetry.event import EventKind, Scalar
from andoncord.telemetry.messages import as_text, input_messages, instructions_text, said_text, tool_text
from andoncord.telemetry.plans import (
    EXTRA,
    FIELD,
    IGNORED,
    MAX_EXTRA,
    MAX_NAME,
    NUMBERED,
    SCORED,
    SHORT,
    PairReader,
    Slot,
    scalar,
)
from andoncord.telemetry.raw import Attributes, RawLog, RawSpan, Read

MAX_TEXT = 32_768
"""Characters kept of each text of an event. What was cut is said in `attributes['cut']`."""
MAX_TASK = 1_024
"""Characters kept of a task."""
MAX_SCORES = 50
"""Scores in the attributes of one span."""
SCORES = "scores"
"""Among the fields of a span, beside those of its event: the events of what evaluators said of it."""
MAX_KEYS = 4_096
"""Attribute names remembered with what becomes of them; the rest is looked up piece by piece."""
MAX_COUNT = 2**53
"""Counts above this are not counts."""
MAX_MICRO_USD = 10**9 * MICRO_PER_USD
"""A step that costs more than this is a broken emitter, not a cost."""

FAILED = 2
"""OTLP's status code for an error."""

_PREFIXES = tuple(
    f"{operation} "
    for operation in (
        "execute_tool",
        "execute_task",
        "invoke_agent",
        "invoke_workflow",
        "chat",
        "embeddings",
        "generate_content",
        "text_completion",
    )
)
_SPAN_KINDS = {
    ("model", True): EventKind.MODEL_COMPLETED,
    ("model", False): EventKind.MODEL_FAILED,
    ("tool", True): EventKind.TOOL_COMPLETED,
    ("tool", False): EventKind.TOOL_FAILED,
    ("agent", True): EventKind.AGENT_INVOKED,
    ("agent", False): EventKind.AGENT_INVOKED,
    ("other", True): EventKind.OTHER,
    ("other", False): EventKind.OTHER,
}


_EXCEPTION = ("exception.message", "exception.stacktrace")
_SHARED = ("run_id", "session_id", "instance", "system", "environment")
"""Fields that a record takes from its resource where it does not say them itself."""


class Source(msgspec.Struct, frozen=True):
    """What the resource says about all of its records."""

    agent: str
    shared: dict[str, str]
    short: dict[str, Scalar]


class _Spread:
    """One message that comes in many attributes."""

    def __init__(self) -> None:
        self._plain: dict[str, Any] = {}
        self._calls: dict[int, dict[str, Any]] = {}
        self._parts: dict[int, Any] = {}

    def put(self, row: NumberedMessages, rest: str, value: Any) -> None:
        if rest == row.role:
            self._plain["role"] = value
        elif rest == row.content:
            self._plain["content"] = value
        elif row.calls and rest.startswith(row.calls):
            number, _, leaf = rest.removeprefix(row.calls).partition(".")
            name = {row.call_name: "name", row.call_arguments: "arguments"}.get(leaf)
            if name and _is_number(number):
                self._calls.setdefault(int(number), {})[name] = value
        elif row.parts and rest.startswith(row.parts):
            number, _, leaf = rest.removeprefix(row.parts).partition(".")
            if leaf == row.part_text and _is_number(number):
                self._parts[int(number)] = value

    def joined(self) -> dict[str, Any] | None:
        """The message, or None where it says nothing."""
        message = dict(self._plain)
        if self._parts and not message.get("content"):
            message["content"] = [{"type": "text", "text": text} for _, text in sorted(self._parts.items())]
        if self._calls:
            message["tool_calls"] = [call for _, call in sorted(self._calls.items())]
            message.setdefault("content", None)
        return message if "content" in message else None


class Trust:
    """Which agents a sender may speak for (SIG-2)."""

    def __init__(self, globs: tuple[str, ...]) -> None:
        self.is_given = bool(globs)
        """Whether the sender may speak for anybody."""
        self._globs = globs
        self._known: dict[str, bool] = {}

    def covers(self, agent: str) -> bool:
        known = self._known.get(agent)
        if known is None:
            known = self._known[agent] = bool(agent) and any(fnmatchcase(agent, glob) for glob in self._globs)
        return known


class Canon:
    """Applies one alias table. Holds no state beyond the compiled table, and what it has read of attributes that come again."""

    def __init__(self, table: AliasTable) -> None:
        index = table.field_index()
        self._kinds = [(row.attribute, dict(row.values)) for row in table.kinds]
        self._presence = [(row.attribute, row.kind) for row in table.kind_by_presence]
        self._numbered = [(row, index.get(f"{row.prefix}*", (row.field, 1_000))[1]) for row in table.numbered_messages]
        self._inside = table.inside
        self._holders = frozenset(row.attribute for row in table.inside)
        self._numbered_prefixes = tuple(row.prefix for row in table.numbered_messages)
        self._scores = table.numbered_scores
        self._score_prefixes = tuple(row.prefix for row in table.numbered_scores)
        self._events = table.events
        self._passed, self._failed = table.passed_labels, table.failed_labels
        self._slots: dict[str, Slot] = {name: (IGNORED, "", 0) for name, _ in (*self._kinds, *self._presence)}
        self._slots |= {name: (SHORT, short, 0) for name, short in table.short.items()}
        self._slots |= {name: (FIELD, field, rank) for name, (field, rank) in index.items()}
        self.read_pairs = PairReader(
            learn=lambda name: self._slots.get(name) or self._learn(name),
            kinds=self._kinds,
            presence=self._presence,
            holders=self._holders,
            otherwise=self.read,
        ).read
        """As `read`, of attributes as they are written in protobuf."""

    def source(self, attributes: Attributes) -> Source:
        """Read a resource once for all of its records."""
        fields, short = self._read(attributes)
        shared = {name: _name(value) for name in _SHARED if (value := fields.get(name))}
        return Source(agent=_name(fields.get("agent", "")), shared=shared, short=short)

    def span(self, raw: RawSpan, source: Source, received_ns: int) -> dict[str, Any]:
        """The fields of the event that a span stands for. `agent` is empty where the span itself does not say."""
        attributes = raw.attributes
        fields, extra, kind = self.read(attributes) if isinstance(attributes, dict) else attributes
        event = self._base(fields, extra, source, received_ns)
        error_type = fields.get("error_type", "")
        ok = raw.status_code != FAILED and not error_type
        if not ok:
            event["ok"] = False
            event["error_type"] = _name(error_type or raw.exception_type or "_OTHER")
            if raw.status_message:
                extra["status_message"] = raw.status_message[: MAX_NAME * 2]
        event["kind"] = _SPAN_KINDS[kind, ok]
        event["trace_id"], event["span_id"], event["parent_span_id"] = raw.trace_id, raw.span_id, raw.parent_span_id
        event["start_ns"], event["end_ns"] = raw.start_ns, raw.end_ns
        if kind == "agent" and not event["agent"]:
            event["agent"] = _name(fields.get("entity", ""))
        event["name"] = _name(self._span_name(kind, fields, event["agent"], raw.name))
        _texts(event, fields, kind, extra)
        _usage(event, fields, kind, extra)
        if SCORES in fields:
            event[SCORES] = self._scored(event, fields[SCORES])
        return event

    def log(self, raw: RawLog, source: Source, received_ns: int) -> dict[str, Any]:
        """The fields of the event that a log record stands for."""
        attributes = raw.attributes
        fields, extra = self._read(attributes)
        name = raw.event_name or as_text(fields.get("event_name", ""))
        kind = self._events.get(name, EventKind.OTHER)
        event = self._base(fields, extra, source, received_ns)
        event["kind"] = kind
        event["trace_id"], event["span_id"] = raw.trace_id, raw.span_id
        if kind is EventKind.OTHER:
            # It hangs on the span it was written in and is not that span, nor another record of it.
            event["span_id"], event["parent_span_id"] = "", raw.span_id
        event["start_ns"] = event["end_ns"] = raw.at_ns
        event["name"] = _name(self._log_name(kind, fields, name))
        if kind is EventKind.RUN_ENDED:
            event["ok"] = extra.pop("run_ok", True) is not False
        elif kind is EventKind.GUARD_DENIED:
            event["ok"] = False
        elif kind is EventKind.QUALITY_SCORED:
            self._score(event, fields, extra)
        elif kind is EventKind.OTHER:
            if raw.body is not None:
                fields.setdefault("output", raw.body)
            if "error_type" in fields:
                # An exception, logged: what it said is worth more than the line it was logged with.
                event["ok"], event["error_type"] = False, _name(fields["error_type"])
                event["name"] = event["name"] or event["error_type"]
                said = [as_text(raw.attributes[key]) for key in _EXCEPTION if raw.attributes.get(key)]
                fields["output"] = "\n".join(said) or fields.get("output")
        _texts(event, fields, "tool" if "arguments" in fields else "other", extra)
        _usage(event, fields, "other", extra)
        return event

    def read(self, attributes: Attributes) -> Read:
        """What the attributes of a span come to."""
        fields, extra = self._read(attributes)
        return fields, extra, self._kind(attributes)

    def _read(self, attributes: Attributes) -> tuple[Attributes, dict[str, Scalar]]:
        """Split attributes into fields (best alias wins) and what is kept beside them."""
        slot_of = self._slots.get
        fields: Attributes = {}
        ranks: dict[str, int] = {}
        extra: dict[str, Scalar] = {}
        numbered: list[tuple[str, Any]] = []
        for key, value in attributes.items():
            if value is None:
                continue
            becomes, name, rank = slot_of(key) or self._learn(key)
            if becomes == FIELD:
                if value != "" and (name not in fields or rank < ranks.get(name, 0)):
                    fields[name] = value
                    if rank or name in ranks:
                        ranks[name] = rank
            elif becomes == IGNORED:
                pass
            elif becomes == NUMBERED:
                numbered.append((key, value))
            elif becomes == SCORED:
                fields.setdefault(SCORES, {})[key] = value
            elif name not in extra and (becomes == SHORT or len(extra) < MAX_EXTRA):
                extra[name] = value if type(value) is str and len(value) <= MAX_NAME else scalar(value)
        if numbered:
            self._join_numbered(numbered, fields, ranks)
        if not self._holders.isdisjoint(attributes):
            self._look_inside(attributes, fields)
        return fields, extra

    def _learn(self, key: str) -> Slot:
        """What becomes of an attribute that the table does not name."""
        slot: Slot = (EXTRA, key[:MAX_NAME], 0)
        if key.startswith(self._numbered_prefixes):
            slot = (NUMBERED, "", 0)
        elif key.startswith(self._score_prefixes):
            slot = (SCORED, "", 0)
        if len(self._slots) < MAX_KEYS and len(key) <= MAX_NAME:
            self._slots[key] = slot
        return slot

    def _join_numbered(self, numbered: list[tuple[str, Any]], fields: Attributes, ranks: dict[str, int]) -> None:
        for row, rank in self._numbered:
            if rank >= ranks.get(row.field, 0 if row.field in fields else 1_001):
                continue
            messages: dict[int, _Spread] = {}
            for key, value in numbered:
                number, _, rest = key.removeprefix(row.prefix).partition(".")
                if key.startswith(row.prefix) and _is_number(number):
                    messages.setdefault(int(number), _Spread()).put(row, rest, value)
            said = [joined for _, message in sorted(messages.items()) if (joined := message.joined())]
            if said:
                fields[row.field] = said
                ranks[row.field] = rank

    def _look_inside(self, attributes: Attributes, fields: Attributes) -> None:
        for row in self._inside:
            if row.attribute in attributes and row.field not in fields:
                value = _member(attributes[row.attribute], row.key)
                if value is not None and value != "":
                    fields[row.field] = value

    def _kind(self, attributes: Attributes) -> SpanKind:
        for name, values in self._kinds:
            value = attributes.get(name)
            if isinstance(value, str):
                kind = values.get(value) or values.get(value.strip('"'))
                if kind is not None:
                    return kind
        for name, kind in self._presence:
            if name in attributes:
                return kind
        return "other"

    def _base(self, fields: Attributes, extra: dict[str, Scalar], source: Source, received_ns: int) -> dict[str, Any]:
        """What spans and log records share."""
        event: dict[str, Any] = {
            **source.shared,
            "agent": _name(fields.get("agent", "")),
            "received_ns": received_ns,
            "attributes": extra,
        }
        for short, value in source.short.items():
            if short not in extra:
                extra[short] = value
        for name in _SHARED:
            if name in fields:
                event[name] = _name(fields[name])
        if "task" in fields:
            event["task"] = as_text(fields["task"])[:MAX_TASK]
        return event

    @staticmethod
    def _span_name(kind: SpanKind, fields: Attributes, agent: str, span_name: str) -> Any:
        if kind == "tool":
            named = fields.get("tool") or fields.get("entity")
        elif kind == "model":
            named = fields.get("model")
        else:
            named = agent if kind == "agent" else None
        if named:
            return named
        for prefix in _PREFIXES:
            if span_name.startswith(prefix):
                return span_name[len(prefix) :]
        return span_name

    @staticmethod
    def _log_name(kind: EventKind, fields: Attributes, event_name: str) -> Any:
        if kind is EventKind.QUALITY_SCORED:
            return fields.get("evaluator", "")
        if kind is EventKind.CHANGE_MADE:
            return fields.get("change_kind", "")
        return event_name if kind is EventKind.OTHER else fields.get("tool") or fields.get("model", "")

    def _scored(self, span: dict[str, Any], given: Attributes) -> list[dict[str, Any]]:
        """The fields of the scores that a span carries in its attributes, each an event of its own at the end of the span."""
        found: dict[tuple[str, int], dict[str, Any]] = {}
        for key, value in given.items():
            for row in self._scores:
                number, _, rest = key.removeprefix(row.prefix).partition(".")
                if key.startswith(row.prefix) and _is_number(number):
                    field = {row.name: "name", row.score: "score", row.label: "label"}.get(rest)
                    if field is not None:
                        found.setdefault((row.prefix, int(number)), {})[field] = value
        kept = {name: span[name] for name in ("agent", "received_ns", "trace_id", "span_id", *_SHARED) if name in span}
        scores: list[dict[str, Any]] = []
        for said in [found[key] for key in sorted(found)][:MAX_SCORES]:
            over_ns = span["end_ns"] or span["start_ns"]
            extra: dict[str, Scalar] = {}
            event = {**kept, "kind": EventKind.QUALITY_SCORED, "start_ns": over_ns, "end_ns": over_ns, "attributes": extra}
            event["name"] = _name(said.get("name", ""))
            self._score(event, said, extra)
            scores.append(event)
        return scores

    def _score(self, event: dict[str, Any], fields: Attributes, extra: dict[str, Scalar]) -> None:
        score = fields.get("score")
        if score is not None:
            number = _number(score)
            if number is None:
                _malformed(extra, "score")
            else:
                event["score"] = number
        label = as_text(fields.get("label", "")).lower()
        if label in self._passed:
            event["passed"] = True
        elif label in self._failed:
            event["passed"] = False
        elif label:
            extra["label"] = label[:MAX_NAME]


def finish(drafts: list[dict[str, Any]], trust: Trust) -> None:
    """Say of drafts whose agent and run are settled which are trusted, and put them in the order in which they were over."""
    if trust.is_given:
        for draft in drafts:
            draft["trusted"] = trust.covers(draft["agent"])
    drafts.sort(key=_over)


def _over(draft: dict[str, Any]) -> int:
    return int(draft["end_ns"] or draft["start_ns"])


def _texts(event: dict[str, Any], fields: Attributes, kind: SpanKind, extra: dict[str, Scalar]) -> None:
    """Arguments and result of a tool call; of everything else what went in and what came out."""
    given, said = fields.get("input"), fields.get("output")
    if kind == "tool":
        arguments, result = fields.get("arguments", given), fields.get("result", said)
        if arguments is None:
            arguments = fields.get("parameters")
        if arguments is not None:
            _put(event, extra, "arguments", tool_text(arguments))
        if result is not None:
            _put(event, extra, "result", tool_text(result))
        return
    orders = ""
    if given is not None:
        texts, orders = input_messages(given)
        _put(event, extra, "input_text", "\n".join(texts))
        if len(texts) > 1:
            extra["first_input_chars"] = len(texts[0])
    if said is not None:
        _put(event, extra, "output_text", said_text(said))
    instructions = fields.get("instructions")
    if instructions is not None:
        told = instructions_text(instructions) if isinstance(instructions, str) else said_text(instructions)
        _put(event, extra, "instructions", told)
    elif orders:
        _put(event, extra, "instructions", orders)


def _put(event: dict[str, Any], extra: dict[str, Scalar], name: str, text: str) -> None:
    """Set a text; where it is too long, its beginning, and say so."""
    if len(text) > MAX_TEXT:
        cut = f"{name}: {len(text)} → {MAX_TEXT} characters"
        known = extra.get("cut")
        extra["cut"] = f"{known}; {cut}" if known else cut
        text = text[:MAX_TEXT]
    event[name] = text


def _usage(event: dict[str, Any], fields: Attributes, kind: SpanKind, extra: dict[str, Scalar]) -> None:
    """Tokens and cost; on anything but a model call they are a sum over its children and count as an attribute only."""
    own = kind == "model"
    for name in ("input_tokens", "output_tokens"):
        if name in fields:
            value = fields[name]
            count = value if type(value) is int and 0 <= value <= MAX_COUNT else _count(value)
            if count is None:
                _malformed(extra, name)
            elif own:
                event[name] = count
            else:
                extra[f"total_{name}"] = count
    if "cost_usd" in fields:
        amount = _micro_usd(fields["cost_usd"])
        if amount is None:
            _malformed(extra, "cost_usd")
        elif own:
            event["cost_micro_usd"] = amount
            if not amount:
                # Nothing is a price too: it is not looked up again.
                extra["cost_from"] = "emitter"
        else:
            extra["total_cost_micro_usd"] = amount


def _malformed(extra: dict[str, Scalar], field: str) -> None:
    known = extra.get("malformed")
    extra["malformed"] = f"{known}, {field}" if known else field


def _name(value: Any) -> str:
    return value[:MAX_NAME] if isinstance(value, str) else as_text(value)[:MAX_NAME]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 6


def _member(value: Any, key: str) -> Any:
    """What `key` holds in an attribute that is an object, or the JSON text of one."""
    if isinstance(value, str):
        if not value.startswith("{") or f'"{key}"' not in value:
            return None
        try:
            value = msgspec.json.decode(value)
        except (msgspec.DecodeError, RecursionError):
            return None
    return value.get(key) if isinstance(value, dict) else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return int(number) if number is not None and 0 <= number <= MAX_COUNT else None


def _micro_usd(value: Any) -> int | None:
    number = _number(value)
    if number is None or not 0 <= number <= MAX_MICRO_USD / MICRO_PER_USD:
        return None
    return micro_usd(number)


def _number(value: Any) -> float | int | None:
    """A finite number, also when it came as text; None for anything else."""
    if isinstance(value, str):
        try:
            value = float(value) if len(value) <= 32 else None
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None
