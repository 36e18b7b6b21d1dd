"""A journal in memory, for tests and the simulator."""

from collections.abc import Iterator, Sequence

from andoncord.kernel.canon import GENESIS
from andoncord.kernel.errors import ConflictError
from andoncord.kernel.journal import Entry


class MemoryJournal:
    """A `JournalStore` that forgets everything when it goes; it passes the same contract as the real ones."""

    def __init__(self) -> None:
        self._entries: list[Entry] = []

    def append(self, entries: Sequence[Entry]) -> None:
        head = self.head()
        seq, previous = (head.seq, head.digest) if head else (0, GENESIS)
        for entry in entries:
            if (entry.seq, entry.previous) != (seq + 1, previous):
                raise ConflictError(f"entry {entry.seq} does not continue the journal, whose head is entry {seq}")
            seq, previous = entry.seq, entry.digest
        self._entries.extend(entries)

    def read(self, after: int = 0) -> Iterator[Entry]:
        yield from self._entries[after:]

    def head(self) -> Entry | None:
        return self._entries[-1] if self._entries else None
