"""The journal in SQLite: appended to, never changed."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from andoncord.adapters.sqlite.connection import connect, transaction
from andoncord.kernel.canon import GENESIS, canonical_json
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.journal import Entry

PAGE_ROWS = 1_000

SCHEMA = """
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY,
    at_ns INTEGER NOT NULL,
    kind TEXT NOT NULL,
    incident TEXT NOT NULL,
    by TEXT NOT NULL,
    body TEXT NOT NULL,
    previous TEXT NOT NULL,
    digest TEXT NOT NULL UNIQUE
) STRICT;
CREATE INDEX IF NOT EXISTS journal_incident ON journal (incident, seq);
CREATE TRIGGER IF NOT EXISTS journal_is_never_changed BEFORE UPDATE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER IF NOT EXISTS journal_is_never_cut BEFORE DELETE ON journal
BEGIN SELECT RAISE(ABORT, 'the journal is append-only'); END;
"""

_COLUMNS = "seq, at_ns, kind, incident, by, body, previous, digest"


class SqliteJournal:
    """A `JournalStore` in one SQLite file. What `append` returned from survives the process and the power."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._connection = connect(path, read_only=read_only)
        # A damaged text must still be readable, so that the check of the chain can say where the damage is.
        self._connection.text_factory = lambda raw: raw.decode("utf-8", "replace")
        if not read_only:
            self._connection.executescript(SCHEMA)

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        with transaction(self._connection):
            self._insert(entries)

    def _insert(self, entries: Sequence[Entry]) -> None:
        head = self._connection.execute("SELECT seq, digest FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        seq, previous = head or (0, GENESIS)
        for entry in entries:
            if (entry.seq, entry.previous) != (seq + 1, previous):
                raise ConflictError(
                    f"entry {entry.seq} does not continue the journal, whose head is entry {seq}",
                    remedy="another process may have written to it: stop that one and restart",
                )
            seq, previous = entry.seq, entry.digest
        self._connection.executemany(
            f"INSERT INTO journal ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)", [_row(entry) for entry in entries]
        )

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Entries with `seq > after`, in order, a page at a time; what is appended meanwhile is included."""
        while rows := self._connection.execute(
            f"SELECT {_COLUMNS} FROM journal WHERE seq > ? ORDER BY seq LIMIT ?", (after, PAGE_ROWS)
        ).fetchall():
            for row in rows:
                yield _entry(row)
            after = rows[-1][0]

    def head(self) -> Entry | None:
        row = self._connection.execute(f"SELECT {_COLUMNS} FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        return _entry(row) if row else None

    def close(self) -> None:
        self._connection.close()


def _row(entry: Entry) -> tuple[int, int, str, str, str, str, str, str]:
    body = canonical_json(entry.body).decode()
    return (entry.seq, entry.at_ns, entry.kind, entry.incident, entry.by, body, entry.previous, entry.digest)


def _entry(row: tuple[int, int, str, str, str, str, str, str]) -> Entry:
    seq, at_ns, kind, incident, by, body, previous, link = row
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        content = {"unreadable": body}
    return Entry(seq=seq, at_ns=at_ns, kind=kind, incident=incident, by=by, body=content, previous=previous, digest=link)
