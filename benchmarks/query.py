"""How fast stored telemetry is read back: one trace, one agent's last day, and the p95 of every agent over a day."""

import os
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from andoncord.adapters.parquet.reader import ParquetTelemetryReader
from andoncord.adapters.parquet.writer import ParquetTelemetryWriter
from andoncord.kernel.time import DAY_NS
from andoncord.telemetry.batch import event_key
from andoncord.telemetry.event import Event, EventKind
from benchmarks.result import Result, quantile

SPANS = 1_000_000
SPANS_PER_AGENT_DAY = 1_430
DAYS = 7
SPANS_PER_TRACE = 8
SPANS_PER_RECORD = 2_048
BASELINE_SPANS = 1_000_000
START_NS = 1_767_225_600_000_000_000
TRACES, AGENTS, ROUNDS = 40, 20, 5
"""Questions of each kind."""


def run(spans: int = SPANS, baseline_spans: int = BASELINE_SPANS) -> Result:
    """Store spans as the worker does, then ask through the reader, in the same process, with nothing else running.

    Args:
        spans: how many; 10 000 000 is the long form.
        baseline_spans: how many of them also go into a SQLite table with the usual two indexes.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        began, cpu = time.perf_counter(), time.process_time()
        fill(home, spans)
        wall, cpu = time.perf_counter() - began, time.process_time() - cpu
        reader = ParquetTelemetryReader(home / "telemetry.db")
        storage = reader.storage()
        assert storage.events == spans, (storage.events, spans)
        chance, end_ns = random.Random(7), START_NS + DAYS * DAY_NS
        agents = [f"agent-{number}" for number in chance.choices(range(agents_of(spans)), k=AGENTS)]
        traces = [trace_id(number) for number in chance.choices(range(spans // SPANS_PER_TRACE), k=TRACES)]
        figures = {
            "trace_ms_p50": measured(lambda each: len(reader.trace(each)), traces, at_least=SPANS_PER_TRACE),
            "agent_day_ms_p50": measured(
                lambda each: len(reader.of_agents([each], since_ns=end_ns - DAY_NS, until_ns=end_ns, limit=20_000)),
                agents,
                at_least=SPANS_PER_AGENT_DAY // 2,
            ),
            "p95_by_agent_ms_p50": measured(
                lambda _: len(reader.series((), since_ns=end_ns - DAY_NS, until_ns=end_ns, step_ns=2 * DAY_NS)),
                range(ROUNDS),
                at_least=agents_of(spans),
            ),
            "bytes_per_span": sum(path.stat().st_size for path in (home / "segments").iterdir() if path.is_file()) / spans,
            "stored_spans_per_s": spans / wall,
            "stored_spans_per_cpu_s": spans / cpu,
            "segments": storage.segments,
        }
        reader.close()
    rows = min(spans, baseline_spans)
    with tempfile.TemporaryDirectory() as folder:
        baselines = sqlite_table(Path(folder) / "spans.db", rows)
    return Result(
        figures=figures,
        baselines=baselines,
        notes=(
            f"{spans:,} spans of {agents_of(spans)} agents over {DAYS} days, {SPANS_PER_TRACE} to a trace.",
            f"{raw_bytes():.0f} bytes each as JSON.",
            f"All of them are in segments, and those in the page cache; {os.cpu_count()} cores.",
            f"A trace, and {SPANS_PER_AGENT_DAY} events of an agent's last day, come back as whole events.",
            f"The baseline is one SQLite table with {rows:,} of the spans, indexed by trace and by agent and time.",
        ),
    )


def agents_of(spans: int) -> int:
    """So many agents that each has the same number of spans a day, however many spans there are."""
    return max(1, spans // (SPANS_PER_AGENT_DAY * DAYS))


def trace_id(number: int) -> str:
    """Trace ids as random as real ones."""
    return f"{random.Random(number).getrandbits(128):032x}"


def events(spans: int) -> Iterator[Event]:
    """Spans in the order of their time; equal counts make equal spans."""
    chance = random.Random(3)
    words = ["".join(chance.choices("abcdefghiklmnoprstuvw", k=chance.randint(2, 9))) for _ in range(3_000)]
    text = " ".join(chance.choices(words, k=60_000))
    step_ns = DAYS * DAY_NS // spans
    trace, agents = "", agents_of(spans)
    for number in range(spans):
        if number % SPANS_PER_TRACE == 0:
            trace, agent = trace_id(number // SPANS_PER_TRACE), chance.randrange(agents)
        at_ns = START_NS + number * step_ns
        cut = chance.randrange(len(text) - 1_000)
        is_model = number % 2 == 0
        yield Event(
            kind=EventKind.MODEL_COMPLETED if is_model else EventKind.TOOL_COMPLETED,
            trace_id=trace,
            span_id=f"{chance.getrandbits(64):016x}",
            run_id=trace,
            agent=f"agent-{agent}",
            instance=f"host-{agent % 7}",
            system="bench",
            name="small-1" if is_model else "orders.lookup",
            start_ns=at_ns - chance.randrange(1_000_000, 900_000_000),
            end_ns=at_ns,
            received_ns=at_ns,
            input_tokens=chance.randrange(4_000) if is_model else 0,
            input_text=text[cut : cut + 300] if is_model else "",
            arguments="" if is_model else text[cut : cut + 120],
            output_text=text[cut + 300 : cut + 500] if is_model else "",
            result="" if is_model else text[cut + 120 : cut + 500],
        )


def raw_bytes() -> float:
    """Bytes of a span as JSON."""
    sample = list(events(1_000))
    return sum(len(msgspec.json.encode(event)) for event in sample) / len(sample)


def groups(spans: int) -> Iterator[list[Event]]:
    """The spans in groups as the worker records them."""
    group: list[Event] = []
    for event in events(spans):
        group.append(event)
        if len(group) == SPANS_PER_RECORD:
            yield group
            group = []
    if group:
        yield group


def fill(home: Path, spans: int) -> None:
    """Record the spans, and move them to segments as they become due, and the rest at the end."""
    writer = ParquetTelemetryWriter(home / "telemetry.db")
    for seq, group in enumerate(groups(spans), start=1):
        fresh = writer.unknown([(event_key(event), event) for event in group])
        writer.record(seq=seq, events=fresh, findings=(), beats=(), ledger=(), now_ns=0)
        writer.settle(now_ns=0)
    while writer.settle(now_ns=0, everything=True) or writer.compact(now_ns=0):
        pass
    writer.sweep(now_ns=2**62)
    writer.close()


def measured(ask: Callable[[Any], int], questions: Sequence[Any], *, at_least: int) -> float:
    """Median milliseconds of an answer, after one that does not count; an answer that is too short is no answer."""
    ask(questions[0])
    waits = []
    for question in questions:
        began = time.perf_counter()
        found = ask(question)
        waits.append((time.perf_counter() - began) * 1_000)
        assert found >= at_least, (question, found)
    return quantile(waits, 0.5)


def sqlite_table(path: Path, spans: int) -> dict[str, float]:
    """The same questions to a table of rows."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.executescript(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
        "CREATE TABLE spans (key BLOB, trace_id TEXT, agent TEXT, at_ns INTEGER, duration_ns INTEGER, json BLOB);"
        "CREATE INDEX by_trace ON spans (trace_id); CREATE INDEX by_agent ON spans (agent, at_ns);"
    )
    for group in groups(spans):
        connection.execute("BEGIN")
        connection.executemany(
            "INSERT INTO spans VALUES (?, ?, ?, ?, ?, ?)",
            [(event_key(e), e.trace_id, e.agent, e.at_ns, e.end_ns - e.start_ns, msgspec.json.encode(e)) for e in group],
        )
        connection.execute("COMMIT")
    chance, end_ns = random.Random(7), START_NS + DAYS * DAY_NS
    agents = [f"agent-{number}" for number in chance.choices(range(agents_of(spans)), k=AGENTS)]
    traces = [trace_id(number) for number in chance.choices(range(spans // SPANS_PER_TRACE), k=TRACES)]
    decode = msgspec.json.Decoder(Event).decode

    def rows(where: str, *parameters: object) -> int:
        return len([decode(row[0]) for row in connection.execute(f"SELECT json FROM spans WHERE {where}", parameters)])

    def p95(_: int) -> int:
        return len(
            connection.execute(
                "SELECT agent, min(duration_ns) FROM (SELECT agent, duration_ns, percent_rank() OVER"
                " (PARTITION BY agent ORDER BY duration_ns) AS rank FROM spans WHERE at_ns BETWEEN ? AND ?)"
                " WHERE rank >= 0.95 GROUP BY agent",
                (end_ns - DAY_NS, end_ns),
            ).fetchall()
        )

    figures = {
        "sqlite_trace_ms_p50": measured(lambda each: rows("trace_id = ?", each), traces, at_least=SPANS_PER_TRACE),
        "sqlite_agent_day_ms_p50": measured(
            lambda each: rows("agent = ? AND at_ns BETWEEN ? AND ?", each, end_ns - DAY_NS, end_ns),
            agents,
            at_least=SPANS_PER_AGENT_DAY // 2,
        ),
        "sqlite_p95_by_agent_ms_p50": measured(p95, range(ROUNDS), at_least=agents_of(spans)),
        "sqlite_bytes_per_span": path.stat().st_size / spans,
    }
    connection.close()
    return figures
