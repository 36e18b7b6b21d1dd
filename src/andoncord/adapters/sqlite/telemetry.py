"""Telemetry in SQLite: the ingest log, and what was read out of it.

The ingest worker is the only writer; the control process reads. The log is appended to durably, because a sender is told so;
everything else is written without waiting for the disk, since it can be read out of the log again.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from threading import Lock

import msgspec

from andoncord.adapters.sqlite.connection import connect, transaction
from andoncord.detect.finding import Finding
from andoncord.telemetry.batch import Batch, Beat, Encoding, LedgerLine, Signal, event_key
from andoncord.telemetry.event import Event

KEYS_PER_QUERY = 500
EVENTS_PER_PAGE = 2_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS ingest_log (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    received_ns INTEGER NOT NULL,
    signal TEXT NOT NULL,
    encoding TEXT NOT NULL,
    trusted_agents TEXT NOT NULL,
    body_gz BLOB NOT NULL,
    sha256 TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key BLOB NOT NULL UNIQUE,
    trace_id TEXT NOT NULL,
    span_id TEXT NOT NULL,
    agent TEXT NOT NULL,
    kind TEXT NOT NULL,
    run_id TEXT NOT NULL,
    at_ns INTEGER NOT NULL,
    received_ns INTEGER NOT NULL,
    json BLOB NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS events_trace ON events (trace_id);
CREATE INDEX IF NOT EXISTS events_agent ON events (agent, at_ns);
CREATE TABLE IF NOT EXISTS findings (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    stored_ns INTEGER NOT NULL,
    json BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS beats (
    agent TEXT NOT NULL,
    instance TEXT NOT NULL,
    trusted INTEGER NOT NULL,
    json BLOB NOT NULL,
    PRIMARY KEY (agent, instance, trusted)
) STRICT;
CREATE TABLE IF NOT EXISTS ledger (
    signal TEXT NOT NULL,
    outcome TEXT NOT NULL,
    reason TEXT NOT NULL,
    count INTEGER NOT NULL,
    PRIMARY KEY (signal, outcome, reason)
) STRICT;
CREATE TABLE IF NOT EXISTS fleet (
    agent TEXT PRIMARY KEY,
    json BLOB NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS progress (
    name TEXT PRIMARY KEY,
    seq INTEGER NOT NULL
) STRICT;
"""

_LOG_COLUMNS = "seq, received_ns, signal, encoding, trusted_agents, body_gz, sha256"
_READ_OUT = "read_out"


class SqliteTelemetryWriter:
    """The worker's side. `append` and `record` may be called from two threads; a lock keeps their transactions apart."""

    def __init__(self, path: Path) -> None:
        self._log = connect(path, durable=True)
        self._log.executescript(SCHEMA)
        self._store = connect(path, durable=False)
        self._turn = Lock()

    def append(self, batches: Sequence[Batch]) -> tuple[int, ...]:
        """Append to the ingest log in one durable transaction, and return the places they got."""
        with self._turn, transaction(self._log):
            return tuple(self._append_one(batch) for batch in batches)

    def _append_one(self, batch: Batch) -> int:
        cursor = self._log.execute(
            "INSERT INTO ingest_log (received_ns, signal, encoding, trusted_agents, body_gz, sha256) VALUES (?, ?, ?, ?, ?, ?)",
            (
                batch.received_ns,
                batch.signal,
                batch.encoding,
                msgspec.json.encode(batch.trusted_agents).decode(),
                batch.body_gz,
                batch.sha256,
            ),
        )
        assert cursor.lastrowid is not None
        return cursor.lastrowid

    def unread(self, *, limit: int) -> tuple[Batch, ...]:
        """The oldest batches that were appended but not yet recorded."""
        rows = self._store.execute(
            f"SELECT {_LOG_COLUMNS} FROM ingest_log WHERE seq > ? ORDER BY seq LIMIT ?", (self.read_out(), limit)
        ).fetchall()
        return tuple(_batch(row) for row in rows)

    def read_out(self) -> int:
        """The place in the log up to which everything is recorded."""
        row = self._store.execute("SELECT seq FROM progress WHERE name = ?", (_READ_OUT,)).fetchone()
        return int(row[0]) if row else 0

    def appended(self) -> int:
        """The last place in the log; 0 when nothing was ever appended."""
        row = self._store.execute("SELECT seq FROM sqlite_sequence WHERE name = 'ingest_log'").fetchone()
        return int(row[0]) if row else 0

    def unknown(self, keyed: Sequence[tuple[bytes, Event]]) -> list[tuple[bytes, Event]]:
        """Those that are not stored yet, each key once."""
        fresh = dict(reversed(keyed))
        keys = list(fresh)
        for start in range(0, len(keys), KEYS_PER_QUERY):
            part = keys[start : start + KEYS_PER_QUERY]
            marks = ",".join("?" * len(part))
            for (key,) in self._store.execute(f"SELECT key FROM events WHERE key IN ({marks})", part):
                del fresh[key]
        return [(key, event) for key, _ in keyed if (event := fresh.pop(key, None)) is not None]

    def record(
        self,
        *,
        seq: int | None,
        events: Sequence[tuple[bytes, Event]],
        findings: Sequence[Finding],
        beats: Sequence[Beat],
        ledger: Sequence[LedgerLine],
        now_ns: int,
        fleet: Sequence[tuple[str, bytes]] = (),
    ) -> int:
        """Store what one batch held, in one transaction, and return how many findings were new.

        Args:
            seq: the batch's place in the log, which is done with after this; None for findings that came with the clock.
            events: keyed, not stored yet (see `unknown`).
        """
        with self._turn, transaction(self._store):
            encode = msgspec.json.encode
            self._store.executemany(
                "INSERT INTO events (key, trace_id, span_id, agent, kind, run_id, at_ns, received_ns, json)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (key, e.trace_id, e.span_id, e.agent, e.kind, e.run_id, e.at_ns, e.received_ns, encode(e))
                    for key, e in events
                ],
            )
            before = self._store.total_changes
            self._store.executemany(
                "INSERT OR IGNORE INTO findings (id, stored_ns, json) VALUES (?, ?, ?)",
                [(finding.id, now_ns, encode(finding)) for finding in findings],
            )
            new_findings = self._store.total_changes - before
            self._store.executemany(
                "INSERT OR REPLACE INTO beats (agent, instance, trusted, json) VALUES (?, ?, ?, ?)",
                [(beat.agent, beat.instance, int(beat.trusted), encode(beat)) for beat in beats],
            )
            self._store.executemany(
                "INSERT INTO ledger (signal, outcome, reason, count) VALUES (?, ?, ?, ?)"
                " ON CONFLICT (signal, outcome, reason) DO UPDATE SET count = count + excluded.count",
                [(line.signal, line.outcome, line.reason, line.count) for line in ledger],
            )
            self._store.executemany(
                "INSERT OR REPLACE INTO fleet (agent, json) VALUES (?, ?)", [row for row in fleet if row[1]]
            )
            self._store.executemany("DELETE FROM fleet WHERE agent = ?", [(agent,) for agent, body in fleet if not body])
            if seq is not None:
                self._store.execute("INSERT OR REPLACE INTO progress (name, seq) VALUES (?, ?)", (_READ_OUT, seq))
            return new_findings

    def beats(self) -> tuple[Beat, ...]:
        return _beats(self._store)

    def fleet(self) -> tuple[tuple[str, bytes], ...]:
        """What is kept of every agent that was seen."""
        return _fleet(self._store)

    def recent_events(self, *, after_ns: int, limit: int) -> Iterator[Event]:
        """The last `limit` events received after `after_ns`, in the order in which they were recorded."""
        row = self._store.execute("SELECT max(id) FROM events").fetchone()
        last = int(row[0] or 0)
        return _paged_events(self._store, after=max(0, last - limit), after_ns=after_ns)

    def trim(self, *, log_before_ns: int, events_before_ns: int) -> None:
        """Forget what is older than both the retention and the reading-out."""
        with self._turn, transaction(self._store):
            self._store.execute("DELETE FROM ingest_log WHERE received_ns < ? AND seq <= ?", (log_before_ns, self.read_out()))
            self._store.execute("DELETE FROM events WHERE received_ns < ?", (events_before_ns,))

    def close(self) -> None:
        self._store.close()
        self._log.close()


class SqliteTelemetryReader:
    """The reading side, safe in any other process."""

    def __init__(self, path: Path) -> None:
        self._connection = connect(path, read_only=True)

    def trace(self, trace_id: str) -> tuple[Event, ...]:
        """Every event of one trace, by start time."""
        rows = self._connection.execute("SELECT json FROM events WHERE trace_id = ? ORDER BY id", (trace_id,)).fetchall()
        return tuple(sorted((_event(row[0]) for row in rows), key=lambda event: event.start_ns))

    def of_agents(self, agents: Iterable[str], *, since_ns: int, until_ns: int, limit: int) -> tuple[Event, ...]:
        """The last `limit` events of these agents that were over between the two instants, by time."""
        names = sorted(set(agents))
        marks = ",".join("?" * len(names))
        rows = self._connection.execute(
            f"SELECT json FROM events WHERE agent IN ({marks}) AND at_ns BETWEEN ? AND ? ORDER BY at_ns DESC, id DESC LIMIT ?",
            (*names, since_ns, until_ns, limit),
        ).fetchall()
        return tuple(_event(row[0]) for row in reversed(rows))

    def of_kind_since(self, agent: str, *, kinds: Sequence[str], after_ns: int, limit: int) -> tuple[Event, ...]:
        """The last `limit` events of one agent and these kinds after an instant, by time."""
        marks = ",".join("?" * len(kinds))
        rows = self._connection.execute(
            f"SELECT json FROM events WHERE agent = ? AND at_ns > ? AND kind IN ({marks}) ORDER BY at_ns DESC, id DESC LIMIT ?",
            (agent, after_ns, *kinds, limit),
        ).fetchall()
        return tuple(_event(row[0]) for row in reversed(rows))

    def tail(self, *, after: int, agent: str = "", kinds: Sequence[str] = (), limit: int) -> tuple[tuple[int, Event], ...]:
        """Events after place `after` in the order in which they were stored, each with its place."""
        wanted, values = ["id > ?"], [after, *([agent] if agent else []), *kinds]
        if agent:
            wanted.append("agent = ?")
        if kinds:
            wanted.append(f"kind IN ({','.join('?' * len(kinds))})")
        rows = self._connection.execute(
            f"SELECT id, json FROM events WHERE {' AND '.join(wanted)} ORDER BY id LIMIT ?", (*values, limit)
        ).fetchall()
        return tuple((row[0], _event(row[1])) for row in rows)

    def stored(self) -> int:
        """The last place."""
        row = self._connection.execute("SELECT coalesce(max(id), 0) FROM events").fetchone()
        return int(row[0])

    def fleet(self) -> tuple[tuple[str, bytes], ...]:
        """What is kept of every agent that was seen."""
        return _fleet(self._connection)

    def findings(self, *, after: int, limit: int) -> tuple[tuple[int, Finding], ...]:
        """Findings stored after place `after`, each with its place."""
        rows = self._connection.execute(
            "SELECT seq, json FROM findings WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        ).fetchall()
        return tuple((row[0], msgspec.json.decode(row[1], type=Finding)) for row in rows)

    def beats(self) -> tuple[Beat, ...]:
        """The last sign of life of every process that was ever heard of."""
        return _beats(self._connection)

    def ledger(self) -> tuple[LedgerLine, ...]:
        rows = self._connection.execute("SELECT signal, outcome, reason, count FROM ledger ORDER BY 1, 2, 3").fetchall()
        return tuple(
            LedgerLine(signal=Signal(signal), outcome=outcome, reason=reason, count=count)
            for signal, outcome, reason, count in rows
        )

    def batch_digests(self, *, after: int, limit: int) -> tuple[tuple[int, str], ...]:
        """Place and digest of the batches after place `after`."""
        rows = self._connection.execute(
            "SELECT seq, sha256 FROM ingest_log WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
        ).fetchall()
        return tuple((row[0], row[1]) for row in rows)

    def batches(self, *, first: int, last: int) -> Iterator[Batch]:
        """The batches from place `first` to `last` that are still kept, one at a time."""
        for row in self._connection.execute(
            f"SELECT {_LOG_COLUMNS} FROM ingest_log WHERE seq BETWEEN ? AND ? ORDER BY seq", (first, last)
        ):
            yield _batch(row)

    def lag(self) -> int:
        """Batches that were accepted but not yet read out."""
        row = self._connection.execute(
            "SELECT (SELECT coalesce(max(seq), 0) FROM ingest_log)"
            " - (SELECT coalesce(max(seq), 0) FROM progress WHERE name = ?)",
            (_READ_OUT,),
        ).fetchone()
        return max(0, int(row[0]))

    def close(self) -> None:
        self._connection.close()


def keyed(events: Iterable[Event]) -> list[tuple[bytes, Event]]:
    """Events with what makes them unique."""
    return [(event_key(event), event) for event in events]


def _paged_events(connection: sqlite3.Connection, *, after: int, after_ns: int) -> Iterator[Event]:
    while rows := connection.execute(
        "SELECT id, received_ns, json FROM events WHERE id > ? ORDER BY id LIMIT ?", (after, EVENTS_PER_PAGE)
    ).fetchall():
        for _, received_ns, body in rows:
            if received_ns >= after_ns:
                yield _event(body)
        after = rows[-1][0]


def _event(body: bytes) -> Event:
    return msgspec.json.decode(body, type=Event)


def _beats(connection: sqlite3.Connection) -> tuple[Beat, ...]:
    rows = connection.execute("SELECT json FROM beats ORDER BY agent, instance").fetchall()
    return tuple(msgspec.json.decode(row[0], type=Beat) for row in rows)


def _fleet(connection: sqlite3.Connection) -> tuple[tuple[str, bytes], ...]:
    rows = connection.execute("SELECT agent, json FROM fleet ORDER BY agent").fetchall()
    return tuple((row[0], row[1]) for row in rows)


def _batch(row: tuple[int, int, str, str, str, bytes, str]) -> Batch:
    seq, received_ns, signal, encoding, trusted_agents, body_gz, sha256 = row
    return Batch(
        seq=seq,
        received_ns=received_ns,
        signal=Signal(signal),
        encoding=Encoding(encoding),
        trusted_agents=msgspec.json.decode(trusted_agents, type=tuple[str, ...]),
        body_gz=body_gz,
        sha256=sha256,
    )
