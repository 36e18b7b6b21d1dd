"""OTLP in: bodies of trace, log and metric exports, JSON or protobuf, as events.

Never raises: what cannot be read is rejected with its place. An exporter retries on errors, so one bad span must not reject its
batch: each record is judged alone, and `Decoded.seen` balances against events plus rejections (SIG-7).
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import msgspec

from andoncord.kernel.time import DAY_NS, SECOND_NS
from andoncord.telemetry import otlp_json, otlp_metrics, otlp_protobuf
from andoncord.telemetry.aliases import default_table
from andoncord.telemetry.batch import Encoding, Signal
from andoncord.telemetry.block import Block
from andoncord.telemetry.canonical import SCORES, Canon, Source, Trust, finish
from andoncord.telemetry.event import CLOCK_SKEW, CLOCK_TOLERANCE_NS, Event
from andoncord.telemetry.raw import BAD_TIMESTAMP, MALFORMED, TOO_MANY, Bad, Batches, RawLog, RawSpan, Unreadable
from andoncord.telemetry.stitch import settle

MAX_RECORDS = 100_000
"""Spans or log records read of one body; the rest is rejected as `too_many`."""
MAX_FUTURE_NS = DAY_NS
"""How far ahead of the time of receipt a record may claim to be. Further ahead it would drag every time window with it."""
MAX_DETAIL = 300
"""Characters of a rejection's detail."""


class Rejection(msgspec.Struct, frozen=True, kw_only=True):
    """Records that were not taken, for one reason."""

    reason: str
    """malformed, no_ids, bad_timestamp, wrong_type, too_many or not_genai."""
    detail: str
    """The place and complaint of the first of them."""
    count: int


class Decoded(msgspec.Struct, frozen=True, kw_only=True):
    """What was in a body: `seen` records, each an event or counted in a rejection."""

    events: tuple[Event, ...] = ()
    rejected: tuple[Rejection, ...] = ()
    seen: int = 0
    block: Block | None = None
    """The events packed, where whoever read the body has done so; then they have their price too."""


class Drafted(msgspec.Struct, frozen=True, kw_only=True):
    """What was in a body, the events as the fields that are not at their default, in the order in which they were over."""

    drafts: list[dict[str, Any]]
    rejected: tuple[Rejection, ...]
    seen: int

    def decoded(self) -> Decoded:
        """The same, as events."""
        return Decoded(events=tuple([Event(**draft) for draft in self.drafts]), rejected=self.rejected, seen=self.seen)


def draft(
    body: bytes, *, signal: Signal, encoding: Encoding, received_ns: int, trusted_agents: tuple[str, ...] = ()
) -> Drafted:
    """Read a body of any signal and encoding; arguments as in `decode_traces_json`."""
    canon = _canon()
    if signal is Signal.TRACES:
        is_binary = encoding is Encoding.PROTOBUF
        batches = otlp_protobuf.traces(body, canon.read_pairs) if is_binary else otlp_json.traces(body)
        return _draft(batches, canon.span, received_ns, trusted_agents)
    if signal is Signal.LOGS:
        logs = otlp_protobuf.logs if encoding is Encoding.PROTOBUF else otlp_json.logs
        return _draft(logs(body, received_ns), canon.log, received_ns, trusted_agents)
    metrics = otlp_metrics.from_protobuf if encoding is Encoding.PROTOBUF else otlp_metrics.from_json
    return _draft(metrics(body, received_ns), canon.log, received_ns, trusted_agents)


def decode_traces_json(body: bytes, *, received_ns: int, trusted_agents: tuple[str, ...] = ()) -> Decoded:
    """Decode an `ExportTraceServiceRequest` in OTLP/JSON, decompressed.

    Args:
        body: camelCase (the standard) or snake_case names; 64-bit integers as decimal strings or numbers; ids in hexadecimal.
        received_ns: when it came, for the check of the emitter's clock; 0 for a file, which skips the check.
        trusted_agents: globs of agent names the sender's token covers; events of other agents are not trusted.

    >>> body = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": "x"}]}]}]}'
    >>> decode_traces_json(body, received_ns=0).rejected[0].detail
    '$.resourceSpans[0].scopeSpans[0].spans[0].traceId: expected 32 hexadecimal digits, not all zero'
    """
    return draft(
        body, signal=Signal.TRACES, encoding=Encoding.JSON, received_ns=received_ns, trusted_agents=trusted_agents
    ).decoded()


def decode_traces_protobuf(body: bytes, *, received_ns: int, trusted_agents: tuple[str, ...] = ()) -> Decoded:
    """Like `decode_traces_json`, for the protobuf encoding."""
    return draft(
        body, signal=Signal.TRACES, encoding=Encoding.PROTOBUF, received_ns=received_ns, trusted_agents=trusted_agents
    ).decoded()


def decode_logs_json(body: bytes, *, received_ns: int, trusted_agents: tuple[str, ...] = ()) -> Decoded:
    """Decode an `ExportLogsServiceRequest` in OTLP/JSON; arguments as in `decode_traces_json`."""
    return draft(
        body, signal=Signal.LOGS, encoding=Encoding.JSON, received_ns=received_ns, trusted_agents=trusted_agents
    ).decoded()


def decode_logs_protobuf(body: bytes, *, received_ns: int, trusted_agents: tuple[str, ...] = ()) -> Decoded:
    """Like `decode_logs_json`, for the protobuf encoding."""
    return draft(
        body, signal=Signal.LOGS, encoding=Encoding.PROTOBUF, received_ns=received_ns, trusted_agents=trusted_agents
    ).decoded()


def decode_metrics_json(body: bytes, *, received_ns: int, trusted_agents: tuple[str, ...] = ()) -> Decoded:
    """Decode an `ExportMetricsServiceRequest` in OTLP/JSON; arguments as in `decode_traces_json`."""
    return draft(
        body, signal=Signal.METRICS, encoding=Encoding.JSON, received_ns=received_ns, trusted_agents=trusted_agents
    ).decoded()


def decode_metrics_protobuf(body: bytes, *, received_ns: int, trusted_agents: tuple[str, ...] = ()) -> Decoded:
    """Like `decode_metrics_json`, for the protobuf encoding."""
    return draft(
        body, signal=Signal.METRICS, encoding=Encoding.PROTOBUF, received_ns=received_ns, trusted_agents=trusted_agents
    ).decoded()


@cache
def _canon() -> Canon:
    return Canon(default_table())


class _Ledger:
    """Counts what was seen and why records were not taken."""

    def __init__(self, received_ns: int) -> None:
        self.seen = 0
        self._latest_ns = received_ns + MAX_FUTURE_NS if received_ns else 0
        self._rejected: dict[str, tuple[str, int]] = {}

    def takes(self, record: RawSpan | RawLog | Bad) -> bool:
        """Count a record; whether it may go on."""
        if isinstance(record, Bad):
            self.seen += record.count
            self._reject(record)
            return False
        self.seen += 1
        if self.seen > MAX_RECORDS:
            self._reject(Bad(TOO_MANY, f"more than {MAX_RECORDS} records in one body: send smaller batches"))
        elif self._latest_ns and record.at_ns > self._latest_ns:
            self._reject(Bad(BAD_TIMESTAMP, f"{record.at_ns} is more than a day ahead of us: check the emitter's clock"))
        else:
            return True
        return False

    def _reject(self, bad: Bad) -> None:
        detail, count = self._rejected.get(bad.reason, (bad.detail[:MAX_DETAIL], 0))
        self._rejected[bad.reason] = detail, count + bad.count

    def rejections(self) -> tuple[Rejection, ...]:
        return tuple(Rejection(reason=reason, detail=detail, count=count) for reason, (detail, count) in self._rejected.items())


def _draft(
    batches: Batches, read: Callable[[Any, Source, int], dict[str, Any]], received_ns: int, globs: tuple[str, ...]
) -> Drafted:
    canon, ledger = _canon(), _Ledger(received_ns)
    drafts: list[dict[str, Any]] = []
    fallbacks: list[str] = []
    try:
        for resource, records in batches:
            source = canon.source(resource)
            for record in records:
                if ledger.takes(record):
                    fields = read(record, source, received_ns)
                    scores = fields.pop(SCORES, ())
                    ahead_ns = (fields["end_ns"] or fields["start_ns"]) - received_ns
                    if received_ns and ahead_ns > CLOCK_TOLERANCE_NS:
                        fields["attributes"][CLOCK_SKEW] = round(ahead_ns / SECOND_NS, 1)
                    drafts.append(fields)
                    fallbacks.append(source.agent)
                    if scores:
                        ledger.seen += len(scores)
                        drafts += scores
                        fallbacks += [source.agent] * len(scores)
    except Unreadable as unreadable:
        ledger.takes(Bad(MALFORMED, str(unreadable)))
    settle(drafts, fallbacks)
    finish(drafts, Trust(globs))
    return Drafted(drafts=drafts, rejected=ledger.rejections(), seen=ledger.seen)
