"""The journal: appended to, never changed."""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa

from andoncord.adapters.sql.database import Database
from andoncord.adapters.sql.tables import JOURNAL
from andoncord.kernel.canon import GENESIS, canonical_json
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.journal import Entry

PAGE_ROWS = 1_000

_COLUMNS = (
    JOURNAL.c.seq,
    JOURNAL.c.at_ns,
    JOURNAL.c.kind,
    JOURNAL.c.incident,
    JOURNAL.c.by,
    JOURNAL.c.body,
    JOURNAL.c.previous,
    JOURNAL.c.digest,
)
_HEAD = sa.select(*_COLUMNS).order_by(JOURNAL.c.seq.desc()).limit(1)
_LINK = sa.select(JOURNAL.c.seq, JOURNAL.c.digest).order_by(JOURNAL.c.seq.desc()).limit(1)
_PAGE = sa.select(*_COLUMNS).where(JOURNAL.c.seq > sa.bindparam("after")).order_by(JOURNAL.c.seq).limit(PAGE_ROWS)


class SqlJournal:
    """A `JournalStore` in a control database. What `append` returned from survives the process and the power.

    The chain cannot fork: the head is compared in the transaction that appends, and a second entry of the same number is
    refused by the primary key even where two servers believe that they may write.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, entries: Sequence[Entry]) -> None:
        if not entries:
            return
        try:
            with self._database.writing() as connection:
                head = connection.execute(_LINK).first()
                seq, previous = head or (0, GENESIS)
                for entry in entries:
                    if (entry.seq, entry.previous) != (seq + 1, previous):
                        raise _fork(entry.seq, seq)
                    seq, previous = entry.seq, entry.digest
                connection.execute(JOURNAL.insert(), [_row(entry) for entry in entries])
        except sa.exc.IntegrityError:
            raise _fork(entries[0].seq, entries[0].seq) from None

    def read(self, after: int = 0) -> Iterator[Entry]:
        """Entries with `seq > after`, in order, a page at a time; what is appended meanwhile is included."""
        while True:
            with self._database.reading() as connection:
                rows = connection.execute(_PAGE, {"after": after}).all()
            if not rows:
                return
            for row in rows:
                yield _entry(row)
            after = rows[-1].seq

    def head(self) -> Entry | None:
        with self._database.reading() as connection:
            row = connection.execute(_HEAD).first()
        return _entry(row) if row else None


def _fork(seq: int, head: int) -> ConflictError:
    return ConflictError(
        f"entry {seq} does not continue the journal, whose head is entry {head}",
        remedy="another process may have written to it: stop that one and restart",
    )


def _row(entry: Entry) -> dict[str, Any]:
    return {**msgspec.structs.asdict(entry), "body": canonical_json(entry.body).decode()}


def _entry(row: Sequence[Any]) -> Entry:
    seq, at_ns, kind, incident, by, body, previous, link = row
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        content = {"unreadable": body}
    return Entry(seq=seq, at_ns=at_ns, kind=kind, incident=incident, by=by, body=content, previous=previous, digest=link)
